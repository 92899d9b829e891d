"""The agent's panel from Ask to the answer."""

from __future__ import annotations

from MedSAM3SegmentLib.errors import EngineError
from support.agent_panel import begin, open_agent_panel, phantom, verdict_of


def test_ask_says_what_is_missing_and_then_hands_over_what_is_chosen(bench, monkeypatch):
    widget, logic = open_agent_panel(bench, monkeypatch)
    ui = widget.ui
    assert not ui.askButton.enabled
    assert ui.askButton.toolTip == "Select a volume first."
    volume = phantom()
    assert ui.askButton.toolTip == "Type what to find first."
    ui.advancedSection.collapsed = False
    ui.roundsBox.value, ui.callsBox.value, ui.thresholdBox.value = 5, 7, 0.4
    ui.planeSelector.setCurrentIndex(2)
    ui.windowSelector.setCurrentText("-100, 240")

    begin(widget, "  liver and spleen\n")

    how, node, text, told = logic.asked[0]
    assert (how, node, text) == ("start", volume, "liver and spleen")
    assert (told["rounds"], told["calls"], told["threshold"]) == (5, 7, 0.4)
    assert (told["plane"], told["window"]) == ("coronal", (-100.0, 240.0))
    assert (told["model"], told["device"], told["language"]) == ("demo", "auto", "rules")
    assert not ui.askButton.enabled
    assert ui.stopButton.enabled
    assert "Round 1 of 5 at most; 0 of 7 questions asked" in ui.budgetLabel.text


def test_a_window_that_is_none_is_told_before_ask(bench, monkeypatch):
    widget, logic = open_agent_panel(bench, monkeypatch)
    phantom()
    widget.ui.requestEdit.plainText = "liver"
    for typed in ("100, -100", "nothing", "1,2,3"):
        widget.ui.windowSelector.setCurrentText(typed)
        assert not widget.ui.askButton.enabled, typed
        assert len(widget.ui.askButton.toolTip) > 20
    widget.ui.windowSelector.setCurrentText("lung")
    widget.ui.askButton.click()
    assert logic.asked[0][3]["window"] == "lung"


def test_each_round_becomes_a_card_and_the_last_one_the_answer(bench, monkeypatch):
    widget, logic = open_agent_panel(bench, monkeypatch)
    volume, ui = phantom(), widget.ui
    begin(widget)
    assert not ui.answerSection.visible

    unsure = verdict_of(verdict="unsure", why="The spleen was called so, too.", votes=(3, 1))
    first = logic.add_round(volume, bench.slicer.mrmlScene, 1, verdicts=(unsure,))
    assert "Round 2 of 3 at most; 1 of 10 questions asked" in ui.budgetLabel.text
    shrunk = verdict_of(change_ml=-12.34, volume_ml=1437.9)
    second = logic.add_round(volume, bench.slicer.mrmlScene, 2, verdicts=(shrunk,), why="Accepted.", stop="accepted")
    logic.end()
    bench.spin(0.1)

    cards = widget.panel.rounds.cards
    assert [card.round for card in cards] == [first, second]
    assert [card.is_open for card in cards] == [False, True]
    assert cards[1].section.y < cards[0].section.y, "the newest is on top"
    assert cards[0].section.text == "Round 1: liver ?"
    said = texts_in(cards[0].section)
    assert "liver: ? unsure, 1450.2 mL\nThe spleen was called so, too. 1 of 3 votes in favor." in said
    assert (
        "liver: \u2713 accepted, 1437.9 mL (\u221212.3 mL against the round before)\nAll 4 checks passed."
        in texts_in(cards[1].section)
    )
    assert "Asked for: the liver" in said
    assert "2.5 s; questions asked: 1" in said
    assert ui.answerSection.visible
    assert [ui.answerTable.item(0, column).text() for column in range(3)] == ["liver", "1437.9 mL", "\u2713 accepted"]
    assert ui.whyLabel.text == "Accepted."
    assert "research only" in ui.researchLabel.text
    assert not ui.progressBar.visible
    assert not ui.budgetLabel.visible


def test_a_language_models_words_are_marked_and_shown_as_typed(bench, monkeypatch):
    widget, logic = open_agent_panel(bench, monkeypatch)
    volume = phantom()
    begin(widget)
    logic.add_round(volume, bench.slicer.mrmlScene, answer="<b>A cyst</b>", stop="accepted")
    logic.end()
    assert widget.ui.answerLabel.text == "The language model wrote (not a finding): <b>A cyst</b>"


def test_stop_is_asked_once_and_what_is_done_stays(bench, monkeypatch):
    widget, logic = open_agent_panel(bench, monkeypatch)
    volume = phantom()
    begin(widget)
    logic.add_round(volume, bench.slicer.mrmlScene)
    widget.ui.stopButton.click()
    assert logic.cancelled == 1
    logic.fail()
    assert widget.ui.messageLabel.text == "The request was cancelled."
    assert bench.dialogs.texts("error") == []
    assert len(widget.panel.rounds.cards) == 1
    assert widget.ui.askButton.enabled


