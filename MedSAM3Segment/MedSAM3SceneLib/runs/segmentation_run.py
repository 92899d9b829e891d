"""One segmentation from the click to the segments: read, hand in, follow, write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SceneLib.coroutines import (
    WAITING,
    StepGenerator,
    run_in_thread,
    yield_to_interface,
)
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.editing.write_result import (
    WrittenResult,
    check_segmentation_node,
    masks_of,
    messages_of,
    write_in_steps,
)
from MedSAM3SceneLib.editing.written_concept import Outcome
from MedSAM3SceneLib.engine.local_engine import Engine
from MedSAM3SceneLib.mrml.labelmaps import content_version
from MedSAM3SceneLib.mrml.volumes import (
    SceneVolume,
    check_volume_node,
    has_namesake,
    read_in_steps,
)
from MedSAM3SceneLib.segments.completed import completed_segments
from MedSAM3SceneLib.segments.edit_guard import ConfirmReplace, Version, confirm_writing, edited_segments
from MedSAM3SceneLib.segments.matching import earlier_segments
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.io.labelmap_nifti import describe_covered
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.preprocessing.intensity_check import check_intensities
from MedSAM3SegmentLib.progress import ProgressCallback
from MedSAM3SegmentLib.prompts.examples import Examples
from MedSAM3SegmentLib.request import Grouping, Mode, SegmentRequest
from MedSAM3SegmentLib.results.result import SegmentResult, without_cut_off
from MedSAM3SegmentLib.search_region import SearchRegion
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .listener import RunListener
from .run import Run, RunState


@dataclass(frozen=True, eq=False)
class RunTask:
    """What is to be segmented, and where it goes.

    Attributes:
        volume_node: the volume.
        prepare: makes the request once the volume is read, because regions and drawings depend on its grid; may give
            a part of the volume, such as an oblique slice, in its place. It is told whom to tell how far it is.
        examples: reads what shows each concept in place of words, or None where words say it.
        segmentation_node: where segments are written, or None for a new node.
        model, device: as ``medsam3 segment`` takes them.
        save_state: see ``write_result.write_in_steps``.
        is_written: whether the result becomes segments.
        may_replace: asked before anything is looked for when the run would write segments of earlier runs that a person
            edited since, or that reach beyond what is looked at; None when it may.
        left: see ``edited_segments``.
        only_slice: whether the one slice that is looked at is all that changes in segments of earlier runs.
        replace_completed: whether segments that are marked as completed may be written without a question.
    """

    volume_node: Any
    prepare: Callable[[SceneVolume, ProgressCallback], StepGenerator[tuple[SceneVolume, SegmentRequest]]]
    segmentation_node: Any | None = None
    model: str = "demo"
    device: str = "auto"
    save_state: Callable[[], None] | None = None
    is_written: bool = True
    examples: Callable[[SceneVolume], StepGenerator[Examples]] | None = None
    may_replace: ConfirmReplace | None = None
    left: Version = ()
    only_slice: bool = False
    replace_completed: bool = False


class ResultRun(Run):
    """A run whose result becomes the segments of one segmentation.

    Attributes:
        volume_node: what was segmented.
        segmentation_node: where segments are written, or None for a new node.
        grouping: what becomes one segment, once the request is made.
        written: what became of the result in the scene, once it is done.
        only_slice: the slice of the result's stack beside which earlier segments are left as they are, or None.
        left: the segments that it wrote whole as it left them, from ``labelmaps.content_version``.

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
        self.only_slice: int | None = None
        self.left: Version = ()
        self._writer = writer
        self._save_state = save_state

    def _write_segments(
        self, result: SegmentResult, placed: SceneVolume, vocabulary: Vocabulary, clear_missing: bool = False
    ) -> StepGenerator[None]:
        """Let the result become segments.

        Args:
            clear_missing: see ``write_result.write_in_steps``.
        """
        masks = yield from run_in_thread(lambda: masks_of(result, self.grouping))
        while self._writer.is_writing:
            # Another run, which somebody waits for, is between two of its segments.
            yield_to_interface()
            yield WAITING
        self._check_wanted()
        self.state = RunState.WRITING
        if self.only_slice is not None:
            # Its segments go on in what they hold on the other slices.
            self.result = result = without_cut_off(result)
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
            only_slice=self.only_slice,
        )
        ids = {part.segment_id for part in self.written.concepts if part.outcome is not Outcome.NOT_FOUND}
        now = content_version(self.written.segmentation_node.GetSegmentation())
        # Beside a single slice its segments hold what a person may have edited.
        self.left = () if self.only_slice is not None else tuple(segment for segment in now if segment[0] in ids)
        self.messages = messages_of(result, self.written)


