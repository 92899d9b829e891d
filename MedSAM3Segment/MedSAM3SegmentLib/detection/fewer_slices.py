"""Detection on fewer slices than there are: some first and then where something may be, or those between interpolated.

Nothing here is done unless it is asked for. What was not looked at is told by a sentence of the run and stands in the
result's provenance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from MedSAM3SegmentLib.assembly.assemble import CONTINUATION
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.features.slice_encoder import SliceFeatures
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.progress import RunReporter
from MedSAM3SegmentLib.request import Grouping, Mode, SegmentRequest
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.search_region import SearchRegion
from MedSAM3SegmentLib.slice_saving import SliceSaving
from MedSAM3SegmentLib.vocabulary.structure_sizes import smallest_extent_mm
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .detect_slices import ConceptQuery, detect_slices
from .interpolate_slices import interpolate_slices

#: What is not known to be large may be as small as this: lung nodules are followed up from 6 mm on (MacMahon et al.,
#: Radiology 284 (2017) 228-243).
SMALLEST_STRUCTURE_MM = 5.0

#: Slices beyond the last one that shows something on which nothing must be seen before they are no longer looked at.
_MARGIN = 2

#: Evidence by slice of one concept.
_Seen = dict[int, SliceDetections]


def check_saving(request: SegmentRequest, stack: SliceStack, vocabulary: Vocabulary) -> None:
    """Refuse to leave slices out where something would be lost that is asked for.

    Raises:
        InputError: the request needs every slice, or a structure is smaller than the distance of the slices.
    """
    saving = request.saving
    if not saving.is_wanted:
        return
    if request.mode is not Mode.SLICES or request.examples or request.prompts or request.more_planes:
        raise InputError(
            "Slices can be left out only where words are looked for on every slice of one plane (the mode '{mode}', "
            "nothing drawn, no examples); look at all of them, or leave the rest out.",
            mode=Mode.SLICES,
        )
    if saving.least_distance_mm > stack.spacing[0] and request.grouping is Grouping.INSTANCE:
        raise InputError(
            "Slices that are interpolated do not tell objects of one concept apart; choose one segment per concept, or "
            "look at all slices."
        )
    distance = _first_step(saving, stack) * stack.spacing[0]
    for concept in dict.fromkeys((*request.concepts, *([request.container] if request.container else []))):
        extent = smallest_extent_mm(concept, vocabulary) or SMALLEST_STRUCTURE_MM
        if distance > extent:
            raise InputError(
                "'{concept}' may be as small as {extent} mm and would be missed between slices that are {distance} mm "
                "apart; look at more of them.",
                concept=concept,
                extent=f"{extent:.3g}",
                distance=f"{distance:.3g}",
            )


def detect_fewer_slices(
    features: SliceFeatures,
    queries: Sequence[ConceptQuery],
    search_region: SearchRegion,
    threshold: float,
    reporter: RunReporter,
    saving: SliceSaving,
) -> tuple[list[list[SliceDetections]], Message]:
    """Evidence per query and slice as ``detect_slices`` gives it, and in words which slices were looked at.

    With ``saving.skim`` there is none of slices that were not looked at; each concept goes on from the slices that may
    show it until two in a row do not. With ``saving.least_distance_mm`` slices between are interpolated.

    Raises:
        Cancelled: between two batches.
    """
    candidates = _candidates(search_region, saving)
    first = sorted({*candidates[:: saving.skim], candidates[-1]})
    seen: list[_Seen] = [{} for _ in queries]
    wanted: Mapping[int, set[int]] = {number: set(first) for number in range(len(queries))}
    low = threshold * CONTINUATION
    while any(wanted.values()):
        slices = sorted(set().union(*wanted.values()))
        asked = [number for number in wanted if wanted[number]]
        part = [replace(queries[number], only=frozenset(wanted[number])) for number in asked]
        region = replace(search_region, slices=tuple(slices))
        for number, items in zip(asked, detect_slices(features, part, region, threshold, reporter), strict=True):
            seen[number] |= {item.slice_index: item for item in items}
        wanted = {number: _missing(found, candidates, low) for number, found in enumerate(seen)}
    looked_at = len({index for found in seen for index in found})
    evidence = [[found[index] for index in sorted(found)] for found in seen]
    if len(candidates) < len(search_region.slices):
        shape = search_region.stack.slice_shape
        evidence = [interpolate_slices(items, candidates, search_region.slices, low, shape) for items in evidence]
    said = message(
        "{looked} of {all} slices were looked at{how}.",
        looked=looked_at,
        all=len(search_region.slices),
        how=_words(saving, search_region.stack),
    )
    return evidence, said


def _first_step(saving: SliceSaving, stack: SliceStack) -> int:
    """How many slices of the stack are from one that is looked at first to the next."""
    return saving.skim * _every(saving, stack)


def _every(saving: SliceSaving, stack: SliceStack) -> int:
    # A slice too near by rounding alone counts as far enough.
    return max(1, math.floor(saving.least_distance_mm / stack.spacing[0] + 1e-6))


def _candidates(search_region: SearchRegion, saving: SliceSaving) -> list[int]:
    """The slices that may be looked at, rising; the last of all among them."""
    slices = search_region.slices
    return sorted({*slices[:: _every(saving, search_region.stack)], slices[-1]})


def _missing(found: _Seen, candidates: Sequence[int], low: float) -> set[int]:
    """Slices that are not looked at yet and lie near one, or between two neighbors of those looked at, that show it."""
    looked_at = [place for place, index in enumerate(candidates) if index in found]
    shows = {place for place in looked_at if found[candidates[place]].score >= low}
    missing: set[int] = set()
    for one, next_ in pairwise(looked_at):
        if one in shows and next_ in shows:
            missing.update(range(one + 1, next_))
    for place in shows:
        missing.update(range(max(0, place - _MARGIN), min(len(candidates), place + _MARGIN + 1)))
    return {candidates[place] for place in missing} - found.keys()


def _words(saving: SliceSaving, stack: SliceStack) -> Message:
    every = _every(saving, stack)
    if saving.skim > 1 and every > 1:
        return message(
            ": of one in {every} one in {skim} first, then where something may be; between them shapes are "
            "interpolated",
            every=every,
            skim=saving.skim,
        )
    if every > 1:
        return message(": one in {every}; between them shapes are interpolated", every=every)
    return message(": one in {skim} first, then where something may be", skim=saving.skim)
