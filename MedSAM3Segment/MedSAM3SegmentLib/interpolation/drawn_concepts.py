"""Which concepts of a request were drawn on slices that leave others between them, so that no model is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, TargetPrompts
from MedSAM3SegmentLib.prompts.slice_prompts import drawn_on
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.results.tracks import Track
from MedSAM3SegmentLib.volume import Volume


def drawn_slices(prompts: TargetPrompts | None, stack: SliceStack) -> Mapping[int, BoolMask]:
    """What was drawn, bool ``[row, column]`` by slice; nothing where it is too little to go without a tracker.

    Two slices with the object are enough, whether or not there are others between them.

    Raises:
        InputError: a mask does not fit the volume.
    """
    if prompts is None or not prompts.masks:
        return {}
    drawn = drawn_on(stack, prompts.masks)
    return drawn if sum(bool(mask.any()) for mask in drawn.values()) > 1 else {}


def concept_shown_elsewhere(request: SegmentRequest, volume: Volume) -> str | None:
    """The first concept that an example in another image than ``volume`` shows; None where there is none.

    Examples in the volume itself are drawn slices, which need no model.
    """
    for concept, examples in request.examples.items():
        if any(one.volume.content_hash != volume.content_hash for one in examples):
            return concept
    return None


def with_examples_drawn(request: SegmentRequest) -> SegmentRequest:
    """The request with what its examples show as drawn slices; all of them lie in the volume itself."""
    prompts = {
        name: TargetPrompts(
            masks=tuple(MaskPromptRAS(one.mask, one.slices) for one in request.examples[name]), is_phrase=False
        )
        for name in request.concepts
    }
    return replace(request, examples={}, mode=Mode.FROM_PROMPTS, prompts=prompts)


def describe_without_tracker(prompts: TargetPrompts, concept: str) -> Message:
    """What became of a concept without a tracker."""
    if prompts.points or prompts.boxes:
        return message(
            "The model has no tracker, so '{concept}' was only filled between its drawn slices, by their "
            "shapes and the image; points and boxes were left out.",
            concept=concept,
        )
    return message(
        "The model has no tracker, so '{concept}' was only filled between its drawn slices, by their shapes "
        "and the image.",
        concept=concept,
    )


def describe_without_model(prompts: TargetPrompts, concept: str) -> Message:
    """What became of a concept without a model."""
    if prompts.points or prompts.boxes:
        return message(
            "No model was used: '{concept}' was filled between its drawn slices, by their shapes and the image; points "
            "and boxes were left out.",
            concept=concept,
        )
    return message(
        "No model was used: '{concept}' was filled between its drawn slices, by their shapes and the image.",
        concept=concept,
    )


def evidence_of(track: Track) -> tuple[SliceDetections, ...]:
    """How sure each slice of a track is, as a detector would say it."""
    return tuple(SliceDetections(index, score, score) for index, score in sorted(track.object_scores.items()))
