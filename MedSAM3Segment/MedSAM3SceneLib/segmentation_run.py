"""One segmentation from the click to the segments: read, hand in, follow, write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.concepts import Vocabulary
from MedSAM3SegmentLib.request import Grouping
from MedSAM3SegmentLib.result import SegmentResult

from .editing import SegmentWriter
from .local_jobs import JobSource
from .run_order import RunListener, RunOrder
from .scene_run import RunState, SceneRun
from .segmentations import WrittenResult, check_segmentation_node, masks_of, messages_of, write_in_steps
from .steps import WAITING, Steps, breathe, in_thread
from .volumes import PlacedVolume, check_volume_node, read_in_steps


class WritingRun(SceneRun):
    """A run whose result becomes the segments of one segmentation.

    Attributes:
        volume_node: what was segmented.
        segmentation_node: where segments are written, or None for a new node.
        grouping: what becomes one segment, once the request is made.
        written: what became of the result in the scene, once it is done.

    Raises:
        InputError: the nodes cannot be used; nothing was begun.
    """

    def __init__(
        self,
        volume_node: Any,
        segmentation_node: Any | None,
        writer: SegmentWriter,
        listener: RunListener | None,
        save_state: Callable[[], None] | None,
    ) -> None:
        check_volume_node(volume_node)
        if segmentation_node is not None:
            check_segmentation_node(segmentation_node)
        super().__init__([node for node in (volume_node, segmentation_node) if node is not None], listener)
        self.volume_node = volume_node
        self.segmentation_node = segmentation_node
        self.grouping = Grouping.CONCEPT
        self.written: WrittenResult | None = None
        self._writer = writer
        self._save_state = save_state

    def _write_segments(
        self, result: SegmentResult, placed: PlacedVolume, vocabulary: Vocabulary, clear_missing: bool = False
    ) -> Steps[None]:
        """Let the result become segments.

        Args:
            clear_missing: see ``segmentations.write_in_steps``.
        """
        masks = yield from in_thread(lambda: masks_of(result, self.grouping))
        while self._writer.is_writing:
            # Another run, which somebody waits for, is between two of its segments.
            breathe()
            yield WAITING
        self._check_wanted()
        self.state = RunState.WRITING
        self.written = yield from write_in_steps(
            result,
            masks,
            placed,
            self.volume_node,
            self.segmentation_node,
            vocabulary,
            self._writer,
            self._save_state,
            clear_missing=clear_missing,
        )
        self.messages = messages_of(result, self.written)


class SegmentationRun(WritingRun):
    """A run that is on its way.

    Attributes:
        order: what it was told.
        labels: of a run that is not written, once it is done: concept ``n`` (from 1) as uint16 ``[k, j, i]``.

    Raises:
        InputError: the nodes cannot be used; nothing was begun.
    """

    def __init__(
        self, order: RunOrder, jobs: JobSource, writer: SegmentWriter, listener: RunListener | None = None
    ) -> None:
        super().__init__(order.volume_node, order.segmentation_node, writer, listener, order.save_state)
        self.order = order
        self.labels: NDArray[np.uint16] | None = None
        self._jobs = jobs

    def _all_steps(self) -> Steps[None]:
        order = self.order
        # Whoever shows partial slices needs its colours.
        vocabulary = yield from in_thread(Vocabulary.load)
        whole = yield from read_in_steps(order.volume_node)
        placed, request = yield from order.prepare(whole)
        self.placed, self.grouping = placed, request.grouping
        examples = None if order.examples is None else (yield from order.examples(whole))
        result = yield from self._answer(self._jobs, placed, request, order.model, order.device, examples)
        self.state = RunState.CONVERTING
        self._check_wanted()
        if not order.is_written:
            self.labels = yield from in_thread(result.label_map)
            self.messages = list(result.messages)
            return
        yield from self._write_segments(result, placed, vocabulary)
