"""What a run gives back: per concept the evidence, the mask it leads to, and where it came from.

The evidence (scores and soft masks of every detection above a low floor) is part of the result, so that moving the
threshold never runs the model: ``assembly.assemble.with_threshold`` turns the same evidence into a mask again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.label_map import LabelMap, Overlap, merge_masks
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.io.labelmap_nifti import check_overlap
from MedSAM3SegmentLib.localization.place import Place
from MedSAM3SegmentLib.messages.message import Message
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.provenance import Provenance
from MedSAM3SegmentLib.request import AssemblyOptions
from MedSAM3SegmentLib.search_region import SearchRegion

from .cut_off import CutOff
from .slice_detections import SliceDetections
from .tracks import SliceSource, SuggestedSlice, Track


@dataclass(frozen=True, eq=False)
class Instance:
    """One connected object of a concept.

    Attributes:
        label: its number in ``ConceptResult.instance_map``, from 1, largest first.
        first_slice, last_slice: along the stack, both included.
        score: best slice score.
        cut_off: where it ends because no more was looked at.
    """

    label: int
    voxels: int
    volume_mm3: float
    first_slice: int
    last_slice: int
    score: float
    cut_off: tuple[CutOff, ...] = ()


@dataclass(frozen=True, eq=False)
class ConceptResult:
    """One concept in one volume.

    Attributes:
        concept: the phrase as the user typed it.
        prompt: the phrase as the model was asked.
        window: the window the model saw the volume through.
        evidence: one entry per slice that was looked at.
        found: whether anything was segmented.
        reason: one sentence that says why, or why not.
        mask: bool ``[k, j, i]`` on the volume's grid.
        instance_map: uint16 ``[k, j, i]``, 0 where there is nothing.
        messages: what the user should know of this concept, one sentence each.
        tracks: the objects that were followed, in the modes that follow any.
        clean_up: what assembly did, one sentence a step ("2 objects on single slices were dropped").
        sources: what each slice of the mask rests on.
        next_slice: the slice whose correction would help most, or None where there is none.
        place: where templates say that it lies, or None where none were asked.
    """

    concept: str
    prompt: str
    window: Window
    evidence: tuple[SliceDetections, ...]
    found: bool
    reason: Message
    mask: BoolMask
    instance_map: NDArray[np.uint16]
    instances: tuple[Instance, ...]
    messages: tuple[Message, ...] = ()
    tracks: tuple[Track, ...] = ()
    clean_up: tuple[Message, ...] = ()
    sources: Mapping[int, SliceSource] = field(default_factory=dict)
    next_slice: SuggestedSlice | None = None
    place: Place | None = None

    @property
    def score_by_slice(self) -> dict[int, float]:
        return {item.slice_index: item.score for item in self.evidence}

    @property
    def voxels(self) -> int:
        return int(np.count_nonzero(self.mask))

    @property
    def cut_off(self) -> tuple[CutOff, ...]:
        """Where any of its objects ends because no more was looked at."""
        return tuple(dict.fromkeys(part for instance in self.instances for part in instance.cut_off))


@dataclass(frozen=True, eq=False)
class SegmentResult:
    """The answer to one request.

    Attributes:
        stack: how the volume was cut; its grid is the volume's.
        concepts: in the order of the request.
        seconds: by stage.
        messages: of the whole run, one sentence each.
        assembly: which clean-up steps ran.
        search_region: outside of which nothing was segmented, or None.
    """

    stack: SliceStack
    concepts: tuple[ConceptResult, ...]
    provenance: Provenance
    seconds: Mapping[str, float]
    messages: tuple[Message, ...] = ()
    assembly: AssemblyOptions = field(default_factory=AssemblyOptions)
    search_region: SearchRegion | None = None

    def search_region_of(self, concept: str) -> SearchRegion | None:
        """Outside of what nothing of one concept was segmented."""
        return None if self.search_region is None else self.search_region.for_concept(concept)

    def label_map(self, overlap: Overlap = Overlap.SMALLER) -> NDArray[np.uint16]:
        """The labels of ``merged``."""
        return self.merged(overlap).labels

    def merged(self, overlap: Overlap = Overlap.SMALLER) -> LabelMap:
        """The concepts as one label map in which concept ``n`` has the label ``n`` (from 1), and what that hides.

        Raises:
            InputError: ``overlap`` refuses and concepts overlap.
        """
        masks = {number: concept.mask for number, concept in enumerate(self.concepts, start=1)}
        merged = merge_masks(masks, self.stack.grid.shape, overlap)
        check_overlap(merged, self.label_names, overlap, self.stack.grid.voxel_volume_mm3)
        return merged

    @property
    def label_names(self) -> dict[int, str]:
        """The concepts by their label in ``merged``."""
        return {number: concept.concept for number, concept in enumerate(self.concepts, start=1)}


def without_cut_off(result: SegmentResult) -> SegmentResult:
    """A result that does not say where objects are cut off: that of slices which are a part of what is there."""
    concepts = tuple(
        replace(concept, instances=tuple(replace(instance, cut_off=()) for instance in concept.instances))
        for concept in result.concepts
    )
    return replace(result, concepts=concepts)
