"""Pictures of the panel and of results in slice views, for the README: ``make screenshots``.

Everything is the real thing on the bench: the panel with the demo model on a synthetic abdomen, and slice views drawn
without a window.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fake_slicer import Bench, open_bench
from fake_slicer.module_panel import USUAL_HEIGHT
from MedSAM3SceneLib.engine.local_engine import LocalEngine
from MedSAM3SceneLib.mrml.sample_data import add_synthetic_abdomen, add_volume
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.phantom import Contrast, make_phantom
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

ROOT = Path(__file__).parents[1]

#: Seconds that the demo model may take.
PATIENCE = 600

#: Pixels of the module panel that the Segment Editor is in.
PANEL_WIDTH = 440

#: A slice of the synthetic abdomen that goes through liver, spleen, kidney and aorta.
MIDDLE_SLICE = 27

#: A pixel of the Red view there; the coronal plane through it goes through all of them too.
BEHIND_LIVER = (208, 130)

#: Marks on that slice in pixels of the Red view: boxes around liver and stomach, points in liver and spleen.
MEANT_BOX, OTHER_BOX = ((48, 112), (158, 226)), ((178, 162), (238, 236))
MEANT_POINT, OTHER_POINT = (90, 190), (244, 138)


#: What the liver is called where the demo model is to learn it.
LEARNT_NAME = "large gland"

#: The README's request to the agent.
AGENT_REQUEST = "liver and left kidney"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "Resources" / "Screenshots")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patches,
        open_bench(patches, Path(folder)) as bench,
    ):
        take(bench, output)


def take(bench: Bench, output: Path) -> None:
    """Go through runs in the panel and in the Segment Editor, and save a picture of each state."""
    segmenter = Segmenter.load("demo", "cpu")
    volume = take_panel(bench, output, segmenter)
    take_effect(bench, output, segmenter, volume)
    take_agent(bench, output, segmenter)
    take_learning(bench, output)


def take_panel(bench: Bench, output: Path, segmenter: Segmenter) -> Any:
    """The panel before, during and after a run, and its result in two slice views; returns the volume node."""
    panel = bench.open_panel("MedSAM3Segment")
    panel.logic.segmenter = segmenter
    save_panel(bench, panel.parent, output / "panel-empty.png")
    volume = add_synthetic_abdomen()
    bench.slicer.util.setSliceViewerLayers(background=volume, fit=True)
    panel.ui.conceptsEdit.plainText = "liver; spleen; left kidney; aorta; urinary bladder"
    panel.ui.applyButton.click()
    bench.wait(lambda: panel.ui.progressBar.value > panel.ui.progressBar.maximum // 2 > 0, PATIENCE)
    save_panel(bench, panel.parent, output / "panel-running.png")
    bench.wait(lambda: not panel.panel.is_busy, PATIENCE)
    bench.spin(0.2)
    save_panel(bench, panel.parent, output / "panel-results.png")
    panel.panel.results.go_to_slice(MIDDLE_SLICE)
    slice_node(bench, "Green").JumpSliceByOffsetting(*place_of(bench, "Red", BEHIND_LIVER))
    for view in ("Red", "Green"):
        save_view(bench, view, output / f"result-{view.lower()}.png")
    panel.ui.setupSection.collapsed = False
    panel.ui.resultsSection.collapsed = True
    panel.ui.checkButton.click()
    bench.wait(lambda: panel.ui.checkButton.enabled, PATIENCE)
    bench.wait(lambda: panel.ui.engineLabel.text, PATIENCE)
    save_panel(bench, panel.parent, output / "panel-setup.png")
    bench.close_panel(panel)
    return volume


def take_effect(bench: Bench, output: Path, segmenter: Segmenter, volume: Any) -> None:
    """The effect's options and its marks: boxes and what `This slice` made of them, then a point of either kind.

    After that the whole volume, by the phrase alone: the options, and what is known in the middle of it.
    """
    # Qt under Slicer's names, which the bench brings; the effect needs it too.
    import qt

    from SegmentEditorMedSAM3Lib.registration import EFFECT_FILE

    for node in bench.slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        bench.slicer.mrmlScene.RemoveNode(node)
    segmentation = bench.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("liver", "liver", Vocabulary.load().color_for("liver"))
    editor = bench.segment_editor(volume, segmentation)
    editor.widget.setCurrentSegmentID("liver")
    bench.show_in_module_panel(editor.widget, PANEL_WIDTH, USUAL_HEIGHT)
    effect = editor.open_effect(EFFECT_FILE)
    effect.engine = lambda: LocalEngine(segmenter)
    effect.options.phraseEdit.text = "liver"
    effect.options.phraseEdit.editingFinished.emit()
    effect.options.readingSelector.setCurrentIndex(1)
    editor.drag("Red", *MEANT_BOX)
    effect.options.negativeButton.click()
    editor.drag("Red", *OTHER_BOX)
    effect.options.sliceButton.click()
    bench.wait(lambda: not effect.session.is_running, PATIENCE)
    editor.click("Red", OTHER_POINT)
    effect.options.positiveButton.click()
    editor.click("Red", MEANT_POINT)
    bench.spin(0.1)
    bench.grab(effect.scriptedEffect.optionsFrame(), output / "effect-options.png")
    save_view(bench, "Red", output / "effect-marks.png")
    effect.options.removeAllButton.click()
    bar = effect.scriptedEffect.optionsFrame().findChild(qt.QProgressBar, "MedSAM3ProgressBar")
    effect.options.volumeButton.click()
    bench.wait(lambda: bar.value > 0.6 * bar.maximum > 0, PATIENCE)
    bench.grab(effect.scriptedEffect.optionsFrame(), output / "effect-running.png")
    save_view(bench, "Green", output / "effect-partial.png")
    bench.wait(lambda: not effect.session.is_running, PATIENCE)


def take_agent(bench: Bench, output: Path, segmenter: Segmenter) -> None:
    """The agent's panel after the README's request, and the question before the page of a round would leave."""
    from PySide6 import QtWidgets

    bench.slicer.mrmlScene.Clear(False)
    panel = bench.open_panel("MedSAM3Agent")
    panel.logic.segmenter = segmenter
    bench.slicer.util.setSliceViewerLayers(background=add_synthetic_abdomen("MedSAM3SyntheticCT"), fit=True)
    panel.ui.requestEdit.plainText = AGENT_REQUEST
    panel.ui.askButton.click()
    bench.wait(lambda: not panel.panel.is_busy, PATIENCE)
    bench.spin(0.5)
    save_panel(bench, panel.parent, output / "agent-round.png")

    from MedSAM3AgentLib.backends.protocol import BackendError, Question, QuestionKind
    from MedSAM3AgentLib.sending.consent import Consent
    from MedSAM3AgentLib.sending.gate import SendingGate
    from MedSAM3AgentPanelLib.language.consent_dialog import ask_consent

    def save_and_refuse(dialog: Any) -> int:
        dialog.show()
        bench.spin(0.2)
        bench.grab(dialog, output / "agent-consent.png")
        dialog.reject()
        return int(dialog.result())

    page = panel.panel.rounds.newest.round.page
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(QtWidgets.QDialog, "exec_", save_and_refuse)
        volume = make_phantom(0).volume
        gate = SendingGate("llm.example.org", volume, AGENT_REQUEST, Consent(), ask_consent, lambda: page)
        with suppress(BackendError):
            gate.check(Question(QuestionKind.VERDICT, "", "", page))
    bench.close_panel(panel)


def take_learning(bench: Bench, output: Path) -> None:
    """*Learn from my segments* while the demo model learns an organ under a name that it does not know, and its end."""
    import qt

    bench.slicer.mrmlScene.Clear(False)
    phantom = make_phantom(24, contrast=Contrast.CT, absence=0.0)
    volume = add_volume(phantom.volume, "Synthetic CT")
    segmentation = bench.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Drawn by hand")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = segmentation.GetSegmentation().AddEmptySegment("", LEARNT_NAME)
    mask = phantom.masks["liver"].astype("uint8")
    bench.slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, segment, volume)
    panel = bench.open_panel("MedSAM3Segment")
    ui = panel.ui
    for section in ui.__dict__.values():
        if hasattr(section, "collapsed"):
            section.collapsed = True
    ui.learnSection.collapsed = False
    ui.learnTable.item(0, 0).setCheckState(qt.Qt.Checked)
    ui.learnNameEdit.text = "our-glands"
    ui.learnStepsSpinBox.value = 16
    ui.learnButton.click()
    bench.wait(lambda: ui.learnCurveLabel.visible and ui.learnProgressBar.value > 500, PATIENCE)
    save_panel(bench, panel.parent, output / "learning-running.png")
    bench.wait(lambda: ui.learnCloseButton.visible, PATIENCE)
    bench.spin(0.2)
    save_panel(bench, panel.parent, output / "learning-results.png")
    bench.close_panel(panel)


def slice_node(bench: Bench, view: str) -> Any:
    """The slice node of a view."""
    return bench.app.layoutManager().sliceWidget(view).mrmlSliceNode()


def place_of(bench: Bench, view: str, pixel: tuple[int, int]) -> tuple[float, float, float]:
    """Where in the world a pixel of a view is."""
    r, a, s, _ = slice_node(bench, view).GetXYToRAS().MultiplyPoint((*pixel, 0.0, 1.0))
    return r, a, s


def save_panel(bench: Bench, parent: Any, path: Path) -> None:
    """Save what the panel looks like at the height that it needs."""
    bench.app.processEvents()
    parent.resize(parent.width, parent.sizeHint.height())
    bench.grab(parent, path)


def save_view(bench: Bench, view: str, path: Path) -> None:
    """Save what a slice view shows."""
    Image.fromarray(bench.render(view)).save(path, optimize=True)


if __name__ == "__main__":
    main()
