"""The results of the last run: table, scores by slice, and the way back to a slice."""

from __future__ import annotations

from typing import Any

from MedSAM3SceneLib.mrml.slice_planes import jump_to_slice
from MedSAM3SceneLib.runs.oblique_sentences import reason_on_cut
from MedSAM3SceneLib.runs.segmentation_run import ResultRun, SegmentationRun
from MedSAM3SceneLib.translation.translate import translated

from .results_table import ResultsTable
from .score_plot import ScorePlot


class ResultsSection:
    """Shows one run at a time.

    Args:
        ui: the panel's widgets.

    Attributes:
        run: that is shown, or None.
    """

    def __init__(self, ui: Any) -> None:
        self.run: ResultRun | None = None
        self._shown = 0
        self._next_slice_button = ui.nextSliceButton
        self._next_slice_button.connect("clicked()", self.go_to_next_slice)
        self._next_slice_button.visible = False
        self.plot = ScorePlot(ui.scorePlot, self.go_to_slice)
        self.table = ResultsTable(ui.resultsTable, ui.conceptMessageLabel, self.show_scores)

    @property
    def is_in_scene(self) -> bool:
        """Whether what the run wrote, and the volume that it was found in, are still there."""
        if self.run is None:
            return False
        return all(node.GetScene() is not None for node in (self.run.volume_node, self.run.written.segmentation_node))

    def show(self, run: ResultRun) -> None:
        """Show a run that is done."""
        self.run = run
        self.table.show(run.result, run.written)

    def clear(self) -> None:
        """Show nothing."""
        self.run = None
        self.table.clear()
        self.plot.clear()
        self._next_slice_button.visible = False

    def show_scores(self, number: int) -> None:
        """Draw the scores of concept ``number``."""
        result = self.run.result if self.run is not None else None
        if result is not None:
            concept = result.concepts[number]
            self.plot.show(concept.concept, concept.score_by_slice, result.provenance.threshold)
            self._shown = number
            self._next_slice_button.visible = concept.next_slice is not None

    def go_to_next_slice(self) -> None:
        """Let the slice views show the slice of the selected concept whose correction would help most."""
        result = self.run.result if self.run is not None else None
        if result is not None and self._shown < len(result.concepts):
            suggested = result.concepts[self._shown].next_slice
            if suggested is not None:
                self.go_to_slice(suggested.slice_index)

    def go_to_slice(self, index: int) -> None:
        """Let the slice views show slice ``index`` of the result."""
        run = self.run
        if run is not None and run.result is not None and run.volume_node.GetScene() is not None:
            jump_to_slice(run.volume_node, run.placed, run.result.stack, index)


def words_on_preview(run: SegmentationRun) -> str:
    """What there is to say of a previewed slice, one line for each concept and message."""
    reasons = [reason_on_cut(concept) if run.is_cut else concept.reason for concept in run.result.concepts]
    said = [f"{one.concept}: {translated(why)}" for one, why in zip(run.result.concepts, reasons, strict=True)]
    return "\n".join([*said, *map(translated, run.messages)])
