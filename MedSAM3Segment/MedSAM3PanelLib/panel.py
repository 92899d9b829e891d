"""The panel as a whole: its parts, and what happens from Apply to the results."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from MedSAM3PanelLib.cohort.cohort_section import CohortSection
from MedSAM3PanelLib.export.dicom_button import DicomButton
from MedSAM3PanelLib.learning.learning_section import LearningSection
from MedSAM3PanelLib.setup.setup_section import SetupSection
from MedSAM3SceneLib.failure_log import log_failure
from MedSAM3SceneLib.runs.listener import PlacedPartial
from MedSAM3SceneLib.runs.segmentation_run import ResultRun, SegmentationRun
from MedSAM3SceneLib.translation.translate import translated
from MedSAM3SegmentLib.errors import Cancelled, MedSAM3Error
from MedSAM3WidgetsLib.preview_display import PreviewDisplay
from MedSAM3WidgetsLib.progress_bar import ProgressBar
from MedSAM3WidgetsLib.scrolling import scroll_into_view
from MedSAM3WidgetsLib.wrapped_labels import keep_labels_readable

from .command_section import CommandSection
from .concept_completer import ConceptCompleter, remember_concepts
from .dialogs import confirm_replace
from .examples_section import chosen_concepts
from .phrase_advice import PhraseAdvice
from .request_form import RequestForm
from .results_section import ResultsSection, words_on_preview
from .slice_view_selector import SliceViewSelector
from .threshold_slider import ThresholdSlider


class Panel:
    """Everything below the panel's top widget.

    Args:
        ui: its widgets by name.
        logic: the MedSAM3SegmentLogic that does what is asked.
        requirements: the file with the Python packages that are needed.
    """

    def __init__(self, ui: Any, logic: Any, requirements: str) -> None:
        self.ui = ui
        self.logic = logic
        self._job: Any = None
        self.previews = PreviewDisplay()
        self.progress = ProgressBar(ui.progressBar, ui.progressLabel)
        self.form = RequestForm(ui, self.show_choices)
        self.completion = ConceptCompleter(ui.conceptsEdit)
        self.advice = PhraseAdvice(ui.conceptsEdit, ui.adviceLabel)
        self.results = ResultsSection(ui)
        self.threshold = ThresholdSlider(ui.thresholdSlider, self.previews, self.write_threshold, self._say)
        self.views = SliceViewSelector(ui.viewSelector)
        self.setup = SetupSection(ui, requirements, self.update, lambda: self.is_busy)
        self.labels = keep_labels_readable(ui)
        self.command = CommandSection(ui, self.form, self.update)
        self.cohort = CohortSection(ui)
        self.dicom = DicomButton(ui.saveDicomButton, self._segmentation_and_volume, self._say, requirements)
        self.learning = LearningSection(ui, self.setup.models)
        ui.applyButton.connect("clicked()", self.apply)
        ui.cancelButton.connect("clicked()", self.cancel)
        ui.undoButton.connect("clicked()", self.undo)
        ui.redoButton.connect("clicked()", self.redo)
        ui.previewButton.connect("clicked()", self.preview_slice)
        ui.clearPreviewButton.connect("clicked()", self.clear_preview)
        self._forget_result()
        self.update()

    def connect_scene(self) -> None:
        """Work with the scene as it is now."""
        node = self.logic.getParameterNode()
        if self.form.parameters is None or self.form.parameters.parameterNode is not node:
            self.form.connect(node)
        self.views.connect(self.form.parameters)
        self.setup.connect(self.form.parameters)
        self.previews.is_allowed = True
        self.update()

    def scene_is_imported(self) -> None:
        """Choices come with a scene, and nodes that selectors choose by themselves; those are nobody's choice."""
        self._let_go_of_choices()
        self.update()

    def views_changed(self) -> None:
        """Offer the slice views that are there now."""
        self.views.refresh()
        self.update()

    def show_choices(self) -> None:
        """Bring up to date what shows a choice that was changed, here or by a script."""
        self.views.refresh()
        self.setup.show_choices()
        self.update()

    def disconnect_scene(self) -> None:
        """Another module is shown; a run goes on."""
        # Slicer's Segment Editor takes the first segmentation of a scene for its own, also a hidden one.
        self.previews.is_allowed = False
        if self.previews.is_shown:
            self.clear_preview()
        if not self.is_busy:
            self._let_go_of_choices()

    def scene_closes(self) -> None:
        """Let go of all that is in the scene."""
        for section in (self.command, self.cohort, self.learning):
            section.scene_closes()
        self._drop_job(_("The scene was closed; nothing was written."))
        self._let_go_of_choices()
        self.form.forget()
        self.previews.remove()
        self._forget_result()
        self.update()

    def close(self) -> None:
        """The panel goes away."""
        self._drop_job(_("The module was closed; nothing was written."))
        self._let_go_of_choices()
        self.previews.remove()
        self.threshold.follow(None)
        for part in (self.advice, self.command, self.cohort, self.dicom, self.learning, self.setup):
            part.close()

    def _let_go_of_choices(self) -> None:
        """Keep choices nowhere, until the panel belongs to a scene again."""
        self.form.disconnect()
        self.views.connect(None)
        self.setup.connect(None)

    @property
    def is_busy(self) -> bool:
        return self._job is not None

    def apply(self) -> None:
        """Begin a run with what is chosen; a second click does nothing."""
        if self.is_busy or self._why_not():
            return
        parameters = self.form.parameters
        concepts = chosen_concepts(parameters)
        volume = parameters.volume
        self.previews.remove()

        def show_partial(piece: PlacedPartial) -> None:
            self.previews.show_partial(volume, concepts, piece)

        self._begin(
            lambda: self.logic.start(
                volume,
                concepts,
                parameters.segmentation,
                onProgress=self.progress.show,
                onWaiting=self.progress.show_waiting,
                onSaid=lambda said: self._say(translated(said)),
                onPartial=show_partial,
                onDone=self._applied,
                onFailed=self._failed,
                onEdited=confirm_replace,
                **self.form.options(self.views.node),
            )
        )
        remember_concepts(concepts)

    def cancel(self) -> None:
        """Ask the run to end."""
        if self._job is not None:
            self.progress.show_cancelling()
            self._job.cancel()

    def preview_slice(self) -> None:
        """Segment the slice that the chosen view shows, and show the answer over it."""
        if self.is_busy or self._why_not() or self.form.why_no_preview(self.views.node):
            return
        parameters = self.form.parameters
        self._begin(
            lambda: self.logic.startPreview(
                parameters.volume,
                parameters.concepts,
                self.views.node,
                onDone=self._previewed,
                onFailed=self._failed,
                **self.form.preview_options(),
            )
        )

    def clear_preview(self) -> None:
        """Take the preview away."""
        self.previews.remove()
        self._say("")
        self.update()

    def write_threshold(self, threshold: float) -> None:
        """Write the last result at another threshold."""
        if not self.is_busy:
            self._begin(
                lambda: self.logic.writeThreshold(
                    threshold, onDone=self._done, onFailed=self._failed, onEdited=confirm_replace
                )
            )

    def undo(self) -> None:
        """Take the last change of the segmentation back."""
        if self.logic.undo():
            self._say(_("Undone. The results below are still those of what was undone."))
        self.update()

    def redo(self) -> None:
        """Do again what was undone."""
        if self.logic.redo():
            self._say("")
        self.update()

    def _begin(self, start: Any) -> None:
        self.threshold.follow(None)
        self._say("")
        self.progress.begin()
        try:
            self._job = start()
        except Exception as error:
            self._failed(error)
            return
        self.update()

    def _applied(self, run: ResultRun) -> None:
        self._done(run)
        self.setup.models.refresh()  # What was learnt may have been kept.
        scroll_into_view(self.ui.resultsTable, self.ui.undoButton)

    def _done(self, run: ResultRun) -> None:
        self._job = None
        self.progress.end()
        # Its segments are there, over which it is not seen.
        self.previews.remove_soon()
        self.results.show(run)
        self.threshold.follow(run)
        parameters = self.form.parameters
        self.form.remember(run.volume_node, run.written.segmentation_node)
        if parameters is not None and parameters.volume is run.volume_node:
            parameters.segmentation = run.written.segmentation_node
        self._say("\n".join(map(translated, run.result.messages)))
        self.update()

    def _previewed(self, run: SegmentationRun) -> None:
        self._end_job()
        self.previews.show_labels(run.volume_node, run.placed, [one.concept for one in run.result.concepts], run.labels)
        self.threshold.follow(self.results.run)
        self._say(words_on_preview(run))
        self.update()

    def _failed(self, error: Exception) -> None:
        self._end_job()
        self.threshold.follow(self.results.run)
        self._say(translated(str(error)))
        if not isinstance(error, MedSAM3Error):
            log_failure("a run broke off.", error)
        if not isinstance(error, Cancelled):
            slicer.util.errorDisplay(translated(str(error)), windowTitle=_("MedSAM3 Segment"))
        self.update()

    def _end_job(self) -> None:
        self._job = None
        self.progress.end()
        self.previews.remove()

    def _drop_job(self, why: str) -> None:
        job, self._job = self._job, None
        if job is not None:
            job.abandon(why)
        self.progress.end()

    def _say(self, words: str) -> None:
        """Show ``words`` below the buttons; nothing takes no room."""
        self.ui.resultLabel.text = words
        self.ui.resultLabel.visible = bool(words)

    def _forget_result(self) -> None:
        self.results.clear()
        self.threshold.follow(None)
        self._say("")

    def update(self) -> None:
        """Enable what can be pressed, and let the rest say why it cannot."""
        reason = _("A run is on its way.") if self.is_busy else self._why_not() or self.setup.why_not()
        ui = self.ui
        ui.applyButton.enabled = not reason
        ui.applyButton.toolTip = reason or _("Make one segment per concept.")
        ui.cancelButton.enabled = self.is_busy
        view_reason = reason or self.form.why_no_preview(self.views.node)
        ui.previewButton.enabled = not view_reason
        ui.previewButton.toolTip = view_reason or _(
            "Show what Apply would give on the slice that the view shows, at any angle, as far as that slice alone can"
            " tell. Nothing is written."
        )
        ui.clearPreviewButton.enabled = self.previews.is_shown and not self.is_busy
        ui.undoButton.enabled = not self.is_busy and self.logic.canUndo()
        ui.redoButton.enabled = not self.is_busy and self.logic.canRedo()
        # Slicer's own button; it is disabled by itself where there is nothing to show.
        ui.show3DButton.setSegmentationNode(self.form.parameters.segmentation if self.form.parameters else None)
        ui.thresholdSlider.enabled = not self.is_busy and self.results.is_in_scene
        self.setup.update()
        self.dicom.update()
        self.learning.update()
        self.command.set_enabled(not self.is_busy)

    def _segmentation_and_volume(self) -> tuple[Any, Any]:
        parameters = self.form.parameters
        return (None, None) if parameters is None else (parameters.segmentation, parameters.volume)

    def _why_not(self) -> str:
        return self.form.why_not(self.views.node)
