"""One action of the Segment Editor effect, from the click to the changed segment.

As ``segmentation_run``: what takes a while happens elsewhere, and the rest comes in short steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.report import segment_provenance
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.result import ConceptResult, SegmentResult

from .edited_slices import write_written, written_slices
from .editing import SegmentWriter, VoxelTool, modify_segment
from .frames import node_to_node
from .labelmaps import binary_labelmap, content_of
from .local_jobs import JobSource
from .provenance import write_provenance
from .segment_actions import ActionWords, CutChange, Question, VolumeChange, question_for, surroundings
from .segment_changes import edited_lattice
from .segment_voxels import grid_to_segmentation, labelmap_mask
from .segmentation_run import RunListener, RunOrder, RunState, SegmentationRun
from .steps import Steps, in_thread
from .volumes import PlacedVolume, read_in_steps


@dataclass(frozen=True, eq=False)
class EditOrder:
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

    words: ActionWords
    editor: Any
    segment_id: str
    volume_node: Any
    slice_node: Any | None
    save_state: Callable[[], None]
    model: str = "demo"
    device: str = "auto"
    read: Callable[[Any], Steps[PlacedVolume]] = read_in_steps


class SegmentEditRun(SegmentationRun):
    """An action that is on its way; ended when nothing was found, too, with the segment as it was.

    Attributes:
        changed: whether the segment was written.

    Raises:
        InputError: the nodes cannot be used; nothing was begun.
    """

    def __init__(self, order: EditOrder, jobs: JobSource, tool: VoxelTool, listener: RunListener | None = None) -> None:
        segmentation_node = order.editor.GetSegmentationNode()
        if segmentation_node is None or segmentation_node.GetSegmentation().GetSegment(order.segment_id) is None:
            raise InputError("No segment is selected; add one, or select the one to work on.")
        self.changed = False
        self._edit = order
        self._tool = tool
        whole = RunOrder(order.volume_node, _no_request, segmentation_node, order.model, order.device, order.save_state)
        super().__init__(whole, jobs, SegmentWriter(), listener)

    def _all_steps(self) -> Steps[None]:
        edit, segmentation_node = self._edit, self.order.segmentation_node
        self.placed = placed = yield from edit.read(edit.volume_node)
        around = surroundings(segmentation_node, edit.segment_id, edit.volume_node, placed, edit.slice_node)
        question = yield from in_thread(lambda: question_for(edit.words, around))
        result = yield from self._answer(replace(placed, volume=question.volume), question.request)
        (concept,) = result.concepts
        self.messages = [*result.messages, _reason(concept, question), *concept.messages, *question.notes]
        if not concept.found:
            self.messages.append(f"The segment '{self._segment().GetName()}' was left as it was.")
            return
        self._check_wanted()
        self.state = RunState.CONVERTING
        labelmap = yield from self._changed_labelmap(question, concept, placed)
        self._check_wanted()
        self.state = RunState.WRITING
        if labelmap is not None:
            self._write(labelmap, result, concept)
            yield from self._remember(question, placed)

    def _segment(self) -> Any:
        return self.order.segmentation_node.GetSegmentation().GetSegment(self._edit.segment_id)

    def _changed_labelmap(self, question: Question, concept: ConceptResult, placed: PlacedVolume) -> Steps[Any]:
        """What the segment is to hold, worked out on a thread."""
        edit, segmentation_node = self._edit, self.order.segmentation_node
        to_segmentation = node_to_node(edit.volume_node, segmentation_node) @ placed.to_node
        ijk_to_segmentation = to_segmentation @ question.volume.grid.ijk_to_ras
        lattice = edited_lattice(edit.editor, edit.segment_id, ijk_to_segmentation)
        content = content_of(self._segment())
        change = question.change
        return (yield from in_thread(lambda: change.labelmap(concept.mask, content, lattice, to_segmentation)))

    def _write(self, labelmap: Any, result: SegmentResult, concept: ConceptResult) -> None:
        self._edit.save_state()
        modify_segment(self._edit.editor, self._edit.segment_id, labelmap, self._tool)
        provenance = segment_provenance(result, concept) | {"action": self._edit.words.action.value}
        write_provenance(self._segment(), provenance)
        self.changed = True

    def _remember(self, question: Question, placed: PlacedVolume) -> Steps[None]:
        """Remember what was written, so that later corrections are known; a single slice counts as drawn."""
        change = question.change
        if not isinstance(change, VolumeChange):
            return
        written_at = _content_time(self._segment())
        content = content_of(self._segment())
        to_segmentation = grid_to_segmentation(self.order.segmentation_node, self._edit.volume_node, placed)
        grid = placed.volume.grid
        written = yield from in_thread(
            lambda: written_slices(labelmap_mask(content, grid, to_segmentation), change.stack, change.drawn)
        )
        # An undo or a stroke in between would be taken for what was written.
        if self._segment() is not None and _content_time(self._segment()) == written_at:
            write_written(self._segment(), written)

    def _check_wanted(self) -> None:
        super()._check_wanted()
        if self.state is not RunState.WRITING and self._segment() is None:
            self.cancel()
            raise Cancelled("The segment was removed while it was worked on; nothing was written.")


def _reason(concept: ConceptResult, question: Question) -> str:
    """Whether it was found; of an oblique slice the engine knows no more than that it is the only one."""
    if not concept.found or not isinstance(question.change, CutChange):
        return concept.reason
    scores = concept.score_by_slice.values()
    return f"Found on this slice; the score is {max(scores):.2f}." if scores else "Found on this slice."


def _content_time(segment: Any) -> int:
    """When the voxels of ``segment`` changed last, in VTK's count."""
    return int(binary_labelmap(segment).GetMTime())


def _no_request(placed: PlacedVolume) -> SegmentRequest:
    del placed
    raise AssertionError("an action makes its own request")
