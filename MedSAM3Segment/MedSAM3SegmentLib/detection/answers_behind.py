"""Reading a GPU's answer to one phrase while it computes the next one.

Kernels are only queued when the detector returns; whoever reads the answer waits for all that was queued before, and
the GPU stands still until the next phrase is queued. So each answer is read one phrase later, on a stream that waits
for that answer alone. Written by PyTorch's documentation of streams and not run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from MedSAM3SegmentLib.models import devices

Answer = TypeVar("Answer")


@dataclass(frozen=True, eq=False)
class _Mark:
    """The place in a GPU's queue behind an answer."""

    event: torch.cuda.Event
    side: torch.cuda.Stream

    @classmethod
    def here(cls, device: torch.device) -> _Mark:
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(device))
        return cls(event, torch.cuda.Stream(device))  # type: ignore[no-untyped-call]

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Within, what is queued waits for the answer alone."""
        self.side.wait_event(self.event)
        with torch.cuda.stream(self.side):
            yield
            self.side.synchronize()


class AnswersBehind(Generic[Answer]):
    """Hands each answer to ``read`` once the next one is queued on a GPU, at once elsewhere; all are read in order.

    Args:
        device: that computes the answers.
        read: takes an answer to main memory.
    """

    def __init__(self, device: torch.device, read: Callable[[Answer], None]) -> None:
        self._device, self._read = device, read
        self._waiting: list[tuple[Answer, _Mark | None]] = []
        self._most = 1 if devices.computes_beside(device) else 0

    def add(self, answer: Answer) -> None:
        """Queue an answer to be read, and read those that are due."""
        self._waiting.append((answer, _Mark.here(self._device) if self._device.type == "cuda" else None))
        self._read_until(self._most)

    def finish(self) -> None:
        """Read what is left."""
        self._read_until(0)

    def _read_until(self, left: int) -> None:
        while len(self._waiting) > left:
            answer, mark = self._waiting.pop(0)
            if mark is None:
                self._read(answer)
            else:
                with mark.passed():
                    self._read(answer)


def grouped(numbers: Iterable[int], most: int, is_alone: Callable[[int], bool]) -> list[list[int]]:
    """Numbers in their order, at most ``most`` together; each that ``is_alone`` says by itself."""
    groups: list[list[int]] = []
    is_open = False
    for number in numbers:
        alone = is_alone(number)
        if is_open and not alone and len(groups[-1]) < most:
            groups[-1].append(number)
        else:
            groups.append([number])
        is_open = not alone
    return groups
