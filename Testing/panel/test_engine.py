"""The real panel with the real engine in its own process and the demo model, from the click to the segments."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SceneLib.engine import connection
from MedSAM3SceneLib.mrml.sample_data import add_volume
from MedSAM3SceneLib.requests.drawn_prompts import mask_of_segment
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.phantom import Contrast, make_phantom
from support.nodes import segment_in_world, snapshot

#: Some slices through the liver of the phantom.
FIRST, LAST = 28, 33


@pytest.fixture
def own_engine(monkeypatch, tmp_path):
    """An engine of this test's own, that is gone after it."""
    monkeypatch.setenv("MEDSAM3_RUN", str(tmp_path / "run"))
    connection._local.cache_clear()
    yield
    connection.stop()
    assert connection.engine_in_use().status() is None
    connection._local.cache_clear()


def dice(first, second):
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


@pytest.mark.usefixtures("own_engine")
def test_apply_starts_the_engine_and_the_demo_models_result_is_in_place(bench):
    phantom = make_phantom(24, contrast=Contrast.CT, absence=0.0)
    volume = add_volume(phantom.volume, "phantom")
    widget = bench.open_panel("MedSAM3Segment")
    ui = widget.ui
    ui.conceptsEdit.plainText = "liver; bicycle"
    ui.rangeCheckBox.checked = True
    ui.firstSliceBox.value, ui.lastSliceBox.value = FIRST, LAST

    ui.applyButton.click()
    bench.wait(lambda: not widget.panel.is_busy, 120)

    assert bench.dialogs.texts("error") == []
    assert "demo model" in ui.resultLabel.text
    assert [ui.resultsTable.item(row, 1).text() for row in range(2)] == ["found", "not found"]
    node = widget.logic.written.segmentation_node
    segment_id = widget.logic.written.concepts[0].segment_id
    mask = mask_of_segment(node, segment_id, volume, widget.logic.last.placed)
    looked_at = np.zeros(mask.shape, bool)
    looked_at[FIRST : LAST + 1] = True
    assert not mask[~looked_at].any()
    assert dice(mask, phantom.masks["liver"] & looked_at) > 0.8

    # A second run finds the engine warm, is cancelled, and leaves all as it is.
    before = snapshot(node)
    ui.rangeCheckBox.checked = False
    ui.applyButton.click()
    bench.wait(lambda: "Slice" in ui.progressLabel.text, 60)
    ui.cancelButton.click()
    bench.wait(lambda: not widget.panel.is_busy, 60)
    assert snapshot(node) == before
    assert "nothing was written" in ui.resultLabel.text
    assert len(segment_in_world(node, segment_id)) == mask.sum()


@pytest.mark.usefixtures("own_engine")
def test_the_threshold_moves_without_the_engine(bench):
    """The evidence of a run is in Slicer, so it outlives the process that gave it."""
    phantom = make_phantom(24, contrast=Contrast.CT, absence=0.0)
    add_volume(phantom.volume, "phantom")
    widget = bench.open_panel("MedSAM3Segment")
    ui = widget.ui
    ui.conceptsEdit.plainText = "liver"
    ui.rangeCheckBox.checked = True
    ui.firstSliceBox.value, ui.lastSliceBox.value = FIRST, FIRST + 1
    ui.applyButton.click()
    bench.wait(lambda: not widget.panel.is_busy, 120)
    node, written = widget.logic.written.segmentation_node, widget.logic.written.concepts[0]
    assert len(segment_in_world(node, written.segment_id)) > 0
    connection.stop()

    ui.thresholdSlider.bench_drag_to(1.0)
    ui.thresholdSlider.bench_let_go()
    bench.wait(lambda: not widget.panel.is_busy)

    assert len(segment_in_world(node, written.segment_id)) == 0
    assert widget.logic.result.provenance.threshold == 1.0
    assert bench.dialogs.texts("error") == []


