"""How the agent's panel is laid out: in a narrow dock, on a low screen, and by keyboard."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QDialog, QLabel

from fake_slicer.module_panel import SMALL_HEIGHT
from support.agent_panel import begin, open_agent_panel, page_of, phantom, verdict_of

#: Pixels of the dock on a screen of 1366 x 768.
DOCK = 400


@pytest.fixture
def opened(bench, letters, monkeypatch):
    """The panel with all it has: two rounds, an answer, a server, and Advanced open."""
    del letters
    widget, logic = open_agent_panel(bench, monkeypatch)
    volume, scene = phantom(), bench.slicer.mrmlScene
    seen = bench.show_in_module_panel(widget.parent, DOCK, SMALL_HEIGHT)
    begin(widget, "the two largest lesions in the liver, without the cyst")
    names = ("liver", "left kidney", "the lesion that is the largest in the liver")
    for number in (1, 2):
        verdicts = [verdict_of(name, change_ml=-12.3, votes=(3, 2), why="It is said at length. " * 6) for name in names]
        logic.add_round(volume, scene, number, verdicts=verdicts, tried="Segment this and that. " * 8, stop="accepted")
    logic.end()
    bench.spin(0.2)
    return widget, seen


@pytest.mark.parametrize("choice", range(4))
def test_no_part_is_wider_than_the_dock(bench, opened, choice):
    widget, seen = opened
    widget.ui.languageSelector.setCurrentIndex(choice)
    widget.ui.advancedSection.collapsed = False
    bench.spin(0.1)
    assert widget.parent.width <= DOCK - seen.bench_scroll_bar().width
    table = widget.ui.answerTable
    assert sum(table.columnWidth(column) for column in range(3)) <= table.width


def test_ask_is_in_sight_on_a_low_screen_and_the_answer_once_there_is_one(bench, letters, monkeypatch):
    del letters
    widget, logic = open_agent_panel(bench, monkeypatch)
    volume = phantom()
    seen = bench.show_in_module_panel(widget.parent, DOCK, SMALL_HEIGHT)
    assert seen.bench_shows(widget.ui.askButton)
    begin(widget)
    bench.spin(0.2)
    assert seen.bench_shows(widget.ui.stopButton)
    assert seen.bench_shows(widget.ui.budgetLabel)
    logic.add_round(volume, bench.slicer.mrmlScene, stop="accepted", why="Accepted in round 1.")
    logic.end()
    bench.spin(0.3)
    assert seen.bench_shows(widget.ui.answerTable)
    assert seen.bench_shows(widget.ui.researchLabel)


def test_a_page_is_as_wide_as_its_card_and_follows_a_narrower_dock(bench, opened):
    widget, seen = opened
    label = page_label(widget)
    wide = label.pixmap.width()
    assert label.width - 2 <= wide <= label.width
    assert label.height == label.pixmap.height()
    seen.resize(DOCK - 60, SMALL_HEIGHT)
    bench.spin(0.2)
    seen.resize(DOCK + 200, SMALL_HEIGHT)
    bench.spin(0.2)
    assert label.pixmap.width() > wide


def test_a_click_on_the_page_opens_it_at_full_size_and_closing_frees_it(bench, opened):
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    widget, _seen = opened
    QTest.mouseClick(page_label(widget), Qt.LeftButton)
    (window,) = [each for each in bench.app.topLevelWidgets() if isinstance(each, QDialog) and each.visible]
    (page,) = window.findChildren(QLabel)
    assert (page.pixmap.width(), page.pixmap.height()) == (1008, 700)
    assert window.width <= 1366
    assert window.height <= 768
    window.close()
    bench.spin(0.05)
    assert not [each for each in bench.app.topLevelWidgets() if isinstance(each, QDialog) and each.visible]


def test_a_round_without_a_page_takes_no_room_for_one(bench, monkeypatch):
    widget, logic = open_agent_panel(bench, monkeypatch)
    volume = phantom()
    begin(widget)
    for number, page in enumerate((b"", b"no picture", page_of()), start=1):
        logic.add_round(volume, bench.slicer.mrmlScene, number, page=page)
        bench.spin(0.1)
        assert page_label(widget).visible is (number == 3)


def test_the_tab_key_goes_down_the_whole_panel(opened):
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QApplication

    widget, _seen = opened
    widget.parent.activateWindow()
    widget.ui.requestEdit.setFocus()
    card = widget.panel.rounds.newest
    names = {id(getattr(widget.ui, name)): name for name in vars(widget.ui)}
    names |= {id(card.goOnEdit): "goOnEdit", id(card.goOnButton): "goOnButton", id(card.keepButton): "keepButton"}
    visited = []
    for _ in range(40):
        visited.append(names.get(id(QApplication.focusWidget())))
        QTest.keyClick(QApplication.focusWidget(), Qt.Key_Tab)
    expected = ["requestEdit", "languageSelector", "askButton", "goOnEdit", "goOnButton", "keepButton"]
    order = [name for name in dict.fromkeys(visited) if name in expected]
    assert order == expected


def page_label(widget):
    """The label of the newest card's page."""
    return widget.panel.rounds.newest.section.findChildren(QLabel)[0]
