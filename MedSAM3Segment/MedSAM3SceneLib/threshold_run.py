"""A moved threshold: the evidence of a run that is done, cut anew and written in place of what it wrote."""

from __future__ import annotations

from collections.abc import Callable

from MedSAM3SegmentLib.concepts import Vocabulary

from .editing import SegmentWriter
from .run_order import RunListener
from .scene_run import RunState
from .segmentation_run import WritingRun
from .steps import Steps, in_thread


class ThresholdRun(WritingRun):
    """Writes the result of ``before`` at another threshold, as one action; concepts that fall out are emptied.

    Args:
        before: a run that is done.
        threshold: lowest score that is kept, 0 to 1.
        save_state: see ``segmentations.write_in_steps``.

    Raises:
        InputError: the nodes cannot be used any more; nothing was begun.
    """

    def __init__(
        self,
        before: WritingRun,
        threshold: float,
        writer: SegmentWriter,
        listener: RunListener | None = None,
        save_state: Callable[[], None] | None = None,
    ) -> None:
        if before.written is None or before.result is None or before.placed is None:
            raise ValueError("Only a run that is done has a threshold to move.")
        super().__init__(before.volume_node, before.written.segmentation_node, writer, listener, save_state)
        self.grouping = before.grouping
        self.placed = before.placed
        self._before = before.result
        self._threshold = threshold

    def _all_steps(self) -> Steps[None]:
        assert self.placed is not None
        self.state = RunState.CONVERTING
        self.result = result = yield from in_thread(lambda: self._before.with_threshold(self._threshold))
        yield from self._write_segments(result, self.placed, Vocabulary.load(), clear_missing=True)
