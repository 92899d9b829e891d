"""The tutorial of the agent in the README, step by step on the default layout, as a person goes through it."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from .abdomen import Abdomen, held, knowing_segmenter, sample_as_shown, segment_ids, segmentations
from .error_log import ErrorLog
from .session import Session
from .steps import Steps, Until, pause
from .tutorial import load_sample
from .views import colored, shown_views

_MODULE, _SAMPLE = "MedSAM3Agent", "MedSAM3SyntheticCT"
_REQUEST, _ORGANS = "liver and left kidney", ("liver", "left kidney")
_EDITED = "left kidney"
_RECORDED = "the organ that makes bile"


def check_agent(session: Session) -> Steps:
    """All steps, and what was logged meanwhile."""
    session.close_scene()
    yield pause(1.0)
    log = ErrorLog()
    yield from load_sample(session)
    abdomen = sample_as_shown(slicer.util.getNode(_SAMPLE))
    widget = _open(session, abdomen)
    yield pause(0.5)
    yield from _ask(session, widget, abdomen)
    yield from _correct(session, widget, abdomen)
    yield from _compare(session, widget)
    yield from _command(session, widget, abdomen)
    yield from _keep(session, widget)
    yield from _undo_all(session, widget)
    yield from _recorded(session, widget)
    session.close_scene()
    yield pause(1.0)
    session.checks.equal("cards of a closed scene", len(widget.panel.rounds.cards), 0)
    session.checks.equal("windows that spoke up during the tutorial", session.dialogs.said, [])
    log.check(session.checks, [*_ORGANS, _SAMPLE, _REQUEST, _RECORDED])
    widget.logic.segmenter = None


def _open(session: Session, abdomen: Abdomen) -> Any:
    """2. Open the module."""
    slicer.util.selectModule(_MODULE)
    widget = slicer.util.getModuleWidget(_MODULE)
    if not session.is_demo:
        widget.logic.segmenter = knowing_segmenter(abdomen)
    ui, checks = widget.ui, session.checks
    checks.equal("2 the sample is the volume already", ui.volumeSelector.currentNode() is abdomen.node, True)
    checks.equal("2 no language model is asked", ui.languageSelector.currentText, "None: rules")
    checks.equal("2 one line says what leaves", ui.leavesLabel.text, "Nothing leaves this computer; checks decide.")
    return widget


def _wait(widget: Any) -> Steps:
    yield Until(lambda: not widget.panel.is_busy, "an end of the request", 600)
    yield pause(0.5)


def _ask(session: Session, widget: Any, abdomen: Abdomen) -> Steps:
    """3. The first request."""
    ui, checks, red = widget.ui, session.checks, shown_views()["Red"]
    ui.requestEdit.plainText = _REQUEST
    session.press(ui.askButton)
    checks.equal("3 Stop can be pressed", ui.stopButton.enabled, True)
    checks.check("3 the budget is shown", "of 3 at most" in ui.budgetLabel.text, ui.budgetLabel.text)
    yield from _wait(widget)
    cards = widget.panel.rounds.cards
    checks.check("3 a round has a card", len(cards) >= 1, [card.section.text for card in cards])
    node = cards[-1].round.node
    rows = _rows(ui.answerTable)
    checks.equal("3 the answer names what was asked for", [row[0] for row in rows], list(_ORGANS))
    voxel = float(np.abs(np.linalg.det(abdomen.ijk_to_ras[:3, :3]))) / 1000
    ids = segment_ids(node)
    true = [f"{held(node, ids[name], abdomen.node).sum() * voxel:.1f} mL" for name in _ORGANS]
    checks.equal("3 the volumes are those of the segments", [row[1] for row in rows], true)
    checks.check("3 it says why it ended", bool(ui.whyLabel.text), ui.whyLabel.text)
    colors = [node.GetSegmentation().GetSegment(ids[name]).GetColor() for name in _ORGANS]
    checks.check("3 the round is drawn in Red", colored(red, colors) > 0, f"{colored(red, colors)} colored pixels")
    window = cards[-1].enlarge_page()
    yield pause(0.3)
    checks.check("3 the page opens at full size", window is not None and window.visible, f"{window.width} wide")
    window.close()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
    checks.check(
        "3 Data has a folder for the request", folder != hierarchy.GetSceneItemID(), hierarchy.GetItemName(folder)
    )


def _correct(session: Session, widget: Any, abdomen: Abdomen) -> Steps:
    """4. A slice is corrected in the Segment Editor and gone on from."""
    node = widget.panel.rounds.newest.round.node
    segment_id = segment_ids(node)[_EDITED]
    mask = held(node, segment_id, abdomen.node)
    index = int(mask.sum((1, 2)).argmax())
    edited = mask.copy()
    edited[index] &= np.arange(mask.shape[2]) > int(np.argwhere(mask[index])[:, 1].mean())
    slicer.util.selectModule("SegmentEditor")
    yield pause(0.5)
    editor = slicer.modules.SegmentEditorWidget.editor
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(abdomen.node)
    editor.setCurrentSegmentID(segment_id)
    editor.saveStateForUndo()
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited.astype(np.uint8), node, segment_id, abdomen.node)
    yield pause(0.3)
    editor.setActiveEffect(None)
    slicer.util.selectModule(_MODULE)
    yield pause(0.3)
    before = len(widget.panel.rounds.cards)
    session.press(widget.panel.rounds.newest.goOnButton)
    yield from _wait(widget)
    cards = widget.panel.rounds.cards
    checks = session.checks
    checks.check("4 Go on from here makes a round", len(cards) > before, [card.section.text for card in cards])
    after = cards[-1].round.node
    ids = segment_ids(after)
    kept = _EDITED in ids and (held(after, ids[_EDITED], abdomen.node)[index] == edited[index]).all()
    checks.check("4 the edited slice stays to the voxel", kept, f"slice {index} of {_EDITED}")
    checks.check("4 the round before is as it was left", (held(node, segment_id, abdomen.node) == edited).all(), before)


def _compare(session: Session, widget: Any) -> Steps:
    """5. Show beside."""
    ui, checks = widget.ui, session.checks
    layout = slicer.app.layoutManager().layout
    session.press(widget.panel.rounds.newest.besideButton)
    yield Until(lambda: ui.besidePanel.visible, "two rounds beside each other", 60)
    yield pause(0.5)
    checks.equal("5 the comparison is shown", ui.besidePanel.visible, True)
    rows = _rows(ui.besideTable)
    checks.check("5 the table has what was asked for", {row[0] for row in rows} >= set(_ORGANS), rows)
    session.press(ui.hideBesideButton)
    yield pause(0.5)
    checks.equal("5 the views are as before", slicer.app.layoutManager().layout, layout)


def _command(session: Session, widget: Any, abdomen: Abdomen) -> Steps:
    """6. A command is typed, and taken back."""
    node, checks = widget.panel.rounds.newest.round.node, session.checks
    liver = segment_ids(node)["liver"]
    before = held(node, liver, abdomen.node)
    widget.panel.command.edit.text = "shrink the liver 5 mm"
    widget.panel.command.run()
    yield Until(lambda: not widget.panel.command.is_busy, "an end of the command")
    yield pause(0.3)
    after = held(node, liver, abdomen.node)
    shrunk = bool((after & ~before).sum() == 0) and 0 < after.sum() < before.sum()
    said = f"{before.sum()} voxels, {after.sum()} after it: {widget.panel.command.label.text}"
    checks.check("6 the command shrinks the liver", shrunk, said)
    if not shrunk:
        return  # Undo would take back something else
    session.press(widget.ui.undoButton)
    yield pause(0.3)
    checks.equal("6 Undo takes it back", bool((held(node, liver, abdomen.node) == before).all()), True)


def _keep(session: Session, widget: Any) -> Steps:
    """7. Keep."""
    before = len(segmentations(slicer.mrmlScene))
    session.press(widget.panel.rounds.newest.keepButton)
    yield pause(0.5)
    kept = segmentations(slicer.mrmlScene)
    session.checks.equal("7 Keep makes a segmentation of its own", len(kept), before + 1)
    names = set(segment_ids(kept[-1]))
    session.checks.check("7 its segments are named as asked", names == set(_ORGANS), sorted(names))


def _undo_all(session: Session, widget: Any) -> Steps:
    """Undo takes back Keep and whole requests with their cards; Redo brings them back."""
    cards = [card.section.text for card in widget.panel.rounds.cards]
    count = 0
    while widget.ui.undoButton.enabled and widget.panel.rounds.cards:
        session.press(widget.ui.undoButton)
        count += 1
        yield pause(0.5)
    session.checks.equal("8 Undo takes all rounds back", len(widget.panel.rounds.cards), 0)
    for _ in range(count):
        session.press(widget.ui.redoButton)
        yield pause(0.5)
    session.checks.equal("8 Redo brings them back", [card.section.text for card in widget.panel.rounds.cards], cards)


def _recorded(session: Session, widget: Any) -> Steps:
    """The recorded session."""
    ui, checks = widget.ui, session.checks
    ui.languageSelector.setCurrentIndex(ui.languageSelector.findText("Recorded replies"))
    yield pause(0.2)
    session.press(ui.testButton)
    yield Until(lambda: ui.testButton.enabled, "an end of the test")
    checks.equal("9 Test types the recorded request", ui.requestEdit.plainText, _RECORDED)
    before = len(widget.panel.rounds.cards)
    session.press(ui.askButton)
    yield from _wait(widget)
    cards = widget.panel.rounds.cards
    checks.equal("9 the recorded session makes a round", len(cards), before + 1)
    checks.equal("9 it is of the liver", [verdict.name for verdict in cards[-1].round.verdicts], ["liver"])
    words = "The language model wrote (not a finding): Bile is made by the liver"
    checks.check("9 the reply's words are marked", ui.answerLabel.text.startswith(words), ui.answerLabel.text)
    ui.languageSelector.setCurrentIndex(0)


def _rows(table: Any) -> list[list[str]]:
    return [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]
