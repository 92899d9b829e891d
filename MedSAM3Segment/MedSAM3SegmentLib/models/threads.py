"""How many CPU threads a model computes with, and how they wait for each other: for shell, engine and training.

Layers of a small model end sooner than threads can be told to begin, and threads that wait actively for one another
take a core each for nothing: with two threads the demo model took four times as long on two idle cores as with one, and
thirty times the CPU time on two busy ones. Set either variable of ``VARIABLES``, and nothing is chosen here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from .devices import LARGE_LAYER

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from .detector import Sam3Detector

#: OpenMP's and MKL's own, which PyTorch reads when it starts.
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


_CPUS = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def wait_passively() -> None:
    """Let threads sleep while they wait; to be called before PyTorch is imported. What the user has set stays."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def ask_for_threads(count: int) -> None:
    """Let this process compute with ``count`` threads, whatever the model."""
    os.environ[VARIABLES[0]] = str(count)


@contextmanager
def threads_for(model: Sam3Detector) -> Iterator[None]:
    """Within, PyTorch computes with as many CPU threads as suit a model. On a GPU nothing is changed."""
    import torch

    count = _asked()
    if count is None and not any(name in os.environ for name in VARIABLES) and model.device.type == "cpu":
        count = choose_threads(layer_size(model.network.config))
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_threads(layer_size: float) -> int:
    """How many threads are best for layers of so many multiplications on this machine, others' work left alone.

    Two threads begin to gain between 2e8 and 1e9 (layers of 400 to 5,184 tokens, timed with both).
    """
    return 1 if layer_size < LARGE_LAYER else count_usable_cores()


def count_usable_cores() -> int:
    """Physical cores that this process may run on: two threads of one core only get in each other's way."""
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        allowed = os.sched_getaffinity(0)
        try:
            siblings = {(_CPUS / f"cpu{n}/topology/thread_siblings_list").read_text() for n in allowed}
            cores = len(siblings)
        except OSError:
            cores = min(cores, len(allowed))
    return max(1, min(cores, _quota()))


def _quota() -> int:
    """The cores that a container was given (control groups, version 2), or a very large number."""
    try:
        share, period = _QUOTA.read_text().split()
        return max(1, int(share) // int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return 1 << 30


def _asked() -> int | None:
    """The number that the user has set, if it is one."""
    text = os.environ.get(VARIABLES[0], "")
    return int(text) if text.isdigit() and int(text) > 0 else None


def layer_size(config: PretrainedConfig) -> float:
    """Multiplications in one layer of the image encoder: four projections and two of a feed-forward network.

    Args:
        config: of the detector.
    """
    backbone = config.vision_config.backbone_config
    tokens = (int(backbone.image_size) // int(backbone.patch_size)) ** 2
    return float(tokens * (4 * backbone.hidden_size**2 + 2 * backbone.hidden_size * backbone.intermediate_size))
