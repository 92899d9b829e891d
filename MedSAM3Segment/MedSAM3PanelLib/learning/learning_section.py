"""*Learn from my segments*: chosen segments into an adapter, by a job that may outlive this window."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from slicer.i18n import tr as _

from MedSAM3PanelLib.setup.model_section import ModelSection
from MedSAM3SceneLib.coroutines import WORKING, StepGenerator, in_budget
from MedSAM3SceneLib.engine import connection
from MedSAM3SceneLib.engine.requirements import require_packages
from MedSAM3SceneLib.failure_log import log_failure
from MedSAM3SceneLib.runs.run import STEP_BUDGET
from MedSAM3SceneLib.translation.translate import translated
from MedSAM3SegmentLib.engine.learning.job_folder import JobFolder
from MedSAM3SegmentLib.engine.learning.learning_process import LearningJob, find_jobs
from MedSAM3SegmentLib.engine.learning.records import LearningOrder, LearningResult
from MedSAM3SegmentLib.engine.process_id import ProcessId
from MedSAM3SegmentLib.errors import MedSAM3Error
from MedSAM3SegmentLib.model_store.store import check_new_name
from MedSAM3WidgetsLib.background_task import BackgroundTask
from MedSAM3WidgetsLib.window_timer import WindowTimer

from .job_progress import JobProgress
from .learning_curve import LearningCurve
from .outcome_display import OutcomeDisplay
from .segment_list import SegmentList
from .start_job import start_job
from .target_choice import TargetChoice

#: Milliseconds between two looks at a job.
_INTERVAL_MS = 500


class LearningSection:
    """The section *Learn from my segments* of the panel.

    Args:
        ui: the panel's widgets.
        models: where an adapter that was installed is shown and can be chosen.

    Attributes:
        job: that runs, or whose outcome is shown; None without one.
    """

    def __init__(self, ui: Any, models: ModelSection) -> None:
        self._ui = ui
        self._models = models
        self.job: LearningJob | None = None
        self._result: LearningResult | None = None
        self._folder: JobFolder | None = None
        self._task = BackgroundTask()
        self._timer = WindowTimer(self._look)
        self._list = SegmentList(ui.learnTable, self._show_choices)
        self._target = TargetChoice(ui)
        self._curve = LearningCurve(ui.learnCurveLabel)
        self._outcome = OutcomeDisplay(ui)
        self._progress = JobProgress(ui.learnProgressBar, ui.learnStageLabel)
        self._said = ""
        for button, does in (
            (ui.learnButton, self.learn),
            (ui.cancelLearningButton, self.cancel),
            (ui.learnUseButton, self.use),
            (ui.learnCloseButton, self.discard),
        ):
            button.connect("clicked()", does)
        ui.learnIntoSelector.connect("currentIndexChanged(int)", lambda _index: self._show_choices())
        ui.learnNameEdit.connect("textChanged(QString)", lambda _text: self._show_choices())
        ui.learnSection.connect("contentsCollapsed(bool)", lambda _collapsed: self.update())
        self._say("")
        self._find()
        self.update()

    @property
    def is_busy(self) -> bool:
        """Whether segments are being read, or a job is being started or cancelled."""
        return self._task.is_busy

    def learn(self) -> None:
        """Read what is ticked and start a job."""
        chosen = self._list.chosen
        if self.is_busy or self.job is not None or self._why_not():
            return
        ui, order = self._ui, self._target.order()
        try:
            require_packages()
            if not order.continues:
                check_new_name(order.adapter)
            self._folder = JobFolder.make()
            parent = None if ui.learnGoesOnCheckBox.checked else ProcessId.of(os.getpid())
        except MedSAM3Error as error:
            self._failed(error)
            return
        device = ui.deviceSelector.currentData or "auto"
        order = replace(order, steps=ui.learnStepsSpinBox.value, device=device, parent=parent)
        self._say("")
        steps = start_job(chosen, self._folder, order)
        self._task.start_steps(in_budget(steps, STEP_BUDGET), self._started, self._failed)
        self._progress.show_busy(_("Reading the segments..."))
        self.update()

    def cancel(self) -> None:
        """End what is on its way; nothing of it is kept."""
        job = self.job
        if self._folder is not None:
            self._stop_reading()
            self._cancelled(True)
        elif job is not None and self._result is None and not self.is_busy:
            self._timer.stop()
            self._task.start(job.cancel, self._cancelled, self._failed)
            self._progress.show_busy(_("Cancelling..."))
            self.update()

    def use(self) -> None:
        """Choose the adapter under *Model*."""
        if self.job is not None and self._result is not None and self._result.is_installed:
            self._models.choose(self.job.order.adapter)

    def discard(self) -> None:
        """Take away what is shown of a job that has ended."""
        if self.job is not None and self._result is not None:
            self.job.discard()
            self._forget_job()
            self._ui.learnNameEdit.text = ""
            self._say("")
            self.update()

    def scene_closes(self) -> None:
        """Let go of the nodes; a job goes on."""
        if self._folder is not None:
            self._stop_reading()
            self._say(_("The scene was closed while segments were read; nothing was learnt."))
        self._list.forget()
        self._show_choices()

    def close(self) -> None:
        """The panel goes away; a job goes on."""
        self._stop_reading()
        self._task.stop()
        self._timer.stop()

    def update(self) -> None:
        """Show what can be chosen and done now."""
        if not self._ui.learnSection.collapsed:
            self._list.refresh()
            self._target.refresh()
        self._show_choices()

    def _show_choices(self) -> None:
        ui, is_free = self._ui, self.job is None and not self.is_busy
        reason = self._why_not()
        ui.learnButton.enabled = is_free and not reason
        ui.learnButton.toolTip = reason or _("Learns on this computer what is ticked; the scene can be used meanwhile.")
        ui.cancelLearningButton.enabled = self._folder is not None or (
            self.job is not None and self._result is None and not self.is_busy
        )
        for widget in (ui.learnTable, ui.learnIntoSelector, ui.learnStepsSpinBox, ui.learnGoesOnCheckBox):
            widget.enabled = is_free
        ui.learnNameEdit.enabled = is_free and not self._target.continued
        ui.learnUseButton.visible = self._result is not None and self._result.is_installed
        ui.learnCloseButton.visible = self._result is not None
        words = self._said or (self._advice() if is_free else "")
        ui.learnLabel.text = words
        ui.learnLabel.visible = bool(words)

    def _why_not(self) -> str:
        """Why nothing can be learnt, in one sentence; empty where something can."""
        if not self._list.chosen:
            return str(_("Tick the segments to learn from."))
        return self._target.why_not()

    def _advice(self) -> str:
        said = [self._list.why_not]
        if self._target.is_demo:
            said.append(_("The demo model was made from synthetic pictures; what it learns stays a demo."))
        if self._target.is_larger:
            said.append(
                _(
                    "The package peft is not installed, so the adapter will hold the whole detector; "
                    "slicer.util.pip_install('peft') in the Python console makes smaller ones possible."
                )
            )
        if connection.remote_address():
            said.append(_("Learning runs on this computer; the remote engine does not get the adapter."))
        return "\n".join(filter(None, said))

    def _find(self) -> None:
        """Show a job that runs, or that ended while nobody looked."""
        for job in find_jobs()[:1]:
            self._follow(job)
            self._ui.learnSection.collapsed = False

    def _started(self, begun: tuple[LearningJob, bool]) -> None:
        job, is_unloaded = begun
        self._folder = None
        self._follow(job)
        if is_unloaded:
            self._say(
                _(
                    "The engine lets go of its models, so that learning has their memory; a run meanwhile loads one "
                    "again and needs as much more."
                )
            )

    def _follow(self, job: LearningJob) -> None:
        self.job, self._result = job, None
        # One that was found again was ordered in another window.
        self._ui.learnNameEdit.text = job.order.adapter
        self._ui.learnStepsSpinBox.value = job.order.steps
        self._ui.learnGoesOnCheckBox.checked = job.order.parent is None
        self._progress.show(job.status)
        self._timer.start(_INTERVAL_MS)
        self.update()

    def _look(self) -> None:
        job = self.job
        if job is None:
            return
        result = job.result()
        self._curve.show(job.curve, job.order.steps)
        if result is None:
            self._progress.show(job.status)
            return
        self._timer.stop()
        self._progress.hide()

        def failed(error: Exception) -> None:
            log_failure("what came of learning could not be shown.", error)
            self._shown(result)

        self._task.start_steps(in_budget(self._show_end(job, result), STEP_BUDGET), self._shown, failed)

    def _show_end(self, job: LearningJob, result: LearningResult) -> StepGenerator[LearningResult]:
        """Show what came of a job, a part at a time: pictures and models take a while."""
        for _part in self._outcome.show_steps(result, job.folder):
            yield WORKING
        if result.is_installed:
            self._models.refresh()
            yield WORKING
        return result

    def _shown(self, result: LearningResult) -> None:
        self._result = result
        if self.job is not None:
            self._say("\n".join(self._words(self.job.order, result)))
        self.update()

    def _words(self, order: LearningOrder, result: LearningResult) -> list[str]:
        said = [translated(result.reason), *map(translated, result.messages)]
        if result.is_installed:
            said.append(_("The adapter {name} is installed.").format(name=order.adapter))
        if result.is_installed and order.is_demo:
            said.append(_("It is a demo still, for its base was made from synthetic pictures."))
        return said

    def _cancelled(self, is_gone: bool) -> None:
        if not is_gone:
            self._timer.start(_INTERVAL_MS)
            return
        self._forget_job()
        self.update()
        self._say(_("Learning was cancelled; nothing was installed."))

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, MedSAM3Error):
            log_failure("learning could not be started.", error)
        self._drop_folder()
        if self.job is None:
            self._progress.hide()
        else:
            self._timer.start(_INTERVAL_MS)
        self.update()
        self._say(translated(str(error)))

    def _stop_reading(self) -> None:
        if self._folder is not None:
            self._task.stop()
            self._progress.hide()
        self._drop_folder()

    def _drop_folder(self) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.remove()

    def _forget_job(self) -> None:
        self._timer.stop()
        self.job = self._result = None
        self._progress.hide()
        self._curve.clear()
        self._outcome.clear()

    def _say(self, words: str) -> None:
        """Show ``words`` in place of advice; nothing shows advice again."""
        self._said = words
        self._show_choices()
