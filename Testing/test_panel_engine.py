"""The real panel with the real engine in its own process and the demo model, from the click to the segments."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SceneLib import engine_access
from MedSAM3SceneLib.drawn_regions import mask_of_segment
from MedSAM3SceneLib.sample_data import add_volume
from MedSAM3SegmentLib.training.phantom import Contrast, make_phantom
from scene_nodes import segment_in_world, snapshot

#: Some slices through the liver of the phantom.
FIRST, LAST = 28, 33


@pytest.fixture
def own_engine(monkeypatch, tmp_path):
    """An engine of this test's own, that is gone after it."""
    monkeypatch.setenv("MEDSAM3_RUN", str(tmp_path / "run"))
    engine_access._local.cache_clear()
    yield
    engine_access.stop()
    assert engine_access.status_of_settings() is None
    engine_access._local.cache_clear()


def dice(first, second):
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


@pytest.mark.usefixtures("own_engine")
def test_apply_starts_the_engine_and_what_the_demo_model_finds_is_in_its_place(bench):
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
    engine_access.stop()

    ui.thresholdSlider.bench_drag_to(1.0)
    ui.thresholdSlider.bench_let_go()
    bench.wait(lambda: not widget.panel.is_busy)

    assert len(segment_in_world(node, written.segment_id)) == 0
    assert widget.logic.result.provenance.threshold == 1.0
    assert bench.dialogs.texts("error") == []
