"""Which concepts of a request were drawn on slices that leave others between them, so that no model is needed."""

from __future__ import annotations

from collections.abc import Mapping

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.prompts.prompts import TargetPrompts
from MedSAM3SegmentLib.prompts.slice_prompts import drawn_on
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.results.tracks import Track


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
