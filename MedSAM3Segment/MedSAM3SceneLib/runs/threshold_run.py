"""A moved threshold: the evidence of a run that is done, cut anew and written in place of what it wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from MedSAM3SceneLib.coroutines import StepGenerator, run_in_thread
from MedSAM3SceneLib.editing.labelmap_merge import slices_only
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.segments.completed import completed_segments
from MedSAM3SceneLib.segments.edit_guard import ConfirmReplace, confirm_writing, edited_segments
from MedSAM3SegmentLib.assembly.assemble import with_threshold
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .listener import RunListener
from .run import RunState
from .segmentation_run import ResultRun


class ThresholdRun(ResultRun):
    """Writes the result of ``before`` at another threshold, as one action; concepts that fall out are emptied.

    Concepts are left out as ``standing_result`` says.

    Args:
        before: a run that is done.
        threshold: lowest score that is kept, 0 to 1.
        save_state: see ``write_result.write_in_steps``.
        may_replace: asked before segments are written that a person edited since or marked as completed; by default
            the edited ones may be.
        replace_completed: see ``RunTask``.

    Raises:
        InputError: the nodes cannot be used any more; nothing was begun.
    """

    def __init__(
        self,
        before: ResultRun,
        threshold: float,
        writer: SegmentWriter,
        listener: RunListener | None = None,
        save_state: Callable[[], None] | None = None,
        may_replace: ConfirmReplace | None = None,
        replace_completed: bool = False,
    ) -> None:
        if before.written is None or before.result is None or before.placed is None:
            raise ValueError("Only a run that is done has a threshold to move.")
        for node in (before.volume_node, before.written.segmentation_node):
            if node.GetScene() is None:
                raise InputError("'{name}' is not in the scene any more; segment again.", name=node.GetName())
        super().__init__(before.volume_node, before.written.segmentation_node, writer, listener, save_state)
        self.grouping = before.grouping
        self.only_slice = before.only_slice
        self.placed = before.placed
        self._before = standing_result(before)
        self._segment_ids = tuple(part.segment_id for part in before.written.concepts if part.segment_id)
        self._left = before.left
        self._threshold = threshold
        self._may_replace = may_replace
        self._replace_completed = replace_completed

    def _all_steps(self) -> StepGenerator[None]:
        assert self.placed is not None
        self.state = RunState.CONVERTING
        node, ids = self.segmentation_node, self._segment_ids
        assert node is not None
        edited: tuple[str, ...] = ()
        if self._may_replace is not None:
            index, stack = self.only_slice, self._before.stack
            region = None if index is None else (yield from run_in_thread(lambda: slices_only(stack, (index,))))
            is_part = region is not None
            edited = yield from edited_segments(node, ids, self.volume_node, self.placed, self._left, region, is_part)
        completed = () if self._replace_completed else completed_segments(node.GetSegmentation(), ids).values()
        said = message("The threshold was left as it was, and with it what was edited.")
        confirm_writing(edited, tuple(completed), self._may_replace, said)
        self._check_wanted()  # the scene may have been closed over the question
        self.result = result = yield from run_in_thread(lambda: with_threshold(self._before, self._threshold))
        yield from self._write_segments(result, self.placed, Vocabulary.load(), clear_missing=True)


def standing_result(before: ResultRun) -> SegmentResult:
    """The result of a run without concepts whose segments a user has deleted since, which it says.

    Where nothing is left of any, as after undo, it has all.

    Args:
        before: a run that is done.
    """
    assert before.written is not None
    assert before.result is not None
    segmentation = before.written.segmentation_node.GetSegmentation()
    segments: dict[str, list[bool]] = {}
    for part in before.written.concepts:
        if part.segment_id is not None:
            segments.setdefault(part.concept, []).append(segmentation.GetSegment(part.segment_id) is not None)
    gone = [concept for concept, there in segments.items() if not any(there)]
    if not gone or len(gone) == len(segments):
        return before.result
    left = tuple(concept for concept in before.result.concepts if concept.concept not in gone)
    said = (message("'{concept}' was left out, because its segment was deleted.", concept=concept) for concept in gone)
    return replace(before.result, concepts=left, messages=(*before.result.messages, *said))
