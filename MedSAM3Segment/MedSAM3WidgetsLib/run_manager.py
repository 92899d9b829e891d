"""The runs of a logic: what is on its way, what is kept of the last one, and who does the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import slicer
from slicer.i18n import tr as _

from MedSAM3SceneLib.editing.editor_state import editor_state_saver
from MedSAM3SceneLib.editing.scene_undo import SceneUndo
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.editing.write_result import WrittenResult
from MedSAM3SceneLib.engine.connection import engine_from_settings
from MedSAM3SceneLib.engine.local_engine import Engine, LocalEngine
from MedSAM3SceneLib.mrml.nodes import call_on_close
from MedSAM3SceneLib.requests.build import build_preview_task, build_task
from MedSAM3SceneLib.requests.request_spec import RequestSpec
from MedSAM3SceneLib.runs.listener import RunListener
from MedSAM3SceneLib.runs.run import RunState, run_to_end
from MedSAM3SceneLib.runs.segmentation_run import ResultRun, RunTask, SegmentationRun
from MedSAM3SceneLib.runs.threshold_run import ThresholdRun
from MedSAM3SceneLib.segments.edit_guard import ConfirmReplace
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.request import NO_MODEL
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.without_model import ShapeSegmenter

#: Called with a run that is done, or with why it is not.
Done, Failed = Callable[[ResultRun], None], Callable[[Exception], None]


class RunManager(SceneUndo):
    """One run at a time goes on by itself, and the last one that wrote something is kept until the scene is closed.

    Args:
        segmenter: used in this process in place of an engine, or None.
        engine: who takes the requests; None for the engine of the application settings.

    Attributes:
        segmenter: as given; may be changed between runs.
        last: the last run that wrote something, or None.
        result, written, messages: of that.
    """

    def __init__(self, segmenter: Any = None, engine: Engine | None = None) -> None:
        self.segmenter = segmenter
        self.last: ResultRun | None = None
        self.result: SegmentResult | None = None
        self.written: WrittenResult | None = None
        self.messages: list[str] = []
        self._engine = engine
        self._writer: SegmentWriter | None = None
        self._job: Any = None
        self._is_waiting = False
        call_on_close(slicer.mrmlScene, self.forget)

    def finish(self, spec: RequestSpec, progress: Any = None, partial: Any = None, cancel: Any = None) -> Any:
        """Segment with the window alive, and give the segmentation node that was written.

        Args:
            progress, partial: see ``RunListener``.
            cancel: asked between two steps; True cancels.

        Raises:
            MedSAM3Error: why nothing was written.
        """
        if self._is_waiting:
            raise InputError("A segmentation is being waited for already; cancel it or wait until it is done.")
        listener = self._listener(None, None, {"progress": progress, "partial": partial})
        run = self._run(self._task(spec), listener)
        self._is_waiting = True
        try:
            run_to_end(run, slicer.app.processEvents, cancel)
        finally:
            self._is_waiting = False
            run.abandon(_("The segmentation was broken off; nothing was written."))
        assert run.written is not None
        return run.written.segmentation_node

    def start(
        self,
        spec: RequestSpec,
        told: dict[str, Any],
        done: Done | None,
        failed: Failed | None,
        may_replace: ConfirmReplace | None = None,
    ) -> Any:
        """Begin to segment, and give the RunTimer; see ``finish``.

        Args:
            told: by the names of ``RunListener``; may be None.
            done, failed: called at the end.
            may_replace: see ``RunTask``.

        Raises:
            MedSAM3Error: the run cannot begin.
        """
        task = self._task(spec)
        left = self.last.left if self.last is not None else ()
        task = replace(task, may_replace=may_replace, left=left)
        return self._follow(self._run(task, self._listener(done, failed, told)))

    def start_preview(self, spec: RequestSpec, done: Done | None, failed: Failed | None) -> Any:
        """Begin to segment the slice that a view shows, and give the RunTimer; see ``build_preview_task``."""
        return self._follow(self._run(build_preview_task(spec), self._listener(done, failed, {})))

    def start_threshold(
        self,
        threshold: float,
        done: Done | None,
        failed: Failed | None,
        may_replace: ConfirmReplace | None,
        replace_completed: bool = False,
    ) -> Any:
        """Begin to write the last result at another threshold, and give the RunTimer; None without a result.

        Args:
            may_replace, replace_completed: see ``ThresholdRun``.
        """
        if self.last is None or self.written is None:
            return None
        save_state = editor_state_saver(self.written.segmentation_node)
        listener = self._listener(done, failed, {})
        writer = self._segment_writer()
        return self._follow(
            ThresholdRun(self.last, threshold, writer, listener, save_state, may_replace, replace_completed)
        )

    def close(self) -> None:
        """Drop what is on its way and let go of the last run, because the module goes away."""
        if self._job is not None:
            self._job.abandon(_("The module was closed; nothing was written."))
            self._job = None
        # Slicer keeps the widgets of a module that is loaded again, and with them all that they call.
        self.forget()

    def forget(self) -> None:
        """Let go of the last run: its volume, evidence and masks are large. Done when the scene is closed."""
        job, self._job = self._job, None
        if job is not None and not job.ended:
            # One that has written all is done, and the last one then.
            job.abandon(_("The scene was closed; nothing was written."))
        last, self.last = self.last, None
        self.result, self.written, self.messages = None, None, []
        # Both keep copies of segments for undo.
        self._writer = None
        if last is not None:
            last.forget()

    def engine(self) -> Engine:
        """Who takes requests.

        Raises:
            MedSAM3Error: nobody can, in words.
        """
        if self.segmenter is not None:
            return LocalEngine(self.segmenter)
        return engine_from_settings() if self._engine is None else self._engine

    def _task(self, spec: RequestSpec) -> RunTask:
        return build_task(spec, editor_state_saver(spec.segmentation_node))

    def _run(self, task: RunTask, listener: RunListener) -> SegmentationRun:
        # What was drawn on several slices needs no model, and so no engine.
        is_without = task.model == NO_MODEL and self.segmenter is None
        engine = LocalEngine(ShapeSegmenter()) if is_without else self.engine()
        return SegmentationRun(task, engine, self._segment_writer(), listener)

    def _listener(self, done: Done | None, failed: Failed | None, told: dict[str, Any]) -> RunListener:
        def ended(run: ResultRun) -> None:
            self._keep(run)
            if run.state is RunState.DONE and done is not None:
                done(run)
            elif run.error is not None and failed is not None:
                failed(run.error)

        return RunListener(ended=ended, **{name: call for name, call in told.items() if call is not None})

    def _follow(self, run: ResultRun) -> Any:
        """Let a timer advance ``run`` in place of what was on its way before."""
        # Here, so that scripts can wait for a run where there is no Qt.
        from .run_timer import RunTimer

        if self._job is not None:
            self._job.abandon(_("A newer run took the place of this one; nothing was written."))
        self._job = RunTimer(run)
        return self._job

    def _keep(self, run: ResultRun) -> None:
        """Remember what a run left in the scene."""
        if run.written is None:
            return
        before, self.last = self.last, run
        if before is not None:
            before.forget()
        self.result, self.written, self.messages = run.result, run.written, run.messages

    def _segment_writer(self) -> SegmentWriter:
        if self._writer is None:
            self._writer = SegmentWriter.shared()
        return self._writer
