"""How the panel is laid out: its width, its letters, and the way of the tab key through it."""

from __future__ import annotations

from MedSAM3SceneLib.fake_segmenter import FakeSegmenter
from opened_effect import finish, open_effect, options, pixel_of
from opened_panel import VALUES, open_panel, phantom, run


def test_the_panel_with_all_it_has_to_say_is_as_narrow_as_a_user_makes_it(bench):
    phantom()
    widget = open_panel(bench, FakeSegmenter(VALUES, score=0.6))
    widget.ui.setupSection.collapsed = widget.ui.advancedSection.collapsed = False
    widget.parent.resize(700, 900)
    run(bench, widget, "liver; left kidney; a very long phrase that is looked for; aorta")
    bench.spin(0.1)
    assert widget.ui.scorePlot.width > 550

    widget.parent.resize(320, 900)
    bench.spin(0.1)

    assert widget.parent.width == 320
    table, plot = widget.ui.resultsTable, widget.ui.scorePlot
    assert sum(table.columnWidth(column) for column in range(4)) <= table.width
    assert plot.pixmap.width() <= plot.width * plot.devicePixelRatioF()


def test_the_buttons_below_the_results_are_all_there_in_a_narrow_panel(bench):
    phantom()
    widget = open_panel(bench, FakeSegmenter(VALUES, score=0.6))
    run(bench, widget)

    widget.parent.resize(300, 900)
    bench.spin(0.1)

    assert widget.parent.width == 300
    for button in (widget.ui.undoButton, widget.ui.redoButton):
        assert button.fontMetrics().horizontalAdvance(button.text) < button.width
    assert widget.ui.show3DButton.width >= widget.ui.show3DButton.sizeHint.width()


def test_the_options_of_the_effect_are_no_wider_than_a_narrow_panel(bench):
    opened = open_effect(bench)
    options(opened).volumeButton.click()
    finish(opened)
    opened.editor.drag("Red", pixel_of(opened, "Red", (11, 9, 6)), pixel_of(opened, "Red", (25, 23, 6)))

    assert opened.effect.scriptedEffect.optionsFrame().minimumSizeHint.width() <= 300


def test_large_letters_leave_the_curve_of_the_scores_alone(bench):
    from PySide6.QtGui import QFont

    phantom()
    widget = open_panel(bench)
    label, plot = widget.ui.scorePlot, widget.panel.plot
    label.setFont(QFont(label.font.family(), 18))
    run(bench, widget)
    letters = label.fontMetrics().height()

    assert letters > 22
    assert plot._row(1.0) >= letters
    assert label.height - plot._row(0.0) >= letters
    assert plot._row(0.0) - plot._row(1.0) > 40


def test_the_tab_key_goes_through_the_panel_from_top_to_bottom_and_is_caught_nowhere(bench):
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QApplication

    volume, _ = phantom()
    widget = open_panel(bench, FakeSegmenter(VALUES, score=0.6))
    bench.slicer.util.setSliceViewerLayers(background=volume, fit=True)
    run(bench, widget)
    widget.parent.activateWindow()
    widget.ui.conceptsEdit.setFocus()
    names = {id(getattr(widget.ui, name)): name for name in vars(widget.ui)}
    visited = []
    for _ in range(30):
        focused = QApplication.focusWidget()
        here = focused
        while here is not None and id(here) not in names:
            here = here.parentWidget()
        visited.append(names.get(id(here)))
        QTest.keyClick(focused, Qt.Key_Tab)

    expected = [
        *("conceptsEdit", "modeSelector", "viewSelector", "segmentationSelector", "previewButton", "applyButton"),
        *("advancedSection", "resultsSection", "resultsTable", "thresholdSlider", "undoButton"),
    ]
    order = [name for name in dict.fromkeys(visited) if name in expected]
    assert order == expected
