"""How the panel is laid out: its width, its letters, and the way of the tab key through it."""

from __future__ import annotations

import gc
import weakref

import shiboken6
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QApplication, QLabel

from fake_slicer.module_panel import SMALL_HEIGHT, USUAL_WIDTH
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from support.effect import finish, open_effect, options, pixel_of
from support.panel import VALUES, move_threshold, open_panel, phantom, run


def open_on_low_screen(bench, height=SMALL_HEIGHT):
    """The panel in Slicer's module panel on a low screen, and that."""
    phantom()
    widget = open_panel(bench, FakeSegmenter(VALUES, score=0.6))
    return widget, bench.show_in_module_panel(widget.parent, USUAL_WIDTH, height)


def test_the_results_are_in_sight_after_apply_on_a_low_screen(bench, letters):
    del letters
    widget, seen = open_on_low_screen(bench)
    assert seen.bench_shows(widget.ui.applyButton)
    assert not seen.bench_shows(widget.ui.thresholdSlider)

    run(bench, widget, "liver; left kidney; pancreas")
    bench.spin(0.2)

    for part in (widget.ui.resultsTable, widget.ui.scorePlot, widget.ui.thresholdSlider, widget.ui.undoButton):
        assert seen.bench_shows(part)

    # Who moves the threshold sees it, and stays there.
    seen.bench_scroll_bar().value = 100
    move_threshold(bench, widget, 0.7)
    bench.spin(0.2)
    assert seen.bench_scroll_bar().value == 100


def test_the_table_comes_first_where_there_is_no_room_for_all_results(bench, letters):
    del letters
    widget, seen = open_on_low_screen(bench, height=300)

    run(bench, widget, "; ".join(["liver", "left kidney", *(f"nothing {number}" for number in range(20))]))
    bench.spin(0.2)

    assert seen.bench_shows(widget.ui.resultsTable)
    assert not seen.bench_shows(widget.ui.undoButton)


def test_results_that_a_user_folded_away_are_not_scrolled_to(bench, letters):
    del letters
    widget, seen = open_on_low_screen(bench)
    widget.ui.resultsSection.collapsed = True
    widget.ui.advancedSection.collapsed = False

    run(bench, widget)
    before = seen.bench_scroll_bar().value
    bench.spin(0.2)

    assert seen.bench_scroll_bar().value == before


def test_a_widget_that_is_to_be_seen_is_not_kept_for_that(bench):
    from MedSAM3WidgetsLib.scrolling import scroll_into_view

    del bench
    label = QLabel("It goes before it is seen.")
    held = weakref.ref(label)
    scroll_into_view(label, label)

    shiboken6.delete(label)
    del label
    gc.collect()

    assert held() is None


def test_the_table_is_as_high_as_its_rows_and_takes_no_room_without_any(bench):
    phantom()
    widget = open_panel(bench)
    table = widget.ui.resultsTable
    assert not table.visible

    heights = []
    for concepts in ("liver", "liver; left kidney", "liver; left kidney; pancreas"):
        run(bench, widget, concepts)
        bench.spin(0.1)
        heights.append(table.height)
        # No row is cut off, and there is nothing below the last one.
        assert table.viewport().height == sum(table.rowHeight(row) for row in range(table.rowCount))
    assert heights == sorted(set(heights))

    run(bench, widget, "; ".join(f"nothing {number}" for number in range(20)))
    bench.spin(0.1)
    assert table.viewport().height == 8 * table.rowHeight(0)
    bench.slicer.mrmlScene.Clear(False)
    assert not table.visible


def test_results_come_right_below_the_buttons(bench):
    ui = open_panel(bench).ui
    ui.advancedSection.collapsed = False
    bench.spin(0.1)

    assert ui.mainSection.y < ui.resultsSection.y < ui.advancedSection.y


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
    phantom()
    widget = open_panel(bench)
    label, plot = widget.ui.scorePlot, widget.panel.results.plot
    label.setFont(QFont(label.font.family(), 18))
    run(bench, widget)
    letters = label.fontMetrics().height()

    assert letters > 22
    assert plot._row(1.0) >= letters
    assert label.height - plot._row(0.0) >= letters
    assert plot._row(0.0) - plot._row(1.0) > 40


def test_the_tab_key_goes_down_the_whole_panel_and_is_caught_nowhere(bench):
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

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
        *("resultsSection", "resultsTable", "thresholdSlider", "undoButton", "advancedSection"),
    ]
    order = [name for name in dict.fromkeys(visited) if name in expected]
    assert order == expected
