"""The typed words that every caller of the engine speaks: what is asked for, and how far it has come.

The panel, the effect, the console, the shell and the agent build the same ``SegmentRequest``; what comes back is a
``result.SegmentResult``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from .errors import InputError
from .grid import Plane, SliceStack
from .intensity import Window


@dataclass(frozen=True)
class SegmentRequest:
    """What to segment and how.

    Attributes:
        concepts: the phrases, one segment each, in the order given.
        plane: the plane to cut the volume in.
        slices: half-open range ``(first, end)`` of slices along the stack, or None for all.
        window: an intensity window for all concepts, or None for each concept's own.
        threshold: lowest score of a detection that is kept, or None for the model's own.
    """

    concepts: tuple[str, ...]
    plane: Plane = Plane.ACQUIRED
    slices: tuple[int, int] | None = None
    window: Window | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if not self.concepts:
            raise InputError("No concept was given; type at least one phrase, such as 'liver'.")
        if any(not concept.strip() for concept in self.concepts):
            raise InputError("A concept is empty; remove it or type a phrase, such as 'liver'.")
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise InputError(f"The threshold {self.threshold} is not between 0 and 1.")

    def slice_range(self, stack: SliceStack) -> range:
        """The slices of ``stack`` that are asked for.

        Raises:
            InputError: there is none, or some are outside of the stack.
        """
        if stack.count == 0 or 0 in stack.slice_shape:
            raise InputError("The volume has no voxels; choose another one.")
        if self.slices is None:
            return range(stack.count)
        first, end = self.slices
        if not 0 <= first < end <= stack.count:
            raise InputError(
                f"The slice range {first}:{end} is not inside the {stack.count} {stack.plane} slices 0:{stack.count}."
            )
        return range(first, end)


class Stage(StrEnum):
    """The stages of a run, in order."""

    LOADING = "loading the model"
    SEGMENTING = "segmenting slices"
    ASSEMBLING = "assembling the volume"


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        stage: what is being done.
        done: slices (or concepts, when assembling) finished.
        total: slices (or concepts) in all.
        seconds_left: estimate for this stage, None until something was measured.
    """

    stage: Stage
    done: int
    total: int
    seconds_left: float | None = None


ProgressCallback = Callable[[Progress], None]

#: Asked between batches of slices; returning True ends the run with ``errors.Cancelled``.
CancelCheck = Callable[[], bool]
