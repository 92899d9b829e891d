"""The panel as a whole: its parts, and what happens from Apply to the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from MedSAM3PanelLib.setup.setup_section import SetupSection
from MedSAM3SceneLib.failure_log import log_failure
from MedSAM3SceneLib.mrml.slice_views import jump_to_slice
from MedSAM3SceneLib.runs.oblique_sentences import reason_on_cut
from MedSAM3SceneLib.runs.run_order import PlacedPartial
from MedSAM3SceneLib.runs.segmentation_run import SegmentationRun, WritingRun
from MedSAM3SceneLib.translation.translate import translated
from MedSAM3SegmentLib.errors import Cancelled, MedSAM3Error
from MedSAM3SegmentLib.vocabulary.phrases import split_phrases
from MedSAM3WidgetsLib.preview_display import Previews
from MedSAM3WidgetsLib.progress_bar import ProgressDisplay
from MedSAM3WidgetsLib.scrolling import bring_into_sight

from .concept_completer import ConceptCompletion, remember_concepts
from .request_form import RequestForm
from .results_table import ResultsTable
from .score_plot import ScorePlot
from .slice_view_selector import SliceViewChoice
from .threshold_slider import ThresholdSlider
from .wrapped_labels import keep_words_in_sight


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
        self._shown: WritingRun | None = None
        self.previews = Previews()
        self.progress = ProgressDisplay(ui.progressBar, ui.progressLabel)
        self.form = RequestForm(ui, self.show_choices)
        self.completion = ConceptCompletion(ui.conceptsEdit)
        self.plot = ScorePlot(ui.scorePlot, self.go_to_slice)
        self.table = ResultsTable(ui.resultsTable, ui.conceptMessageLabel, self.show_scores)
        self.threshold = ThresholdSlider(ui.thresholdSlider, self.previews, self.write_threshold, self._say)
        self.views = SliceViewChoice(ui.viewSelector)
        self.setup = SetupSection(ui, requirements, self.update, lambda: self.is_busy)
        self.labels = keep_words_in_sight(ui)
        for button, does in (
            (ui.applyButton, self.apply),
            (ui.cancelButton, self.cancel),
            (ui.undoButton, self.undo),
            (ui.redoButton, self.redo),
            (ui.previewButton, self.preview_slice),
            (ui.clearPreviewButton, self.clear_preview),
        ):
            button.connect("clicked()", does)
        self._forget_result()
        self.update()

    # --- the panel in Slicer ----------------------------------------------------------------------------------------

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
        self.setup.close()

    def _let_go_of_choices(self) -> None:
        """Keep choices nowhere, until the panel belongs to a scene again."""
        self.form.disconnect()
        self.views.connect(None)
        self.setup.connect(None)

    # --- runs -------------------------------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        return self._job is not None

    def apply(self) -> None:
        """Begin a run with what is chosen; a second click does nothing."""
        if self.is_busy or self._why_not():
            return
        parameters = self.form.parameters
        concepts = split_phrases(parameters.concepts)
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
                onPartial=show_partial,
                onDone=self._applied,
                onFailed=self._failed,
                onEdited=_may_replace,
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
        if self.is_busy or self._why_no_preview():
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
                    threshold, onDone=self._done, onFailed=self._failed, onEdited=_may_replace
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

    def _applied(self, run: WritingRun) -> None:
        self._done(run)
        bring_into_sight(self.ui.resultsTable, self.ui.undoButton)

    def _done(self, run: WritingRun) -> None:
        self._end_job()
        self._shown = run
        self.table.show(run.result, run.written)
        self.threshold.follow(run)
        parameters = self.form.parameters
        self.form.remember(run.volume_node, run.written.segmentation_node)
        if parameters is not None and parameters.volume is run.volume_node:
            parameters.segmentation = run.written.segmentation_node
        self._say("\n".join(map(translated, run.result.messages)))
        self.update()

    def _previewed(self, run: SegmentationRun) -> None:
        self._end_job()
        concepts = [concept.concept for concept in run.result.concepts]
        self.previews.show_labels(run.volume_node, run.placed, concepts, run.labels)
        self.threshold.follow(self._shown)
        reasons = [reason_on_cut(concept) if run.is_cut else concept.reason for concept in run.result.concepts]
        said = [f"{concept}: {translated(reason)}" for concept, reason in zip(concepts, reasons, strict=True)]
        self._say("\n".join([*said, *map(translated, run.messages)]))
        self.update()

    def _failed(self, error: Exception) -> None:
        self._end_job()
        self.threshold.follow(self._shown)
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

    # --- results ----------------------------------------------------------------------------------------------------

    def show_scores(self, number: int) -> None:
        """Draw the scores of concept ``number`` of the last result."""
        result = self._shown.result if self._shown is not None else None
        if result is not None:
            concept = result.concepts[number]
            self.plot.show(concept.concept, concept.score_by_slice, result.provenance.threshold)

    def go_to_slice(self, index: int) -> None:
        """Let the slice views show slice ``index`` of the last result."""
        run = self._shown
        if run is not None and run.result is not None and run.volume_node.GetScene() is not None:
            jump_to_slice(run.volume_node, run.placed, run.result.stack, index)

    def _say(self, words: str) -> None:
        """Show ``words`` below the buttons; nothing takes no room."""
        self.ui.resultLabel.text = words
        self.ui.resultLabel.visible = bool(words)

    def _forget_result(self) -> None:
        self._shown = None
        self.table.clear()
        self.plot.clear()
        self.threshold.follow(None)
        self._say("")

    # --- what can be pressed ----------------------------------------------------------------------------------------

    def update(self) -> None:
        """Enable what can be pressed, and let the rest say why it cannot."""
        reason = _("A run is on its way.") if self.is_busy else self._why_not() or self.setup.why_not()
        ui = self.ui
        ui.applyButton.enabled = not reason
        ui.applyButton.toolTip = reason or _("Make one segment per concept.")
        ui.cancelButton.enabled = self.is_busy
        view_reason = reason or self._why_no_preview()
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
        ui.thresholdSlider.enabled = not self.is_busy and self._shown is not None and is_in_scene(self._shown)
        self.setup.update()

    def _why_not(self) -> str:
        return self.form.why_not(self.views.node)

    def _why_no_preview(self) -> str:
        return self._why_not() or self.form.why_no_preview(self.views.node)


def _may_replace(names: Sequence[str]) -> bool:
    """Ask the user whether segments may be written again that hold what no run brings back."""
    question = _(
        "Edited since they were segmented, or larger than what is looked at now: {names}. What is found now takes the"
        " place of that; Undo brings it back."
    ).format(names=", ".join(names))
    return bool(slicer.util.confirmOkCancelDisplay(question, windowTitle=_("MedSAM3 Segment")))


def is_in_scene(run: WritingRun) -> bool:
    """Whether what a run wrote, and the volume that it was found in, are still there."""
    return all(node.GetScene() is not None for node in (run.volume_node, run.written.segmentation_node))
