"""A moved threshold: the evidence of a run that is done, cut anew and written in place of what it wrote."""

from __future__ import annotations

from collections.abc import Callable

from MedSAM3SegmentLib.concepts import Vocabulary

from .editing import SegmentWriter
from .local_jobs import JobSource
from .segmentation_run import RunListener, RunOrder, RunState, SegmentationRun
from .segmentations import masks_of, messages_of, write_in_steps
from .steps import Steps, in_thread


class ThresholdRun(SegmentationRun):
    """Writes the result of ``before`` at another threshold, as one action; concepts that fall out are emptied.

    Args:
        before: a run that is done.
        threshold: lowest score that is kept, 0 to 1.
        save_state: see ``segmentations.write_result``.

    Raises:
        InputError: the nodes cannot be used any more; nothing was begun.
    """

    def __init__(
        self,
        before: SegmentationRun,
        threshold: float,
        writer: SegmentWriter,
        listener: RunListener | None = None,
        save_state: Callable[[], None] | None = None,
    ) -> None:
        if before.written is None or before.result is None or before.placed is None:
            raise ValueError("Only a run that is done has a threshold to move.")
        order = RunOrder(
            before.order.volume_node,
            before.order.prepare,
            before.written.segmentation_node,
            save_state=save_state,
        )
        super().__init__(order, _NoJobs(), writer, listener)
        self.grouping = before.grouping
        self.placed = before.placed
        self._before = before.result
        self._threshold = threshold

    def _all_steps(self) -> Steps[None]:
        order, placed = self.order, self.placed
        assert placed is not None
        self.state = RunState.CONVERTING
        self.result = result = yield from in_thread(lambda: self._before.with_threshold(self._threshold))
        masks = yield from in_thread(lambda: masks_of(result, self.grouping))
        self._check_wanted()
        self.state = RunState.WRITING
        self.written = yield from write_in_steps(
            result,
            masks,
            placed,
            order.volume_node,
            order.segmentation_node,
            Vocabulary.load(),
            self._writer,
            order.save_state,
            clear_missing=True,
        )
        self.messages = messages_of(result, self.written)


class _NoJobs(JobSource):
    """Nothing is asked of an engine."""
