"""One action of the Segment Editor effect, from the click to the changed segment.

As ``runs.run`` says: what takes a while happens elsewhere, and the rest comes in short steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from MedSAM3SceneLib.coroutines import StepGenerator, run_in_thread
from MedSAM3SceneLib.editing.labelmap_merge import changed_and_new, edited_lattice
from MedSAM3SceneLib.editing.masking import as_far_as_editable
from MedSAM3SceneLib.editing.overwrite import VoxelTool, replace_content
from MedSAM3SceneLib.editing.write_result import check_segmentation_node
from MedSAM3SceneLib.engine.local_engine import Engine
from MedSAM3SceneLib.mrml.labelmaps import content_of, content_version
from MedSAM3SceneLib.mrml.segment_masks import labelmap_mask
from MedSAM3SceneLib.mrml.transforms import node_to_node
from MedSAM3SceneLib.mrml.volumes import SceneVolume, check_volume_node, read_in_steps
from MedSAM3SceneLib.segments.edited_slices import WrittenSlices, write_written, written_slices
from MedSAM3SceneLib.segments.provenance import write_provenance
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix
from MedSAM3SegmentLib.messages.message import Message, joined, message
from MedSAM3SegmentLib.reporting.report import segment_provenance
from MedSAM3SegmentLib.reporting.sentences import describe_cut_off
from MedSAM3SegmentLib.reporting.slice_sentences import describe_next_slice, describe_sources
from MedSAM3SegmentLib.results.result import ConceptResult, SegmentResult, without_cut_off
from MedSAM3SegmentLib.results.tracks import SuggestedSlice
from MedSAM3SegmentLib.tracking.correction import slice_scores

from .edit_actions import (
    ActionOptions,
    EditRequest,
    ObliqueChange,
    VolumeChange,
    edit_context,
    edit_request,
)
from .listener import RunListener
from .oblique_sentences import reason_on_cut
from .run import Run, RunState


@dataclass(frozen=True, eq=False)
class EditTask:
    """What is to be done to which segment.

    Attributes:
        words: the action and its phrase.
        editor: the vtkMRMLSegmentEditorNode whose masking, editable intensity range and overwrite mode hold; its
            segmentation has the segment.
        segment_id: the segment.
        volume_node: the volume to look at.
        slice_node: the vtkMRMLSliceNode of the view that was worked in, or None.
        save_state: called once, before the segment changes.
        model, device: as ``medsam3 segment`` takes them.
        read: reads the volume, as ``volumes.read_in_steps``.
    """

    words: ActionOptions
    editor: Any
    segment_id: str
    volume_node: Any
    slice_node: Any | None
    save_state: Callable[[], None]
    model: str = "demo"
    device: str = "auto"
    read: Callable[[Any], StepGenerator[SceneVolume]] = read_in_steps


class EditRun(Run):
    """An action that is on its way; ended when nothing was found, too, with the segment as it was.

    Attributes:
        changed: whether the segment was written.
        next_slice: the slice of a stack whose correction would help most, once the segment was written; None where
            there is none.

    Raises:
        InputError: the nodes cannot be used; nothing was begun.
    """

    def __init__(self, task: EditTask, jobs: Engine, tool: VoxelTool, listener: RunListener | None = None) -> None:
        segmentation_node = task.editor.GetSegmentationNode()
        if segmentation_node is None or segmentation_node.GetSegmentation().GetSegment(task.segment_id) is None:
            raise InputError("No segment is selected; add one, or select the one to work on.")
        check_volume_node(task.volume_node)
        check_segmentation_node(segmentation_node)
        super().__init__((task.volume_node, segmentation_node), listener)
        self.task = task
        self.changed = False
        self.next_slice: tuple[SliceStack, SuggestedSlice] | None = None
        self._segmentation_node = segmentation_node
        self._jobs = jobs
        self._tool = tool

    def _all_steps(self) -> StepGenerator[None]:
        task, segmentation_node = self.task, self._segmentation_node
        self.placed = placed = yield from self._read(task.read(task.volume_node))
        around = edit_context(segmentation_node, task.segment_id, task.volume_node, placed, task.slice_node)
        question = yield from run_in_thread(lambda: edit_request(task.words, around))
        result = yield from self._answer(
            self._jobs, replace(placed, volume=question.volume), question.request, task.model, task.device
        )
        is_whole = isinstance(question.change, VolumeChange)
        # A slice goes on in what the segment holds on the others.
        result = result if is_whole else without_cut_off(result)
        (concept,) = result.concepts
        # What became of the segment is read first.
        said = [*describe_cut_off(concept), *concept.messages, *question.notes, *result.messages]
        if is_whole:
            said = [*describe_next_slice(concept), *describe_sources(concept), *said]
        self.messages = [_reason(concept, question), *said]
        if not concept.found:
            self.messages.insert(1, message("The segment '{name}' was left as it was.", name=self._segment().GetName()))
            return
        self._check_wanted()
        self.state = RunState.CONVERTING
        labelmap, written, memory = yield from self._changed_labelmap(question, concept, placed)
        self._check_wanted()
        if labelmap is None:
            name = self._segment().GetName()
            said = message("Nothing of it may be edited; '{name}' was left as it was.", name=name)
            self.messages.insert(1, said)
            return
        self.state = RunState.WRITING
        # In one step, so that nobody finds, or breaks it off at, voxels that are not remembered.
        self._write(labelmap, written, memory, result, concept)
        if is_whole and concept.next_slice is not None:
            self.next_slice = (result.stack, concept.next_slice)

    def _segment(self) -> Any:
        return self._segmentation_node.GetSegmentation().GetSegment(self.task.segment_id)

    def _changed_labelmap(
        self, question: EditRequest, concept: ConceptResult, placed: SceneVolume
    ) -> StepGenerator[tuple[Any | None, Any | None, WrittenSlices | None]]:
        """What the segment is to hold, what of that is new, and what is to be remembered of it; nothing of a single
        slice, which counts as drawn. Worked out again when segments changed meanwhile, as an undo lets them.
        """
        task, segmentation_node, change = self.task, self._segmentation_node, question.change
        while True:
            version = content_version(segmentation_node.GetSegmentation())
            to_segmentation = node_to_node(task.volume_node, segmentation_node) @ placed.to_node
            # Not that of the question, which may be an oblique slice: a segment stands on the voxels of its volume.
            ijk_to_segmentation = to_segmentation @ placed.volume.grid.ijk_to_ras
            held = content_of(self._segment())
            lattice = edited_lattice(segmentation_node.GetSegmentation(), held, ijk_to_segmentation)
            work = partial(changed_and_new, change, concept.mask, held, lattice, to_segmentation)
            new, written = yield from run_in_thread(work)
            self._check_wanted()
            if new is not None:
                new, written = yield from as_far_as_editable(new, written, task.editor, task.segment_id)
            memory = None
            if new is not None and isinstance(change, VolumeChange):
                memory = yield from run_in_thread(partial(_memory, new, change, to_segmentation, concept))
            self._check_wanted()
            if content_version(segmentation_node.GetSegmentation()) == version:
                return new, written, memory

    def _write(
        self,
        labelmap: Any,
        written: Any | None,
        memory: WrittenSlices | None,
        result: SegmentResult,
        concept: ConceptResult,
    ) -> None:
        task = self.task
        task.save_state()
        replace_content(task.editor, task.segment_id, labelmap, written, self._tool)
        self.changed = True
        write_provenance(self._segment(), segment_provenance(result, concept) | {"action": task.words.action.value})
        if memory is not None:
            write_written(self._segment(), memory)

    def _check_wanted(self) -> None:
        super()._check_wanted()
        if self.state is RunState.WRITING:
            return
        # What is written goes where the editor is by then, and segments of two segmentations may have the same ID.
        if self.task.editor.GetSegmentationNode() is not self._segmentation_node:
            self.cancel()
            raise Cancelled("Another segmentation was selected while the segment was worked on; nothing was written.")
        if self._segment() is None:
            self.cancel()
            raise Cancelled("The segment was removed while it was worked on; nothing was written.")


def _memory(labelmap: Any, change: VolumeChange, to_segmentation: Matrix, concept: ConceptResult) -> WrittenSlices:
    """What is to be remembered of a segment that holds ``labelmap``; touches no scene."""
    stack = change.stack
    mask = labelmap_mask(labelmap, stack.grid, to_segmentation @ stack.grid.ijk_to_ras)
    return written_slices(mask, stack, change.drawn, slice_scores(concept))


def _reason(concept: ConceptResult, question: EditRequest) -> Message:
    """Whether it was found."""
    if not isinstance(question.change, ObliqueChange):
        return concept.reason
    reason = reason_on_cut(concept)
    if not concept.found:
        return reason
    return joined([reason, message("The view is oblique: the voxels that it goes through were changed.")])