def test_a_failure_is_said_in_a_window_and_in_the_panel(bench, monkeypatch):
    widget, logic = open_agent_panel(bench, monkeypatch)
    phantom()
    begin(widget)
    logic.fail(EngineError("The language model at example.org does not answer."))
    assert bench.dialogs.texts("error") == ["The language model at example.org does not answer."]
    assert widget.ui.messageLabel.text == bench.dialogs.texts("error")[0]

    logic.failure = EngineError("The engine cannot start.")
    widget.ui.askButton.click()
    assert bench.dialogs.texts("error")[1:] == ["The engine cannot start."]
    assert widget.ui.askButton.enabled


def test_the_cards_buttons_are_of_their_round(bench, monkeypatch):
    widget, logic = open_agent_panel(bench, monkeypatch)
    volume, scene = phantom(), bench.slicer.mrmlScene
    begin(widget)
    first, second = (logic.add_round(volume, scene, number) for number in (1, 2))
    card = widget.panel.rounds.cards[0]
    assert not card.keepButton.enabled, "a request is on its way"
    logic.end()

    card.keepButton.click()
    assert logic.kept == [first.node]
    assert "liver kept" in widget.ui.messageLabel.text

    card.goOnEdit.text = " without the cyst "
    card.goOnButton.click()
    how, node, text, told = logic.asked[1]
    assert (how, node, text) == ("go on", first.node, "without the cyst")
    assert told["rounds"] == 3
    assert not card.goOnButton.enabled
    assert widget.panel.rounds.current is second


def test_opening_a_card_shows_its_round_alone_and_commands_go_there(bench, monkeypatch):
    widget, logic = open_agent_panel(bench, monkeypatch)
    volume, scene = phantom(), bench.slicer.mrmlScene
    begin(widget)
    first, second = (logic.add_round(volume, scene, number) for number in (1, 2))
    logic.end()
    cards = widget.panel.rounds.cards

    cards[0].section.click()

    assert [card.is_open for card in cards] == [True, False]
    assert bool(first.node.GetDisplayNode().GetVisibility())
    assert not second.node.GetDisplayNode().GetVisibility()
    assert widget.panel._command_target() is first.node
    assert "round 1" in widget.ui.commandTargetLabel.text


def test_a_round_that_is_deleted_takes_its_card_along(bench, monkeypatch):
    widget, logic = open_agent_panel(bench, monkeypatch)
    volume, scene = phantom(), bench.slicer.mrmlScene
    begin(widget)
    first, second = (logic.add_round(volume, scene, number) for number in (1, 2))
    logic.end()

    scene.RemoveNode(second.node)
    bench.wait(lambda: len(widget.panel.rounds.cards) == 1)

    assert [card.round for card in widget.panel.rounds.cards] == [first]
    scene.RemoveNode(first.node)
    bench.wait(lambda: not widget.panel.rounds.cards)
    assert not widget.ui.commandSection.visible
    assert widget.ui.noRoundsLabel.visible


def test_another_volume_has_other_rounds_and_they_come_back_with_the_first(bench, monkeypatch):
    widget, logic = open_agent_panel(bench, monkeypatch)
    volume, other = phantom("ct"), phantom("mr")
    widget.ui.volumeSelector.setCurrentNode(volume)
    begin(widget)
    logic.add_round(volume, bench.slicer.mrmlScene, stop="accepted", why="Accepted.")
    widget.ui.volumeSelector.setCurrentNode(other)
    assert widget.panel.rounds.cards == []
    logic.end()
    widget.ui.volumeSelector.setCurrentNode(volume)
    assert len(widget.panel.rounds.cards) == 1
    assert widget.ui.answerSection.visible


def test_a_closed_scene_leaves_nothing_and_the_panel_can_be_used_again(bench, monkeypatch):
    widget, logic = open_agent_panel(bench, monkeypatch)
    volume = phantom()
    begin(widget)
    logic.add_round(volume, bench.slicer.mrmlScene)
    bench.slicer.mrmlScene.Clear(False)
    assert widget.panel.rounds.cards == []
    assert not widget.panel.is_busy
    assert not widget.ui.progressBar.visible
    phantom()
    begin(widget, "spleen")
    assert logic.asked[-1][2] == "spleen"


def test_return_asks_and_shift_return_begins_a_line(bench, monkeypatch):
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    widget, logic = open_agent_panel(bench, monkeypatch)
    phantom()
    QTest.keyClicks(widget.ui.requestEdit, "liver")
    QTest.keyClick(widget.ui.requestEdit, Qt.Key_Return, Qt.ShiftModifier)
    assert logic.asked == []
    QTest.keyClicks(widget.ui.requestEdit, "spleen")
    QTest.keyClick(widget.ui.requestEdit, Qt.Key_Return)
    assert [asked[2] for asked in logic.asked] == ["liver\nspleen"]


def test_undo_and_redo_are_those_of_the_scene(bench, monkeypatch):
    widget, logic = open_agent_panel(bench, monkeypatch)
    assert not widget.ui.undoButton.enabled
    logic.can = [True, True]
    widget.panel.update()
    widget.ui.undoButton.click()
    assert widget.ui.messageLabel.text == "Undone."
    widget.ui.redoButton.click()
    assert widget.ui.messageLabel.text == ""


def texts_in(section):
    from PySide6.QtWidgets import QLabel

    return [label.text for label in section.findChildren(QLabel)]
