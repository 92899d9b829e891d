"""The typed words that every caller of the engine speaks: what is asked for, and how far it has come.

The panel, the effect, the console, the shell and the agent build the same ``SegmentRequest``; what comes back is a
``result.SegmentResult``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.geometry.voxel_grid import Plane, SliceStack
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.prompts.prompts import BoxMark, BoxReading, TargetPrompts
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for, split_phrases

from .errors import InputError


class Mode(StrEnum):
    """How a stack becomes a volume."""

    SLICES = "slices"
    """Detect on every slice, then assemble."""
    PROPAGATE = "propagate"
    """Detect, then follow each object from its surest slice both ways."""
    FROM_PROMPTS = "from prompts"
    """Follow what a person drew both ways; words are not needed."""


class Grouping(StrEnum):
    """What becomes one segment."""

    CONCEPT = "one segment per concept"
    INSTANCE = "one segment per instance"


@dataclass(frozen=True)
class AssemblyOptions:
    """Which steps make one volume of per-slice answers; each can be switched off.

    Attributes:
        link: join objects of neighbouring slices by overlap; without it every connected object stands by itself.
        hysteresis: keep a slice below the threshold where it goes on from a sure one.
        fill_gaps: fill a single slice that is missing between two that have the object.
        drop_isolated: drop objects that too few slices show for their size to be real.
        largest_only: keep the largest object only, for organs that there is one of.
    """

    link: bool = True
    hysteresis: bool = True
    fill_gaps: bool = True
    drop_isolated: bool = True
    largest_only: bool = False


@dataclass(frozen=True, eq=False)
class SegmentRequest:
    """What to segment and how.

    Attributes:
        concepts: the phrases, one segment each, in the order given; in the mode ``from prompts``
            they may be mere names.
        plane: the plane to cut the volume in.
        slices: half-open range ``(first, end)`` of slices along the stack, or None for all.
        window: an intensity window for all concepts, or None for each concept's own.
        threshold: lowest score of a detection that is kept, or None for the model's own.
        mode: how the stack becomes a volume.
        prompts: what was drawn, by concept.
        region: only voxels in this box are segmented, or None for all.
        inside: where all else must lie ("tumor inside liver"), or None for anywhere: bool ``[k, j, i]`` on the volume's
            grid, True where something may be; or words. Where they name a concept of this request that one is found
            first, wherever it is, and the others in it or in a hole of its slices; other words are looked for first and
            do not come back.
        more_planes: planes to look along as well; the soft masks are averaged.
        assembly: which clean-up steps run.
        grouping: what becomes one segment.
    """

    concepts: tuple[str, ...]
    plane: Plane = Plane.ACQUIRED
    slices: tuple[int, int] | None = None
    window: Window | None = None
    threshold: float | None = None
    mode: Mode = Mode.SLICES
    prompts: Mapping[str, TargetPrompts] = field(default_factory=dict)
    region: BoxMark | None = None
    inside: NDArray[np.bool_] | str | None = None
    more_planes: tuple[Plane, ...] = ()
    assembly: AssemblyOptions = AssemblyOptions()
    grouping: Grouping = Grouping.CONCEPT

    def __post_init__(self) -> None:
        if not self.concepts:
            raise InputError("No concept was given; type at least one phrase, such as 'liver'.")
        if any(not concept.strip() for concept in self.concepts):
            raise InputError("A concept is empty; remove it or type a phrase, such as 'liver'.")
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise InputError("The threshold {threshold} is not between 0 and 1.", threshold=self.threshold)
        strangers = self.prompts.keys() - set(self.concepts)
        if strangers:
            raise InputError(
                "Something was drawn for '{concept}', which is not asked for; add it to the concepts.",
                concept=min(strangers),
            )
        if self.mode is Mode.SLICES:
            for concept, prompts in self.prompts.items():
                if not prompts.are_exemplars_only:
                    raise InputError(
                        "The mode '{mode}' follows nothing, so what is drawn for '{concept}' can only be boxes "
                        "that mean '{reading}'; choose the mode '{better}'.",
                        mode=Mode.SLICES,
                        concept=concept,
                        reading=BoxReading.THINGS_LIKE_THIS,
                        better=Mode.FROM_PROMPTS,
                    )
        if self.more_planes and any(prompts.boxes for prompts in self.prompts.values()):
            raise InputError("Boxes are drawn in one plane and do not go with more planes; leave the other planes out.")
        if isinstance(self.inside, str):
            self._check_container(self.inside)
        if self.mode is Mode.FROM_PROMPTS:
            bare = [concept for concept in self.concepts if concept not in self.prompts]
            if bare:
                raise InputError(
                    "Nothing was drawn for '{concept}'; draw a point, a box or a slice of it first.", concept=bare[0]
                )

    @property
    def container(self) -> str | None:
        """The concept that the others must lie in, or the words for one that is not asked for; None without words."""
        if not isinstance(self.inside, str):
            return None
        if self.inside in self.concepts:
            return self.inside
        meant = prompt_for(self.inside)
        return next((concept for concept in self.concepts if prompt_for(concept) == meant), self.inside)

    def _check_container(self, words: str) -> None:
        if len(split_phrases(words)) != 1:
            raise InputError(
                "'{words}' does not name one structure to look inside of; give a phrase, such as 'liver'.", words=words
            )
        if set(self.concepts) == {self.container}:
            raise InputError(
                "'{words}' cannot lie inside of itself; add a concept that lies in it, such as 'tumor'.", words=words
            )

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
                "The slice range {first}:{end} is not inside the {count} {plane} slices 0:{count}.",
                first=first,
                end=end,
                count=stack.count,
                plane=stack.plane.words,
            )
        return range(first, end)


class Stage(StrEnum):
    """The stages of a run, in order."""

    LOADING = "loading the model"
    SEGMENTING = "segmenting slices"
    PROPAGATING = "propagating through slices"
    ASSEMBLING = "assembling the volume"


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        stage: what is being done.
        done: slices (or concepts, when assembling) finished; it never falls until the last slice is.
        total: slices (or concepts) in all; one that is looked at several times, as along another plane or when
            objects are followed, counts each time. It is an upper bound until it is known how far objects reach.
        seconds_left: estimate for all of these, None until something was measured.
    """

    stage: Stage
    done: int
    total: int
    seconds_left: float | None = None


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, eq=False)
class PartialMask:
    """One concept on one slice, as soon as it is known; the assembled volume may differ.

    Attributes:
        concept: as in the request.
        slice_index: along the stack.
        score: of the concept on this slice, 0 to 1.
        mask: bool ``[row, column]``, upright, at the volume's resolution.
    """

    concept: str
    slice_index: int
    score: float
    mask: NDArray[np.bool_]


PartialCallback = Callable[[PartialMask], None]

#: Asked between batches of slices; returning True ends the run with ``errors.Cancelled``.
CancelCheck = Callable[[], bool]
