"""A segmenter without a model, for self-tests in Slicer and tests on slicer-core: it finds voxels by their value."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.assembly.find_cut_off import find_cut_off
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.preprocessing.windowing import choose_window
from MedSAM3SegmentLib.progress import (
    NO_CALLBACKS,
    PartialMask,
    Progress,
    RunCallbacks,
    Stage,
)
from MedSAM3SegmentLib.prompts.examples import Examples
from MedSAM3SegmentLib.provenance import ModelIdentity, Provenance
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.result import ConceptResult, Instance, SegmentResult
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.search_region import SearchRegion
from MedSAM3SegmentLib.units import is_plain_picture
from MedSAM3SegmentLib.vocabulary.phrases import VISUAL_PHRASE, prompt_for
from MedSAM3SegmentLib.volume import Volume


class FakeSegmenter:
    """Answers requests as the real segmenter does, from volumes whose voxel values are labels.

    Args:
        values: the voxel value of each phrase, by the phrase as the model is asked; other phrases are never found.
        seconds_a_slice: how long it pretends to work on each slice.
        score: of every slice that has the concept; the others have 0.

    Attributes:
        requests: what was asked in words, in order.
        examples: what was shown, in order.
    """

    def __init__(self, values: Mapping[str, int], seconds_a_slice: float = 0.0, score: float = 0.9) -> None:
        self.values = dict(values)
        self.seconds_a_slice = seconds_a_slice
        self.score = score
        self.requests: list[SegmentRequest] = []
        self.examples: list[Examples] = []

    def segment(
        self,
        volume: Volume,
        request: SegmentRequest,
        callbacks: RunCallbacks = NO_CALLBACKS,
    ) -> SegmentResult:
        """The voxels of ``volume`` that have the value of each concept, within the slices asked for.

        Raises:
            Cancelled: ``callbacks.cancel`` returned True before a slice.
        """
        if request.examples:
            return self._segment_shown(volume, request, callbacks)
        progress, partial, cancel = callbacks.progress, callbacks.partial, callbacks.cancel
        request, said = request.in_drawn_plane(volume.grid)
        self.requests.append(request)
        stack = SliceStack.along(volume.grid, request.plane)
        slices = request.slice_range(stack)
        if request.container is not None:
            around = self._concept(volume, replace(request, inside=None), stack, request.container, slices)
            request = replace(request, inside=around.mask)
        concepts = tuple(self._concept(volume, request, stack, text, slices) for text in request.concepts)
        for done, index in enumerate(slices, start=1):
            if cancel is not None and cancel():
                raise Cancelled()
            time.sleep(self.seconds_a_slice)
            for concept in concepts if partial is not None else ():
                mask = stack.extract(concept.mask)[index]
                partial(PartialMask(concept.concept, index, concept.score_by_slice[index], mask))
            if progress is not None:
                left = self.seconds_a_slice * (len(slices) - done)
                progress(Progress(Stage.SEGMENTING, done, len(slices), left))
        provenance = Provenance(
            model=ModelIdentity("fake", "0" * 64, is_demo=True),
            device="none",
            plane=stack.plane,
            threshold=0.5 if request.threshold is None else request.threshold,
            input_name=volume.name,
            input_sha256=volume.content_hash,
            created="2000-01-01T00:00:00+00:00",
        )
        seconds = {"segmenting slices": 0.0}
        return SegmentResult(stack, concepts, provenance, seconds, (*volume.messages, *said), request.assembly)

    def _segment_shown(self, volume: Volume, request: SegmentRequest, callbacks: RunCallbacks) -> SegmentResult:
        """The voxels of ``volume`` that have the value that most voxels of each concept's first example have."""
        self.examples.append(request.examples)
        values = {}
        for concept in request.concepts:
            example = request.examples[concept][0]
            there, counts = np.unique(example.volume.array[example.mask], return_counts=True)
            values[prompt_for(concept)] = int(there[counts.argmax()])
        shown = FakeSegmenter(values, self.seconds_a_slice, self.score)
        return shown.segment(volume, replace(request, examples={}), callbacks)

    def _concept(
        self, volume: Volume, request: SegmentRequest, stack: SliceStack, concept: str, slices: range
    ) -> ConceptResult:
        phrase, shown = prompt_for(concept), request.prompts.get(concept)
        # No voxel is NaN's equal.
        wanted = volume.array == self.values.get(phrase, np.nan)
        if isinstance(request.inside, np.ndarray):
            wanted &= request.inside
        slices_of_mask = stack.extract(wanted).copy()
        slices_of_mask[: slices.start] = False
        slices_of_mask[slices.stop :] = False
        mask = stack.insert(slices_of_mask)
        scores = {index: self.score * slices_of_mask[index].any() for index in slices}
        voxels = int(mask.sum())
        hit = [index for index, score in scores.items() if score]
        volume_mm3 = voxels * volume.grid.voxel_volume_mm3
        looked_at = SearchRegion.of(replace(request, inside=None, region=None), stack, is_plain_picture(volume))
        cut_off = find_cut_off(mask.astype(np.uint16), stack, looked_at).get(1, ())
        instance = Instance(1, voxels, volume_mm3, min(hit), max(hit), self.score, cut_off) if hit else None
        return ConceptResult(
            concept=concept,
            prompt=phrase if shown is None or shown.is_phrase else VISUAL_PHRASE,
            window=choose_window(volume, override=request.window),
            evidence=tuple(
                SliceDetections(index, score, score, semantic=_soft(slices_of_mask[index]))
                for index, score in scores.items()
            ),
            found=voxels > 0,
            reason=message("'{concept}' was found on {count} slices.", concept=concept, count=len(hit))
            if hit
            else message("'{concept}' was not found on any slice.", concept=concept),
            mask=mask,
            instance_map=mask.astype(np.uint16),
            instances=(instance,) if instance else (),
        )


def _soft(mask: BoolMask) -> SoftMask:
    return SoftMask(mask.shape, 0, 0, mask.astype(np.float16))
