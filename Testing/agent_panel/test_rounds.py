"""The agent's panel with the agent itself, over a segmenter that says what a test says: rounds become cards."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PySide6.QtWidgets import QDialog, QPushButton

from MedSAM3AgentLib.backends.server import ServerBackend
from support.agent_scene import ANSWERS, MASKS, add_abdomen, edit_slice, mask_of, save_and_load
from support.language_server import Answer, language_server, said
from support.nodes import segments
from support.scripted_segmenter import ScriptedSegmenter


def open_panel(bench, answers=None):
    """The panel over a scripted segmenter, and its volume."""
    widget = bench.open_panel("MedSAM3Agent")
    widget.logic.segmenter = ScriptedSegmenter(ANSWERS if answers is None else answers)
    return widget, add_abdomen()


def ask(bench, widget, text):
    widget.ui.requestEdit.plainText = text
    widget.ui.askButton.click()
    wait(bench, widget)


def wait(bench, widget):
    bench.wait(lambda: not widget.panel.is_busy)
    bench.spin(0.1)


def rows(table):
    return [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]


def test_rules_alone_give_a_card_and_an_answer_with_measured_sizes(bench):
    widget, volume = open_panel(bench)
    ask(bench, widget, "liver and spleen")

    (card,) = widget.panel.rounds.cards
    node = card.round.node
    voxel_ml = abs(np.linalg.det(np.array(volume_matrix(volume))[:3, :3])) / 1000
    sizes = [f"{mask_of(node, name).sum() * voxel_ml:.1f} mL" for name in ("liver", "spleen")]
    assert rows(widget.ui.answerTable) == [
        ["liver", sizes[0], "\u2713 accepted"],
        ["spleen", sizes[1], "\u2713 accepted"],
    ]
    assert widget.ui.whyLabel.text == "Accepted in round 1."
    assert card._picture._picture.width() > 400
    assert bench.dialogs.said == []


def test_what_is_not_there_is_said(bench):
    widget, _ = open_panel(bench, {})
    ask(bench, widget, "spleen")
    assert [row[:2] for row in rows(widget.ui.answerTable)] == [["spleen", "not found"]]


def test_a_request_that_names_nothing_fails_in_one_sentence(bench):
    widget, _ = open_panel(bench)
    ask(bench, widget, "???")
    (words,) = bench.dialogs.texts("error")
    assert "No structure" in words
    assert widget.ui.messageLabel.text == words
    assert widget.ui.askButton.enabled


def test_an_edited_round_is_gone_on_from_and_compared(bench):
    widget, _ = open_panel(bench)
    ask(bench, widget, "liver")
    first = widget.panel.rounds.cards[0].round.node
    edited = edit_slice(first, "liver", int(MASKS["liver"].sum((1, 2)).argmax()))

    widget.panel.rounds.cards[0].goOnButton.click()
    wait(bench, widget)

    cards = widget.panel.rounds.cards
    assert len(cards) >= 2
    assert [card.is_open for card in cards] == [False] * (len(cards) - 1) + [True]
    index = int(MASKS["liver"].sum((1, 2)).argmax())
    assert (mask_of(cards[-1].round.node, "liver")[index] == edited[index]).all()
    assert cards[-1].besideButton.enabled
    assert widget.ui.answerSection.visible


def test_two_rounds_are_shown_beside_each_other_with_overlap_and_volumes(bench):
    widget, volume = open_panel(bench)
    ask(bench, widget, "liver")
    first = widget.panel.rounds.cards[0]
    assert not first.besideButton.enabled, "there is nothing to compare with"
    first.goOnEdit.text = "shrink the liver 8 mm"
    first.goOnButton.click()
    wait(bench, widget)
    later = widget.panel.rounds.newest.round.node
    views = list(bench.app.layoutManager().sliceViewNames())

    widget.panel.rounds.newest.besideButton.click()
    ui = widget.ui
    assert not ui.besidePanel.visible, "the window does not wait for the comparison"
    assert ui.messageLabel.text == "Comparing round 1 with round 2..."
    bench.wait(lambda: ui.besidePanel.visible)
    assert ui.messageLabel.text == ""
    one, other = mask_of(first.round.node, "liver"), mask_of(later, "liver")
    voxel_ml = abs(np.linalg.det(np.array(volume_matrix(volume))[:3, :3])) / 1000
    wanted = (one.sum(), other.sum(), (other & ~one).sum(), (one & ~other).sum())
    dice = 2 * (one & other).sum() / (one.sum() + other.sum())
    assert other.sum() < one.sum()
    assert rows(ui.besideTable) == [["liver", f"{dice:.3f}", *(f"{count * voxel_ml:.1f}" for count in wanted)]]
    assert "Round 1 (left) beside round 2 (right)" in ui.besideLabel.text
    ui.hideBesideButton.click()
    assert not ui.besidePanel.visible
    assert list(bench.app.layoutManager().sliceViewNames()) == views
    assert bench.dialogs.said == []


def test_a_comparison_goes_with_the_scene(bench):
    widget, _ = open_panel(bench)
    ask(bench, widget, "liver")
    widget.panel.rounds.cards[0].goOnEdit.text = "shrink the liver 8 mm"
    widget.panel.rounds.cards[0].goOnButton.click()
    wait(bench, widget)
    widget.panel.rounds.newest.besideButton.click()
    bench.wait(lambda: widget.ui.besidePanel.visible)
    bench.slicer.mrmlScene.Clear(False)
    bench.spin(0.1)
    assert not widget.ui.besidePanel.visible
    assert widget.panel.rounds.cards == []


@pytest.mark.parametrize("steps", [0, 2, 3, 5, 8, 12])
@pytest.mark.parametrize("what", ["scene closed", "hidden", "round removed"])
def test_a_comparison_on_its_way_ends_at_any_step(bench, what, steps):
    widget, _ = open_panel(bench)
    ask(bench, widget, "liver")
    widget.panel.rounds.cards[0].goOnEdit.text = "shrink the liver 8 mm"
    widget.panel.rounds.cards[0].goOnButton.click()
    wait(bench, widget)
    scene = bench.slicer.mrmlScene
    layout = bench.app.layoutManager()
    before = list(layout.sliceViewNames())
    widget.panel.rounds.newest.besideButton.click()
    for _ in range(steps):
        widget.panel.beside._task._advance()
    {
        "scene closed": lambda: scene.Clear(False),
        "hidden": widget.panel.beside.hide,
        "round removed": lambda: scene.RemoveNode(widget.panel.rounds.newest.round.node),
    }[what]()
    bench.spin(0.3)
    assert not widget.ui.besidePanel.visible
    assert widget.ui.messageLabel.text == "" or "was removed" in widget.ui.messageLabel.text
    assert list(layout.sliceViewNames()) == before
    names = [scene.GetNthNode(n).GetName() for n in range(scene.GetNumberOfNodes())]
    assert "MedSAM3 difference" not in names
    assert bench.dialogs.said == []


def test_a_typed_command_changes_the_round_whose_card_is_open(bench):
    widget, _ = open_panel(bench)
    ask(bench, widget, "liver")
    node = widget.panel.rounds.cards[0].round.node
    before = mask_of(node, "liver").sum()
    line = widget.panel.command
    line.edit.text = "shrink the liver 8 mm"
    line.run()
    bench.wait(lambda: not line.is_busy)
    assert 0 < mask_of(node, "liver").sum() < before
    assert "shrink" in line.label.text
    assert widget.ui.undoButton.enabled
    widget.ui.undoButton.click()
    assert mask_of(node, "liver").sum() == before


def test_going_on_with_words(bench):
    widget, _ = open_panel(bench)
    ask(bench, widget, "liver")
    card = widget.panel.rounds.cards[0]
    card.goOnEdit.text = "also the spleen"
    card.goOnButton.click()
    wait(bench, widget)
    assert {row[0] for row in rows(widget.ui.answerTable)} == {"liver", "spleen"}


def test_keep_makes_ordinary_segments_and_undo_takes_them_back(bench):
    widget, _ = open_panel(bench)
    ask(bench, widget, "liver")
    scene = bench.slicer.mrmlScene
    before = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")

    widget.panel.rounds.cards[0].keepButton.click()
    bench.spin(0.2)

    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == before + 1
    assert len(widget.panel.rounds.cards) == 1
    assert "Kept as the segmentation" in widget.ui.messageLabel.text
    assert widget.ui.undoButton.enabled
    widget.ui.undoButton.click()
    bench.spin(0.2)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == before


def test_undo_takes_a_whole_request_back_and_redo_brings_its_cards(bench):
    widget, _ = open_panel(bench)
    ask(bench, widget, "liver")
    widget.ui.undoButton.click()
    bench.wait(lambda: widget.panel.rounds.cards == [])
    assert not widget.ui.answerSection.visible
    widget.ui.redoButton.click()
    bench.wait(lambda: len(widget.panel.rounds.cards) == 1)
    assert widget.ui.answerSection.visible


def test_cards_and_answer_come_back_with_a_saved_scene(bench, tmp_path):
    widget, _ = open_panel(bench)
    ask(bench, widget, "liver and spleen")
    shown, titles = rows(widget.ui.answerTable), [card.section.text for card in widget.panel.rounds.cards]

    save_and_load(bench.slicer.mrmlScene, tmp_path)
    bench.wait(lambda: bool(widget.panel.rounds.cards))
    bench.spin(0.1)

    assert [card.section.text for card in widget.panel.rounds.cards] == titles
    assert rows(widget.ui.answerTable) == shown
    assert widget.panel.rounds.newest._picture._picture.width() > 400
    assert widget.ui.requestEdit.plainText == "liver and spleen"
    widget.panel.rounds.newest.goOnEdit.text = "shrink the liver 2 mm"
    widget.panel.rounds.newest.goOnButton.click()
    wait(bench, widget)
    assert len(widget.panel.rounds.cards) >= 2


def test_the_folder_that_is_removed_takes_the_cards_along(bench):
    widget, _ = open_panel(bench)
    ask(bench, widget, "liver")
    hierarchy = bench.slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(bench.slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(widget.panel.rounds.cards[0].round.node)
    hierarchy.RemoveItem(hierarchy.GetItemParent(item))
    bench.wait(lambda: widget.panel.rounds.cards == [])
    assert not widget.ui.answerSection.visible


@pytest.fixture
def far_server(bench, monkeypatch):
    """A server on a real socket that counts as another computer; and the answers of the person, in order."""
    del bench
    # The socket is of this computer. What would be sent in the clear is refused for all others, once at the start.
    monkeypatch.setattr(ServerBackend, "is_loopback", property(lambda self: not hasattr(self, "_transport")))
    answers, shown = [], []

    def run(dialog):
        shown.append(dialog)
        name = "consentYes" if answers.pop(0) else "consentNo"
        next(each for each in dialog.findChildren(QPushButton) if each.objectName == name).click()
        return dialog.result()

    for name in ("exec", "exec_"):
        monkeypatch.setattr(QDialog, name, run)
    with language_server(lambda _body, _number: Answer(said(json.dumps({"verdict": "accept"})))) as server:
        yield server, answers, shown


@pytest.mark.parametrize("agreed", [False, True])
def test_no_byte_leaves_without_a_yes(bench, far_server, agreed):
    server, answers, shown = far_server
    answers.append(agreed)
    widget, _ = open_panel(bench, {**ANSWERS, "liver": MASKS["spleen"]})
    ui = widget.ui
    ui.languageSelector.setCurrentIndex(2)
    ui.addressEdit.text, ui.modelNameEdit.text = server.address, "a-model"
    ui.addressEdit.editingFinished.emit()
    bench.wait(lambda: not widget.panel.language.why_not())

    ask(bench, widget, "the mass in the right kidney")

    assert len(shown) == 1
    sent = sum(map(len, server.raw))
    assert (sent > 0) is agreed
    assert len(widget.panel.rounds.cards) >= 1


def volume_matrix(node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return [[matrix.GetElement(row, column) for column in range(4)] for row in range(4)]


def test_segments_are_named_as_asked(bench):
    widget, _ = open_panel(bench)
    ask(bench, widget, "the right kidney")
    assert "right kidney" in segments(widget.panel.rounds.cards[0].round.node)
