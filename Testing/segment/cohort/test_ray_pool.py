"""How many workers there are."""

from __future__ import annotations

import pytest

from MedSAM3SegmentLib.cohort.ray_pool import WorkerPlan, plan_workers
from MedSAM3SegmentLib.errors import InputError


@pytest.mark.parametrize(
    ("cpus", "gpus", "device", "asked", "plan"),
    [
        (64, 8, "auto", None, WorkerPlan(8, 8, 1)),
        (64, 8, "auto", 3, WorkerPlan(3, 8, 1)),
        (8, 8, "cuda", None, WorkerPlan(8, 1, 1)),
        (64, 8, "cpu", None, WorkerPlan(16, 4)),
        (2, 0, "auto", None, WorkerPlan(1, 2)),
        (2, 0, "auto", 2, WorkerPlan(2, 1)),
        (2, 0, "cpu", 5, WorkerPlan(5, 1)),
    ],
)
def test_a_worker_for_each_gpu_or_group_of_cores(
    cpus: int, gpus: int, device: str, asked: int | None, plan: WorkerPlan
) -> None:
    assert plan_workers(cpus, gpus, device, asked) == plan


@pytest.mark.parametrize(
    ("gpus", "device", "asked", "says"),
    [
        (2, "auto", 3, "2 GPUs for 3"),
        (0, "cuda", None, "0 GPUs"),
        (2, "cuda:1", None, "'cuda:1'"),
        (0, "mps", 1, "mps"),
    ],
)
def test_what_cannot_be_given_is_refused(gpus: int, device: str, asked: int | None, says: str) -> None:
    with pytest.raises(InputError, match=says):
        plan_workers(4, gpus, device, asked)