@pytest.mark.usefixtures("own_engine")
def test_the_panel_unloads_and_stops_the_engine_also_during_a_run(bench):
    phantom = make_phantom(24, contrast=Contrast.CT, absence=0.0)
    add_volume(phantom.volume, "phantom")
    widget = bench.open_panel("MedSAM3Segment")
    ui, engine = widget.ui, widget.panel.setup.engine

    def said(words):
        engine.look()
        return words in ui.engineLabel.text

    ui.setupSection.collapsed = False
    bench.wait(lambda: said("Not started"), 60)
    assert not ui.unloadButton.enabled
    assert not ui.stopEngineButton.enabled
    ui.conceptsEdit.plainText = "liver"
    ui.applyButton.click()
    bench.wait(lambda: "Slice" in ui.progressLabel.text, 120)
    bench.wait(lambda: said("demo is loaded"), 60)

    ui.stopEngineButton.click()
    bench.wait(lambda: not widget.panel.is_busy, 60)
    bench.wait(lambda: said("Not started"), 60)
    assert "nothing was written" in ui.resultLabel.text
    assert bench.dialogs.texts("error") == [], "whoever stops the engine knows why"
    assert bench.slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0

    ui.rangeCheckBox.checked = True
    ui.firstSliceBox.value, ui.lastSliceBox.value = FIRST, FIRST + 1
    ui.applyButton.click()
    bench.wait(lambda: not widget.panel.is_busy, 120)
    assert bench.dialogs.texts("error") == []
    assert ui.resultsTable.item(0, 1).text() == "found"
    bench.wait(lambda: said("demo is loaded") and ui.unloadButton.enabled, 60)
    ui.unloadButton.click()
    bench.wait(lambda: said("no model is loaded"), 60)


def test_a_preview_equals_this_slices_result_and_propagation_has_one_bar(bench):
    """The demo model itself, in a region that cuts the liver."""
    phantom = make_phantom(24, contrast=Contrast.CT, absence=0.0)
    volume = add_volume(phantom.volume, "phantom")
    widget = bench.open_panel("MedSAM3Segment")
    widget.logic.segmenter = Segmenter.load("demo", "cpu")
    ui, grid = widget.ui, phantom.volume.grid
    roi = bench.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    k, j, i = (int(np.median(places)) for places in np.nonzero(phantom.masks["liver"]))
    roi.SetCenter(*grid.to_ras(np.array([i, j, k], float)))
    roi.SetSize(40, 60, 60)
    ui.roiSelector.setCurrentNode(roi)
    ui.conceptsEdit.plainText = "liver"
    red = bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    # Its voxels lean a little in the scanner, as those of patients do.
    red.RotateToVolumePlane(volume)
    red.JumpSliceByCentering(*grid.to_ras(np.array([i, j, k], float)))

    ui.previewButton.click()
    bench.wait(lambda: not widget.panel.is_busy, 120)
    assert bench.dialogs.texts("error") == []
    preview = widget.panel.previews._preview.node
    previewed = segment_in_world(preview, preview.GetSegmentation().GetNthSegmentID(0))
    ui.modeSelector.setCurrentIndex(0)
    ui.applyButton.click()
    bench.wait(lambda: not widget.panel.is_busy, 120)

    assert bench.dialogs.texts("error") == []
    written = widget.logic.written
    assert len(previewed) > 100
    assert np.array_equal(previewed, segment_in_world(written.segmentation_node, written.concepts[0].segment_id))

    ui.modeSelector.setCurrentIndex(2)
    ui.rangeCheckBox.click()
    ui.firstSliceBox.value, ui.lastSliceBox.value = k - 4, k + 4
    shares, show = [], widget.panel.progress.show

    def noting(progress):
        show(progress)
        shares.append(ui.progressBar.value / ui.progressBar.maximum)

    widget.panel.progress.show = noting
    ui.applyButton.click()
    bench.wait(lambda: not widget.panel.is_busy, 120)
    assert bench.dialogs.texts("error") == []
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.usefixtures("own_engine")
def test_the_engine_is_asked_for_its_status_only_while_it_is_visible(bench, monkeypatch):
    widget = bench.open_panel("MedSAM3Segment")
    engine, section = widget.panel.setup.engine, widget.ui.setupSection
    asked, in_use = [], connection.engine_in_use
    monkeypatch.setattr(connection, "engine_in_use", lambda: asked.append(True) or in_use())

    def asks():
        asked.clear()
        engine.look()
        bench.wait(lambda: not engine._background.is_busy)
        return bool(asked)

    section.collapsed = True
    assert not asks()
    section.collapsed = False
    bench.wait(lambda: "Not started" in widget.ui.engineLabel.text)
    assert asks()
    # As Slicer does with the panel of a module that is left.
    widget.parent.hide()
    assert not asks()
    widget.parent.show()
    assert asks()