class SegmentationRun(ResultRun):
    """A run that is on its way.

    Attributes:
        task: what it was told.
        labels: of a run that is not written, once it is done: concept ``n`` (from 1) as uint16 ``[k, j, i]``.
        is_cut: whether an oblique slice was looked at, which is none of the volume's own.

    Raises:
        InputError: the nodes cannot be used; nothing was begun.
    """

    def __init__(self, task: RunTask, jobs: Engine, writer: SegmentWriter, listener: RunListener | None = None) -> None:
        super().__init__(task.volume_node, task.segmentation_node, writer, listener, task.save_state)
        self.task = task
        self.labels: NDArray[np.uint16] | None = None
        self.is_cut = False
        self._jobs = jobs

    def _all_steps(self) -> StepGenerator[None]:
        task = self.task
        # Whoever shows partial slices needs its colors.
        vocabulary = yield from run_in_thread(Vocabulary.load)
        whole = yield from self._read(read_in_steps(task.volume_node))
        placed, request = yield from task.prepare(whole, self._listener.progress)
        self.placed, self.grouping = placed, request.grouping
        self.is_cut = placed is not whole
        if task.only_slice and request.slices is not None:
            self.only_slice = request.slices[0]
        yield from self._ask_for_edits(placed, request)
        if task.examples is not None:
            request = replace(request, examples=(yield from task.examples(whole)))
        if request.window is None:
            for said in (yield from run_in_thread(lambda: check_intensities(placed.volume))):
                self._listener.said(said)
        result = yield from self._answer(self._jobs, placed, request, task.model, task.device)
        self.state = RunState.CONVERTING
        self._check_wanted()
        if not task.is_written:
            merged = yield from run_in_thread(result.merged)
            self.labels = merged.labels
            covered = describe_covered(merged.covered, result.label_names, self._amount)
            self.messages = [*result.messages, *covered]
            return
        yield from self._write_segments(result, placed, vocabulary)

    def _amount(self, voxels: int) -> str:
        """Voxels of a slice that is looked at in words."""
        return message("{count} voxels", count=voxels)

    def _ask_for_edits(self, placed: SceneVolume, request: SegmentRequest) -> StepGenerator[None]:
        """Make sure that edits of earlier results, and their slices beside those looked at, may be replaced, and that
        completed segments may be written.

        Raises:
            InputError, Cancelled: they may not.
        """
        task, node = self.task, self.segmentation_node
        if node is None:
            return
        volume, content_hash = placed.volume, None
        if has_namesake(self.volume_node, volume.name):
            content_hash = yield from run_in_thread(lambda: volume.content_hash)
        ids = [
            segment.segment_id
            for concept in request.concepts
            for segment in earlier_segments(node, concept, volume.name, content_hash)
        ]
        completed = () if task.replace_completed else completed_segments(node.GetSegmentation(), ids).values()
        edited: tuple[str, ...] = ()
        # What was drawn is what a run from prompts begins with.
        if task.may_replace is not None and request.mode is not Mode.FROM_PROMPTS:
            is_part = self.only_slice is not None
            # A slice is taken whole, in the region or beside it.
            replaced = replace(request, region=None) if is_part else request
            looked_at = yield from run_in_thread(lambda: _looked_at(replaced, placed))
            edited = yield from edited_segments(node, ids, self.volume_node, placed, task.left, looked_at, is_part)
        said = message("Nothing was segmented, and what was edited is as it was.")
        confirm_writing(edited, tuple(completed), task.may_replace, said)
        self._check_wanted()  # the scene may have been closed over the question


def _looked_at(request: SegmentRequest, placed: SceneVolume) -> BoolMask | None:
    """The voxels ``[k, j, i]`` that a request looks at; None for all."""
    if request.slices is None and request.region is None:
        return None
    grid = placed.volume.grid
    looked_at = np.zeros(grid.shape, bool)
    looked_at[SearchRegion.of(replace(request, inside=None), SliceStack.along(grid, request.plane)).box] = True
    return looked_at
