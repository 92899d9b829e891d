"""The threshold and the score plot of the panel: moved by mouse, keys and typing, shown at once, written once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from support.nodes import segment_in_world, segments, snapshot
from support.panel import cells, open_panel, phantom, run, segmentations, shown_voxels


def test_a_dragged_threshold_shows_and_a_released_one_writes_once(bench):
    scene = bench.slicer.mrmlScene
    segmenter = FakeSegmenter({"liver": 1, "left kidney": 2}, score=0.6)
    phantom()
    widget = open_panel(bench, segmenter)
    run(bench, widget, "liver; left kidney")
    (node,) = segmentations(scene)
    at_first = snapshot(node)
    widget.ui.resultsTable.selectRow(1)
    slider = widget.ui.thresholdSlider
    assert slider.enabled

    slider.bench_drag_to(0.4)
    bench.wait(lambda: segmentations(scene, previews=True))
    assert shown_voxels(scene, "liver") > 0
    slider.bench_drag_to(0.95)
    bench.wait(lambda: shown_voxels(scene, "liver") == 0)
    assert snapshot(node) == at_first, "nothing is written while it is dragged"
    slider.bench_let_go()
    bench.wait(lambda: not widget.panel.is_busy)

    assert [row[1] for row in cells(widget.ui.resultsTable)] == ["not found", "not found"]
    assert widget.ui.resultsTable.currentRow() == 1
    assert "Not found" in widget.ui.conceptMessageLabel.text
    assert all(len(segment_in_world(node, segment)) == 0 for segment in segments(node).values())
    bench.wait(lambda: segmentations(scene, previews=True) == [])
    assert len(segmenter.requests) == 1
    widget.ui.undoButton.click()
    assert snapshot(node) == at_first


def test_a_typed_threshold_is_written_when_it_is_typed_in_full(bench):
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QDoubleSpinBox

    phantom()
    widget = open_panel(bench, FakeSegmenter({"liver": 1}, score=0.6))
    run(bench, widget, "liver")
    (box,) = widget.ui.thresholdSlider.findChildren(QDoubleSpinBox)
    box.selectAll()
    for letter in "0.70":
        QTest.keyClick(box, letter)
        assert not widget.panel.is_busy, f"the run began at {letter}"
    QTest.keyClick(box, Qt.Key_Return)
    bench.wait(lambda: not widget.panel.is_busy)

    assert widget.logic.result.provenance.threshold == pytest.approx(0.7)
    assert cells(widget.ui.resultsTable)[0][1] == "not found"


def test_the_threshold_is_moved_step_by_step_with_arrow_keys(bench):
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QApplication, QSlider

    phantom()
    widget = open_panel(bench, FakeSegmenter({"liver": 1}, score=0.6))
    run(bench, widget, "liver")
    before = widget.logic.result.provenance.threshold
    widget.parent.activateWindow()
    (knob,) = widget.ui.thresholdSlider.findChildren(QSlider)
    knob.setFocus()
    bench.app.processEvents()
    for _ in range(2):
        QTest.keyClick(QApplication.focusWidget(), Qt.Key_Right)
        bench.wait(lambda: not widget.panel.is_busy)

    assert widget.logic.result.provenance.threshold == pytest.approx(before + 0.02)


@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_a_click_on_the_score_plot_goes_to_the_slice(bench):
    from PySide6.QtCore import QEvent, QPointF, Qt
    from PySide6.QtGui import QMouseEvent
    from PySide6.QtWidgets import QApplication

    volume, array = phantom()
    widget = open_panel(bench)
    bench.slicer.util.setSliceViewerLayers(background=volume, fit=True)
    run(bench, widget, "liver")
    plot = widget.panel.results.plot
    red = bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode()

    label = widget.ui.scorePlot
    for share, index in ((0.0, 0), (1.0, len(array) - 1), (0.5, None)):
        place = QPointF(min(label.width * share, label.width - 1), 10)
        press = QMouseEvent(QEvent.MouseButtonPress, place, place, Qt.LeftButton, Qt.LeftButton, Qt.NoModifier)
        QApplication.sendEvent(label, press)
        shown = red.GetSliceToRAS().GetElement(2, 3) / 3
        assert shown == pytest.approx(plot.slice_at(int(place.x())), abs=1e-3)
        assert index is None or shown == pytest.approx(index, abs=1e-3)


def test_a_click_is_understood_from_the_mouse_events_of_qt_5_and_qt_6(bench):
    del bench
    from PySide6.QtCore import QPointF

    from MedSAM3PanelLib.score_plot import _column_of

    for name in ("localPos", "position"):
        assert _column_of(SimpleNamespace(**{name: lambda: QPointF(41.5, 7)})) == 41.5
