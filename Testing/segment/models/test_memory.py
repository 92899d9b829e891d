"""Memory that runs out, injected: batches shrink, things are moved, and the run ends in words when nothing helps."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.models import memory
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.models.memory import (
    BatchGuard,
    MemoryReducer,
    choose_batch_size,
    estimate_memory,
    free_memory,
)
from MedSAM3SegmentLib.training.architecture import new_network, train_tokenizer
from support.checkpoint_files import TINY


def _work(limit: list[int], calls: list[int]) -> object:
    def work(batch: Sequence[int]) -> list[int]:
        calls.append(len(batch))
        if len(batch) > limit[0]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return [item * 10 for item in batch]

    return work


@given(st.integers(0, 40), st.integers(1, 16), st.integers(1, 16))
def test_every_item_is_answered_once_and_in_order(count: int, size: int, limit: int) -> None:
    calls: list[int] = []
    guard = BatchGuard(size)
    assert guard.run(range(count), _work([limit], calls)) == [item * 10 for item in range(count)]  # type: ignore[arg-type]
    assert guard.size <= max(size, 1)
    # The failed sizes come first; nothing larger than what failed is tried again.
    failed = [call for call in calls if call > limit]
    assert calls[: len(failed)] == failed


def test_user_is_told_and_the_smaller_batch_stays() -> None:
    said: list[str] = []
    calls: list[int] = []
    guard = BatchGuard(8, say=said.append)
    guard.run(range(8), _work([3], calls))  # type: ignore[arg-type]
    guard.run(range(4), _work([3], calls))  # type: ignore[arg-type]
    assert calls == [8, 4, 2, 2, 2, 2, 2, 2]
    assert said == ["Memory ran out; going on with 4 at a time.", "Memory ran out; going on with 2 at a time."]


def test_reliefs_are_tried_if_one_item_does_not_fit_then_it_fails_in_words() -> None:
    limit, said = [0], list[str]()

    def move() -> None:
        limit[0] = 1

    guard = BatchGuard(2, [MemoryReducer(move, "Something was moved.")], said.append)
    assert guard.run([1, 2], _work(limit, [])) == [10, 20]  # type: ignore[arg-type]
    assert said[-1] == "Something was moved."
    with pytest.raises(InputError, match="--resolution"):
        BatchGuard(4).run([1], _work([0], []))  # type: ignore[arg-type]


def test_other_errors_pass_through() -> None:
    def broken(batch: Sequence[int]) -> list[int]:
        raise RuntimeError(f"shapes do not match in {batch}")

    with pytest.raises(RuntimeError, match="shapes"):
        BatchGuard(4).run([1, 2], broken)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        MemoryError(),
    ],
)
def test_every_device_says_it_in_its_own_words(error: BaseException) -> None:
    assert memory.is_out_of_memory(error)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Sam3Detector:
    tokenizer = train_tokenizer(["liver"], 5, tmp_path_factory.mktemp("tokenizer"))
    return Sam3Detector(new_network(TINY, tokenizer, 0).eval(), tokenizer, ModelCard("tiny"))


def test_estimate_grows_with_the_batch_and_knows_the_weights(model: Sam3Detector) -> None:
    one, four = estimate_memory(model, 1), estimate_memory(model, 4)
    assert one.weights == four.weights == sum(p.nbytes for p in model.network.parameters())
    assert abs(four.working - 4 * one.working) <= 4


def test_batch_is_fitted_before_the_run(model: Sam3Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = estimate_memory(model, 1).working
    monkeypatch.setattr(memory, "free_memory", lambda _: 3 * needed + 1)
    assert choose_batch_size(model, 8) == 3
    assert choose_batch_size(model, 2) == 2
    monkeypatch.setattr(memory, "free_memory", lambda _: needed - 1)
    with pytest.raises(InputError, match="are free"):
        choose_batch_size(model, 8)
    monkeypatch.setattr(memory, "free_memory", lambda _: None)
    assert choose_batch_size(model, 8) == 8


def test_free_main_memory_is_known_here() -> None:
    free = free_memory(torch.device("cpu"))
    assert free is not None
    assert free > 10_000_000


def test_a_small_gpu_is_left_to_what_each_slice_needs(model: Sam3Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what PyTorch says of the GPU; here nothing moves but where things are to go."""
    sizes = {"6 GB": 6 * 1024**3, "8 GB": 8 * 1024**3, "12 GB": 12 * 1024**3, "24 GB": 24 * 1024**3}
    moved: list[str] = []
    monkeypatch.setattr(model, "move_text_encoder_away", lambda: moved.append("text encoder"))
    assert not memory.save_memory_on_small_gpu(model), "a CPU has no other place"
    monkeypatch.setattr(model, "device", torch.device("cuda"))
    for name, size in sizes.items():
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda _, size=size: SimpleNamespace(total_memory=size)
        )
        monkeypatch.setattr(model, "features_device", torch.device("cuda"))
        moved.clear()
        is_small = name in ("6 GB", "8 GB")
        assert memory.save_memory_on_small_gpu(model) == is_small
        assert moved == (["text encoder"] if is_small else [])
        assert model.features_device.type == ("cpu" if is_small else "cuda")


def test_features_take_half_of_what_is_free_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, budget in ((1000, 500), (10_000, 2000), (None, 2000)):
        monkeypatch.setattr(memory, "free_memory", lambda _, free=free: free)
        assert memory.features_budget(torch.device("cpu"), 2000) == budget
