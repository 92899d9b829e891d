"""The replay buffer: a few slices of each task that an adapter learnt, kept so that the next one does not undo it.

It lies beside the installed models, on this computer alone: nothing exports it, and it holds no name and no path. What
is kept are slices with their labels, limited in number and in bytes; a part of them was held out from training and
tells whether a task is forgotten (experience replay; EvoSAM, arXiv 2503.06236, has the same aim).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.atomic_write import atomic_draft
from MedSAM3SegmentLib.model_store.store import replay_folder
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.training.batches import known_slices
from MedSAM3SegmentLib.training.dataset import LabelledStack

_VERSION = 1


@dataclass(frozen=True, eq=False)
class Task:
    """What is kept of a task.

    Attributes:
        name: such as ``task 2``.
        stacks: to train on again.
        held_out: stacks that were never trained on.
    """

    name: str
    stacks: Sequence[LabelledStack]
    held_out: Sequence[LabelledStack]

    @property
    def concepts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for one in (*self.stacks, *self.held_out) for name in one.concepts))


@dataclass(frozen=True)
class ReplaySize:
    """The most that is kept of a task.

    Attributes:
        slices: to train on again.
        held_out: slices that were never trained on.
        size: bytes in memory of all of them together.
    """

    slices: int = 24
    held_out: int = 12
    size: int = 64 << 20


def read_replay(adapter: str) -> list[Task]:
    """The tasks that an adapter learnt, oldest first; none where nothing was kept.

    Raises:
        InputError: a file of them is damaged.
    """
    files = sorted(replay_folder(adapter).glob("*.npz"), key=lambda file: (len(file.name), file.name))
    return [_read_task(file) for file in files]


def write_task(adapter: str, task: Task, size: ReplaySize) -> Path:
    """Keep a task of an adapter, whole or not at all.

    Returns:
        The file.

    Raises:
        OSError: it cannot be written.
    """
    folder = replay_folder(adapter)
    folder.mkdir(parents=True, exist_ok=True)
    # Pictures of patients: for the owner alone, where the system knows owners.
    folder.chmod(0o700)
    kept = limit_task(task, size)
    arrays: dict[str, NDArray[Any]] = {}
    described = []
    for number, (stack, is_held_out) in enumerate(
        [*((one, False) for one in kept.stacks), *((one, True) for one in kept.held_out)]
    ):
        arrays[f"slices{number}"], arrays[f"codes{number}"] = stack.slices, stack.codes
        if stack.ignored is not None:
            arrays[f"ignored{number}"] = stack.ignored
        described.append(
            {
                "window": [stack.window.low, stack.window.high],
                "is_ct": stack.is_ct,
                "concepts": list(stack.concepts),
                "held_out": is_held_out,
            }
        )
    info = json.dumps({"version": _VERSION, "name": task.name, "stacks": described}).encode()
    path = folder / f"{task.name.replace(' ', '-')}.npz"
    with atomic_draft(path) as draft, draft.open("wb") as file:
        np.savez_compressed(file, info=np.frombuffer(info, np.uint8), **arrays)  # type: ignore[arg-type]
    return path


def limit_task(task: Task, size: ReplaySize) -> Task:
    """A task with as many slices as are kept, spread evenly over all that somebody looked at."""
    largest = max((one.slices[0].nbytes + one.codes[0].nbytes for one in (*task.stacks, *task.held_out)), default=1)
    share = min(1.0, size.size / largest / (size.slices + size.held_out))
    return replace(
        task,
        stacks=_spread(task.stacks, max(1, int(size.slices * share))),
        held_out=_spread(task.held_out, max(1, int(size.held_out * share))),
    )


def _spread(stacks: Sequence[LabelledStack], count: int) -> list[LabelledStack]:
    places = [(number, index) for number, stack in enumerate(stacks) for index in known_slices(stack)]
    chosen = {places[round(n)] for n in np.linspace(0, len(places) - 1, min(count, len(places)))}
    return [
        select_slices(stack, sorted(index for own, index in chosen if own == number))
        for number, stack in enumerate(stacks)
        if any(own == number for own, _ in chosen)
    ]


def select_slices(stack: LabelledStack, indices: Sequence[int]) -> LabelledStack:
    """A stack of some of a stack's slices, all of which somebody looked at."""
    chosen = list(indices)
    return replace(
        stack,
        slices=stack.slices[chosen],
        codes=stack.codes[chosen],
        known=None,
        ignored=None if stack.ignored is None else stack.ignored[chosen],
    )


def _read_task(path: Path) -> Task:
    try:
        with np.load(path, allow_pickle=False) as file:
            info = json.loads(file["info"].tobytes())
            if info["version"] != _VERSION:
                raise ValueError(f"its version is {info['version']}")
            stacks: dict[bool, list[LabelledStack]] = {False: [], True: []}
            for number, one in enumerate(info["stacks"]):
                stacks[bool(one["held_out"])].append(_stack(file, number, one))
            return Task(str(info["name"]), stacks[False], stacks[True])
    except Exception as error:  # NumPy and zipfile raise whatever a damaged file leads them to.
        raise InputError(
            "What was kept of an earlier task, {path}, cannot be read ({why}); remove it, or learn into a new adapter.",
            path=path,
            why=str(error).splitlines()[0] if str(error) else type(error).__name__,
        ) from None


def _stack(file: Any, number: int, described: dict[str, Any]) -> LabelledStack:
    """Raises LookupError, TypeError or ValueError where it is damaged."""
    slices, codes = file[f"slices{number}"], file[f"codes{number}"]
    ignored = file.get(f"ignored{number}")
    if codes.dtype != np.uint32 or codes.ndim != 3 or slices.shape[:3] != codes.shape:
        raise ValueError("slices and labels do not belong together")
    if ignored is not None and (ignored.dtype != bool or ignored.shape != codes.shape):
        raise ValueError("slices and ignored pixels do not belong together")
    low, high = described["window"]
    return LabelledStack(
        slices,
        Window(float(low), float(high)),
        bool(described["is_ct"]),
        codes,
        tuple(str(name) for name in described["concepts"]),
        None,
        ignored,
    )
