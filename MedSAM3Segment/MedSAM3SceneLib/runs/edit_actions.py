"""What the Segment Editor effect asks the engine for, and how the answer changes the selected segment.

An action becomes a question (a volume and a request) and a change: which voxels of the segment take the answer. Nothing
here looks at the scene but ``edit_context``; the rest may run on another thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from MedSAM3SceneLib.editing.labelmap_merge import (
    Change,
    ObliqueChange,
    StackSliceChange,
    VolumeChange,
    slices_only,
)
from MedSAM3SceneLib.mrml.labelmaps import content_of
from MedSAM3SceneLib.mrml.segment_masks import grid_to_segmentation, labelmap_mask
from MedSAM3SceneLib.mrml.slice_planes import (
    ViewPlane,
    oblique_slice,
    stack_slice,
    touched_thickness,
    view_plane,
)
from MedSAM3SceneLib.mrml.volumes import SceneVolume
from MedSAM3SceneLib.segments.edited_slices import WrittenSlices, changed_slices, read_written
from MedSAM3SceneLib.segments.prompts import (
    Prompt,
    move_prompt,
    positions_of,
    read_prompts,
    to_volume_frame,
)
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.preprocessing.windowing import choose_window, is_ct
from MedSAM3SegmentLib.prompts.prompts import (
    BoxPromptRAS,
    BoxReading,
    MaskPromptRAS,
    TargetPrompts,
)
from MedSAM3SegmentLib.request import Adapt, AssemblyOptions, Mode, SegmentRequest
from MedSAM3SegmentLib.tracking.correction import anchor_slices
from MedSAM3SegmentLib.vocabulary.phrases import split_phrases
from MedSAM3SegmentLib.volume import Volume

#: On a single slice nothing is isolated.
_ONE_SLICE = AssemblyOptions(drop_isolated=False)


class EditAction(StrEnum):
    """What the effect can do to the selected segment."""

    THIS_SLICE = "this slice"
    PROPAGATE = "propagate from edited slices"
    WHOLE_VOLUME = "whole volume"


@dataclass(frozen=True)
class ActionOptions:
    """What a user chose for an action.

    Attributes:
        phrase: what to look for; empty where only what was drawn tells.
        name: what to call the object where there is no phrase: the segment's name.
        reading: what positive boxes mean.
        learns: whether a copy of the model learns from the drawn slices first.
        learnt_name: what to keep that copy as in the engine's model store; empty to throw it away.
    """

    action: EditAction
    phrase: str
    name: str
    reading: BoxReading = BoxReading.ONLY_THIS_ONE
    learns: bool = False
    learnt_name: str = ""


@dataclass(frozen=True, eq=False)
class EditContext:
    """What an action needs to know of the scene, as it was when the volume was read.

    Attributes:
        placed: the volume.
        marks: of the segment, in the frame of the volume's grid.
        content: what the segment holds, from ``labelmaps.content_of``.
        ijk_to_segmentation: from voxels of the volume to the segmentation's frame.
        written: what the program wrote into the segment before.
        view: the plane of the slice view that was worked in, in the frame of the volume's grid, or None.
    """

    placed: SceneVolume
    marks: tuple[Prompt, ...]
    content: Any | None
    ijk_to_segmentation: Matrix
    written: WrittenSlices | None
    view: ViewPlane | None


@dataclass(frozen=True, eq=False)
class EditRequest:
    """What the engine is asked, and what becomes of its answer.

    Attributes:
        notes: what the user should know, one sentence each.
    """

    volume: Volume
    request: SegmentRequest
    change: Change
    notes: tuple[Message, ...] = ()


def edit_context(
    segmentation_node: Any, segment_id: str, volume_node: Any, placed: SceneVolume, slice_node: Any | None
) -> EditContext:
    """What an action needs to know of the scene.

    Raises:
        InputError: a parent transform of one of the nodes is non-linear.
    """
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    to_volume = to_volume_frame(segmentation_node, volume_node, placed)
    return EditContext(
        placed,
        tuple(move_prompt(mark, to_volume) for mark in read_prompts(segment)),
        content_of(segment),
        grid_to_segmentation(segmentation_node, volume_node, placed),
        read_written(segment),
        None if slice_node is None else view_plane(slice_node, volume_node, placed),
    )


def edit_request(words: ActionOptions, around: EditContext) -> EditRequest:
    """The question of an action.

    Raises:
        InputError: the action needs what is not there, in words.
    """
    match words.action:
        case EditAction.THIS_SLICE:
            return _this_slice(words, around)
        case EditAction.PROPAGATE:
            return _propagate(words, around)
        case EditAction.WHOLE_VOLUME:
            return _whole_volume(words, around)


def nothing_to_look_for(words: ActionOptions, marks: Sequence[Prompt]) -> str:
    """Why nothing can be asked with a phrase and marks alone, in one sentence; empty where something can."""
    if words.phrase.strip() or any(mark.positive for mark in marks):
        return ""
    return message(
        "There is nothing to look for; type what '{name}' is, or draw a box or point on it.", name=words.name
    )


def _this_slice(words: ActionOptions, around: EditContext) -> EditRequest:
    if around.view is None:
        raise InputError("No slice view is shown; choose a layout that has one and click into it.")
    volume = around.placed.volume
    half = touched_thickness(volume.grid.ijk_to_ras, around.view.normal) / 2
    marks = [mark for mark in around.marks if _lies_on(mark, around.view, half)]
    left_out = len(around.marks) - len(marks)
    notes = (message("Marks on other slices were left out ({count}).", count=left_out),) if left_out else ()
    shown = stack_slice(around.view, volume.grid)
    if shown is None:
        cut = oblique_slice(around.view, volume)
        # Percentiles of one slice would show it through another window than its neighbors; presets hold for any part.
        window = None if is_ct(volume) else choose_window(volume)
        request, said = _request(words, marks, (), window=window, assembly=_ONE_SLICE)
        return EditRequest(cut, request, ObliqueChange(cut.grid.ijk_to_ras), (*notes, *said))
    stack = SliceStack.along(volume.grid, shown.plane)
    slices = (shown.index, shown.index + 1)
    request, said = _request(words, marks, (), plane=shown.plane, slices=slices, assembly=_ONE_SLICE)
    return EditRequest(volume, request, StackSliceChange(stack, shown.index), (*notes, *said))


def _propagate(words: ActionOptions, around: EditContext) -> EditRequest:
    grid = around.placed.volume.grid
    mask = labelmap_mask(around.content, grid, around.ijk_to_segmentation)
    stack, drawn = _drawn_slices(mask, around)
    marks, notes = _marks_of_stack(around.marks, stack)
    if not drawn and not any(mark.positive for mark in marks):
        raise InputError(
            "No slice of '{name}' was drawn or corrected; draw it on one slice at least, with any effect, or "
            "draw a box or point on it.",
            name=words.name,
        )
    masks: tuple[MaskPromptRAS, ...] = ()
    if drawn:
        held = tuple(sorted({*drawn, *_held(mask, stack, drawn, around)}))
        masks = (MaskPromptRAS(mask & slices_only(stack, held), held),)
        listed = ", ".join(str(index) for index in drawn[:8]) + (", ..." if len(drawn) > 8 else "")
        kept = message("Kept as they were drawn, on {plane} slices: {listed}.", plane=stack.plane.words, listed=listed)
        notes = (*notes, kept)
    elif words.learns:
        notes = (*notes, message("Nothing was learnt, since no slice was drawn."))
    request, said = _request(words, marks, masks, plane=stack.plane)
    return EditRequest(around.placed.volume, request, VolumeChange(stack, drawn), (*notes, *said))


def _whole_volume(words: ActionOptions, around: EditContext) -> EditRequest:
    stack = SliceStack.along(around.placed.volume.grid)
    marks, notes = _marks_of_stack(around.marks, stack)
    request, said = _request(words, marks, (), plane=stack.plane)
    return EditRequest(around.placed.volume, request, VolumeChange(stack), (*notes, *said))


def _request(
    words: ActionOptions, marks: Sequence[Prompt], masks: tuple[MaskPromptRAS, ...], **options: Any
) -> tuple[SegmentRequest, tuple[Message, ...]]:
    """The request, and what the user should know of it.

    What shows the one object that is meant is followed. Boxes that are but examples go to the detector with the phrase.
    """
    phrases = split_phrases(words.phrase)
    phrase = words.phrase.strip() if len(phrases) != 1 else phrases[0]
    if len(phrases) > 1:
        raise InputError(
            "'{phrase}' is more than one phrase, and '{name}' is one segment; type one of them, or use the "
            "MedSAM3 Segment module, which makes a segment of each.",
            phrase=phrase,
            name=words.name,
        )
    concept = phrase or words.name.strip() or "object"
    boxes = tuple(mark for mark in marks if isinstance(mark, BoxPromptRAS))
    points = tuple(mark for mark in marks if not isinstance(mark, BoxPromptRAS))
    shows_one = words.reading is BoxReading.ONLY_THIS_ONE and any(box.positive for box in boxes)
    if masks or shows_one or any(point.positive for point in points):
        prompts = {concept: TargetPrompts(points, boxes, masks, words.reading, is_phrase=bool(phrase))}
        # With the name of what was drawn, detections check where it ends.
        mode = Mode.PROPAGATE if masks and phrase else Mode.FROM_PROMPTS
        options |= {"adapt": Adapt.SLICES, "adapt_name": words.learnt_name} if words.learns and masks else {}
        return SegmentRequest((concept,), mode=mode, prompts=prompts, **options), ()
    if reason := nothing_to_look_for(words, marks):
        raise InputError(reason)
    examples = TargetPrompts((), boxes, (), BoxReading.THINGS_LIKE_THIS, is_phrase=bool(phrase)) if boxes else None
    notes = (message("Negative points need a positive point, box or drawn slice and were left out."),) if points else ()
    return SegmentRequest((concept,), prompts={concept: examples} if examples else {}, **options), notes


def _held(mask: BoolMask, stack: SliceStack, drawn: tuple[int, ...], around: EditContext) -> tuple[int, ...]:
    """Slices that were written earlier and hold the object where it was right, if only some of them were corrected."""
    if around.written is None or not around.written.scores:
        return ()
    there = np.flatnonzero(stack.extract(mask).any(axis=(1, 2))).tolist()
    return tuple(anchor_slices(there, drawn, around.written.scores))


def _drawn_slices(mask: BoolMask, around: EditContext) -> tuple[SliceStack, tuple[int, ...]]:
    """The stack in which a person drew, and the slices."""
    grid = around.placed.volume.grid
    if around.written is not None:
        stack = SliceStack.along(grid, around.written.plane)
        if stack.count == around.written.count:
            return stack, changed_slices(around.written, mask, stack)
    acquired = SliceStack.along(grid)
    if not mask.any():
        return acquired, ()
    stacks = [acquired, *(SliceStack.along(grid, plane) for plane in (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL))]
    filled = [tuple(int(n) for n in np.flatnonzero(stack.extract(mask).any(axis=(1, 2)))) for stack in stacks]
    fewest = min(range(len(stacks)), key=lambda number: len(filled[number]))
    # What was drawn on a few sagittal slices is a line on each axial one.
    chosen = fewest if 2 * len(filled[fewest]) < len(filled[0]) else 0
    return stacks[chosen], filled[chosen]


def _marks_of_stack(marks: Sequence[Prompt], stack: SliceStack) -> tuple[list[Prompt], tuple[Message, ...]]:
    """The marks that mean something on slices of ``stack``: a box seen from its edge is a line there."""
    to_ijk = np.linalg.inv(stack.grid.ijk_to_ras)
    usable = []
    for mark in marks:
        places = np.array(positions_of(mark)) @ to_ijk[:3, :3].T + to_ijk[:3, 3]
        in_slice = [2 - axis for axis in stack.array_axes[1:]]
        if not isinstance(mark, BoxPromptRAS) or (np.ptp(places[:, in_slice], axis=0) > 0.5).all():
            usable.append(mark)
    left_out = len(marks) - len(usable)
    if not left_out:
        return usable, ()
    said = message(
        "Boxes that stand upright on {plane} slices were left out ({count}).", plane=stack.plane.words, count=left_out
    )
    return usable, (said,)


def _lies_on(mark: Prompt, view: ViewPlane, half: float) -> bool:
    heights = (np.array(positions_of(mark)) - view.origin) @ view.normal
    return bool((np.abs(heights) <= half + 1e-6).all())
