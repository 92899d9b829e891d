"""How well held-out slices are filled with what an adapted detector sees and without, between drawn ones and beyond."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.assembly.assemble import slice_mask
from MedSAM3SegmentLib.geometry.soft_mask import soft_mask_to_binary
from MedSAM3SegmentLib.interpolation.fill_between import ModelMasks, fill_by_shape
from MedSAM3SegmentLib.interpolation.fill_track import slices_of
from MedSAM3SegmentLib.progress import RunReporter
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, TargetPrompts
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.run_context import RunContext
from MedSAM3SegmentLib.search_region import SearchRegion
from MedSAM3SegmentLib.tracking.track_concepts import track_concepts

from .drawn_lessons import DrawnLesson

#: What was learnt must make the held-out slices this much better, or chance may have.
_LEAST_GAIN = 0.002

#: Below this Dice coefficient more of what is found is wrong than right, and nothing would be better.
_LEAST_WORTH = 0.5

#: Drawn slices that the object is followed from to an end that is held out; more cost time and say hardly more.
_FOLLOWED_FROM = 2


@dataclass(frozen=True)
class HeldOutScore:
    """Dice coefficient of slices that were held out.

    Attributes:
        slices: how many they are.
        without, with_it: without what was learnt, and with it.
    """

    slices: int
    without: float
    with_it: float

    @property
    def is_better(self) -> bool:
        """Whether what was learnt does better."""
        return self.with_it >= max(self.without + _LEAST_GAIN, _LEAST_WORTH)


def score_between(run: RunContext, one: DrawnLesson, items: Sequence[SliceDetections]) -> HeldOutScore:
    """Of slices between others: filled by shape and image, and with what the adapted detector sees.

    Args:
        items: what it sees, by slice.
    """
    stack = run.search_region.stack
    seen = {item.slice_index: slice_mask(item, run.threshold, stack.slice_shape) for item in items}
    rest = {index: mask for index, mask in one.masks.items() if index not in one.between}
    image_of, check = slices_of(run.volume, stack), run.reporter.callbacks.check
    filling = fill_by_shape(rest, image_of, stack.spacing, check)
    if filling is None:
        raise ValueError("What is held out lies between drawn slices.")
    scores = []
    for models in ([], [ModelMasks(seen, saw_drawn=False)]):
        filled = filling.joined_with(models)
        found = {index: soft_mask_to_binary(filled[index].soft, stack.slice_shape) for index in one.between}
        scores.append(_dice(found, {index: one.masks[index] for index in one.between}))
    return HeldOutScore(len(one.between), *scores)


def score_beyond(
    run: RunContext,
    one: DrawnLesson,
    part: SegmentRequest,
    region: SearchRegion,
    own: Sequence[SliceDetections],
    items: Sequence[SliceDetections],
) -> HeldOutScore | None:
    """Of the outermost slices, and those that were drawn as empty beyond them: followed to from the next drawn ones.

    Args:
        part: what is asked for.
        own: what the detector as it is sees, where it is asked.
        items: what the adapted one sees, by slice.

    Returns:
        None where the outermost slices were not held out.
    """
    if not one.ends:
        return None
    name, stack = one.query.concept, region.stack
    learnt = [index for index in one.learnt if one.masks[index].any()]
    found: tuple[dict[int, BoolMask], dict[int, BoolMask]] = ({}, {})
    truth: dict[int, BoolMask] = {}
    for end, near in ((one.ends[0], learnt[:_FOLLOWED_FROM]), (one.ends[1], learnt[-_FOLLOWED_FROM:])):
        way = -1 if end < near[0] else 1
        tested = [index for index in one.masks if (index - end) * way >= 0]
        truth |= {index: one.masks[index] for index in tested}
        slices = tuple(i for i in region.slices if min(*tested, *near) <= i <= max(*tested, *near))
        cut = replace(region, slices=slices)
        mask = np.zeros((stack.count, *stack.slice_shape), bool)
        for index in near:
            mask[index] = one.masks[index]
        drawn = MaskPromptRAS(np.ascontiguousarray(stack.insert(mask)), tuple(near))
        for is_adapted, masks in enumerate(found):
            evidence = items if is_adapted else own
            is_phrase = bool(is_adapted) or part.prompts[name].is_phrase
            mode = Mode.PROPAGATE if is_adapted else part.mode
            request = replace(
                part.for_concepts((name,)),
                mode=mode,
                adapt=None,
                adapt_name="",
                inside=None,
                more_planes=(),
                prompts={name: TargetPrompts(masks=(drawn,), is_phrase=is_phrase)},
            )
            kept = tuple(item for item in evidence if item.slice_index in slices)
            concept = replace(run.unassembled(name), evidence=kept)
            silent = RunReporter(replace(run.reporter.callbacks, progress=None, partial=None))
            (done,) = track_concepts([concept], request, run.features, cut, run.threshold, silent)
            for index in tested:
                masks[index] = np.zeros(stack.slice_shape, bool)
                for track in done.tracks:
                    if index in track.masks:
                        masks[index] |= soft_mask_to_binary(track.masks[index], stack.slice_shape)
    return HeldOutScore(len(one.ends), _dice(found[0], truth), _dice(found[1], truth))


def _dice(found: Mapping[int, BoolMask], truth: Mapping[int, BoolMask]) -> float:
    hits = sum(2 * np.count_nonzero(found[index] & truth[index]) for index in truth)
    total = sum(np.count_nonzero(found[index]) + np.count_nonzero(truth[index]) for index in truth)
    return float(hits / total) if total else 0.0
