"""The typed words that every caller of the engine speaks: what is asked for, and how far it has come.

The panel, the effect, the console, the shell and the agent build the same ``SegmentRequest``; what comes back is a
``result.SegmentResult``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.localization.place import Place
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.prompts.drawn_plane import drawn_plane
from MedSAM3SegmentLib.prompts.examples import Examples
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS, BoxReading, TargetPrompts
from MedSAM3SegmentLib.slice_saving import NO_SAVING, SliceSaving
from MedSAM3SegmentLib.vocabulary.phrases import check_phrase, prompt_for, split_phrases

from .array_types import BoolMask
from .errors import InputError

#: What to call no model at all where a model is named; what was drawn on several slices needs none.
NO_MODEL = "none"

#: What to call the installed adapter that fits a volume, chosen for each, where a model is named.
PICK_ADAPTER = "pick"

#: Slices that a sentence lists.
_MOST_LISTED = 5


class Mode(StrEnum):
    """How a stack becomes a volume."""

    SLICES = "slices"
    """Detect on every slice, then assemble."""
    PROPAGATE = "propagate"
    """Detect, then follow each object from its surest slice both ways."""
    FROM_PROMPTS = "from prompts"
    """Follow what a person drew both ways; words are not needed."""


class Adapt(StrEnum):
    """What the model learns from before it is used."""

    SLICES = "slices"
    """The slices of this volume that were drawn."""


class Grouping(StrEnum):
    """What becomes one segment."""

    CONCEPT = "one segment per concept"
    INSTANCE = "one segment per instance"


@dataclass(frozen=True)
class AssemblyOptions:
    """Which steps make one volume of per-slice answers; each can be switched off.

    Attributes:
        link: join objects of neighboring slices by overlap; without it every connected object stands by itself.
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
        adapt: what the model learns from first, in a copy that is used for this request alone and only where it does
            better on drawn slices that were held out; None for nothing.
        adapt_name: the name in the model store under which that copy is kept where it is used; empty to throw it away.
        saving: slices that are not looked at.
        draft: whether a model that looks with half of its own pixels is asked; the engine loads it so.
        examples: by concept, which is a mere name then, what shows it in place of words; empty where words say it.
        places: by concept, where templates say that it lies; it is searched nowhere else. Concepts without one are
            searched in all of the volume.
    """

    concepts: tuple[str, ...]
    plane: Plane = Plane.ACQUIRED
    slices: tuple[int, int] | None = None
    window: Window | None = None
    threshold: float | None = None
    mode: Mode = Mode.SLICES
    prompts: Mapping[str, TargetPrompts] = field(default_factory=dict)
    region: BoxPromptRAS | None = None
    inside: BoolMask | str | None = None
    more_planes: tuple[Plane, ...] = ()
    assembly: AssemblyOptions = AssemblyOptions()
    grouping: Grouping = Grouping.CONCEPT
    adapt: Adapt | None = None
    adapt_name: str = ""
    saving: SliceSaving = NO_SAVING
    draft: bool = False
    # Their volumes are sent apart.
    examples: Examples = field(default_factory=dict, metadata={"is_sent": False})
    places: Mapping[str, Place] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.concepts:
            raise InputError("No concept was given; type at least one phrase, such as 'liver'.")
        for concept in self.concepts:
            check_phrase(concept, is_name=not self.is_asked(concept))
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
        if self.examples:
            self._check_examples()
        if self.adapt_name and self.adapt is None:
            raise InputError("Nothing is learnt that could be saved; let the model learn from slices, or give no name.")
        if self.adapt_name and isinstance(self.inside, str):
            raise InputError("What is learnt inside of another structure cannot be saved; give no name, or a mask.")

    @property
    def container(self) -> str | None:
        """The concept that the others must lie in, or the words for one that is not asked for; None without words."""
        if not isinstance(self.inside, str):
            return None
        if self.inside in self.concepts:
            return self.inside
        meant = prompt_for(self.inside)
        return next((concept for concept in self.concepts if prompt_for(concept) == meant), self.inside)

    def is_asked(self, concept: str) -> bool:
        """Whether the model is asked a concept's words, or they are only its name."""
        prompts = self.prompts.get(concept)
        return not self.examples and (prompts is None or prompts.is_phrase)

    def tracks(self, concept: str) -> bool:
        """Whether a concept's objects are tracked through the stack, or only detected on each slice."""
        if self.mode is Mode.FROM_PROMPTS:
            return not self.prompts[concept].are_exemplars_only
        return self.mode is Mode.PROPAGATE

    def detects(self, concept: str) -> bool:
        """Whether a concept is looked for on every slice."""
        prompts = self.prompts.get(concept)
        if prompts is None or prompts.are_exemplars:
            return True
        return self.mode is not Mode.FROM_PROMPTS and prompts.is_phrase

    def in_drawn_plane(self, grid: VoxelGrid) -> tuple[SegmentRequest, tuple[Message, ...]]:
        """The request with the plane that masks were drawn in where none is named, and what is to be said of that.

        Masks of which it is known on what slices of the stack they were drawn are left alone.

        Args:
            grid: of the volume.

        Raises:
            InputError: masks were drawn in another plane than the request goes by, and another cannot be taken.
        """
        own = SliceStack.along(grid, self.plane)
        drawn: list[tuple[str, tuple[Plane, tuple[int, ...]]]] = []
        count = 0
        for concept, stack, masks in self._masks_to_place(own):
            count += 1
            found = drawn_plane(stack, masks)
            if found is not None:
                drawn.append((concept, found))
        if not drawn:
            return self, ()
        concept, (plane, indices) = drawn[0]
        listed = ", ".join(map(str, indices[:_MOST_LISTED])) + (", ..." if len(indices) > _MOST_LISTED else "")
        is_one = len(drawn) == count and all(found[0] is plane for _, found in drawn)
        if self.plane is not Plane.ACQUIRED or self.slices is not None or self.more_planes or not is_one:
            raise InputError(
                "What was drawn for '{concept}' lies on {plane} slices ({slices}) and is but a line on each {own} one; "
                "choose the plane '{plane}' and nothing that goes by another, or draw it on {own} slices.",
                concept=concept,
                plane=plane.words,
                slices=listed,
                own=own.plane.words,
            )
        said = message(
            "What was drawn for '{concept}' lies on {plane} slices ({slices}), so {plane} slices were looked at.",
            concept=concept,
            plane=plane.words,
            slices=listed,
        )
        return replace(self, plane=plane), (said,)

    def _masks_to_place(self, own: SliceStack) -> Iterator[tuple[str, SliceStack, list[BoolMask]]]:
        """What was drawn or shown on slices that nobody named, by concept and with the stack it would be read in."""
        for concept, prompts in self.prompts.items():
            masks = [mark.mask for mark in prompts.masks if mark.slices is None and mark.mask.shape == own.grid.shape]
            if masks:
                yield concept, own, masks
        for concept, examples in self.examples.items():
            for example in examples:
                if example.slices is None:
                    yield concept, SliceStack.along(example.volume.grid, own.plane), [example.mask]

    def _check_examples(self) -> None:
        for concept in self.concepts:
            if not self.examples.get(concept):
                raise InputError(
                    "There is no example of '{concept}'; give one, or leave the concept out.", concept=concept
                )
        if self.mode is Mode.FROM_PROMPTS or self.prompts or self.more_planes:
            raise InputError("Examples do not go with drawn prompts or more planes; leave those out.")
        if self.container is not None and self.container not in self.concepts:
            raise InputError(
                "Examples say nothing of '{concept}'; give an example of it too, or a mask to look inside of.",
                concept=self.container,
            )

    def _check_container(self, words: str) -> None:
        if len(split_phrases(words)) != 1:
            raise InputError(
                "'{words}' does not name one structure to look inside of; give a phrase, such as 'liver'.", words=words
            )
        check_phrase(words)
        if set(self.concepts) == {self.container}:
            raise InputError(
                "'{words}' cannot lie inside of itself; add a concept that lies in it, such as 'tumor'.", words=words
            )

    def for_concepts(self, concepts: tuple[str, ...]) -> SegmentRequest:
        """The request for some of its concepts alone; what they lie in stays as it is."""
        prompts = {concept: prompts for concept, prompts in self.prompts.items() if concept in concepts}
        places = {concept: place for concept, place in self.places.items() if concept in concepts}
        return replace(self, concepts=concepts, prompts=prompts, places=places)

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
