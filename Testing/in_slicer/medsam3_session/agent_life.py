"""The scene, the module or the volume changes while the agent works; and rounds in a scene bundle are gone on from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from .abdomen import Abdomen, add_abdomen, held, knowing_segmenter, segment_ids, segmentations
from .error_log import ErrorLog
from .session import Session
from .steps import Steps, Until, pause

_MODULE, _REQUEST, _OTHER = "MedSAM3Agent", "liver", "another scene"
_GO_ON = "shrink the liver 4 mm"

#: What is compared of a round: its segments by name, with their voxels.
_Voxels = dict[str, Any]


def check_agent_life(session: Session) -> Steps:
    """Each change in the middle of a request, and a request to its end after it."""
    session.close_scene()
    other = _save_other_scene()
    changes: dict[str, Callable[[Abdomen], object]] = {
        "another scene is loaded": lambda _: slicer.util.loadScene(other, {"clear": True}),
        "another scene is added": lambda _: slicer.util.loadScene(other),
        "the scene is closed": lambda _: slicer.mrmlScene.Clear(False),
        "the volume is removed": lambda abdomen: slicer.mrmlScene.RemoveNode(abdomen.node),
        "the module is loaded again": lambda _: slicer.util.getModuleWidget(_MODULE).onReload(),
    }
    for words, change in changes.items():
        log = ErrorLog()
        session.close_scene()
        abdomen = add_abdomen()
        # The knowing segmenter, because it can be made to take its time.
        widget = _open(abdomen, knowing_segmenter(abdomen, 0.2))
        session.press(widget.ui.askButton)
        yield pause(1.5)
        session.checks.equal(f"{words}: the agent is at work", widget.panel.is_busy, True)
        change(abdomen)
        yield pause(1.5)
        widget = slicer.util.getModuleWidget(_MODULE)
        is_added = words.endswith("added")
        session.checks.equal(f"{words}: it works on", widget.panel.is_busy, is_added)
        if is_added:
            yield Until(lambda panel=widget.panel: not panel.is_busy, "an end of the request", 120)
            yield pause(0.5)
        session.checks.equal(f"{words}: rounds there are", len(widget.panel.rounds.cards), int(is_added))
        session.checks.equal(f"{words}: segmentations", len(segmentations(slicer.mrmlScene)), int(is_added))
        if words.startswith("another"):
            found = slicer.mrmlScene.GetFirstNodeByName(_OTHER)
            session.checks.check(f"{words}: it is there", found is not None, _OTHER)
        session.close_scene()
        yield from _asked(add_abdomen())
        session.checks.equal(f"{words}: rounds of the next request", len(_panel().rounds.cards), 1)
        session.checks.equal(f"{words}: windows that spoke up", _said(session), [])
        log.check(session.checks, [_REQUEST])
    session.close_scene()


def check_bundle(session: Session) -> Steps:
    """A scene with rounds is saved as .mrb and loaded; going on gives what going on without that gives."""
    log = ErrorLog()
    session.close_scene()
    abdomen = add_abdomen()
    yield from _asked(abdomen)
    before = _cards(abdomen)
    yield from _gone_on()
    wanted = _cards(abdomen)
    session.checks.equal("rounds after going on", len(wanted), len(before) + 1)

    session.close_scene()
    abdomen = add_abdomen()
    yield from _asked(abdomen)
    bundle = str(Path(slicer.app.temporaryPath, "medsam3-rounds.mrb"))
    session.checks.equal("the bundle is saved", bool(slicer.util.saveScene(bundle)), True)
    session.close_scene()
    yield pause(0.5)
    session.checks.equal("the bundle is loaded", bool(slicer.util.loadScene(bundle)), True)
    yield pause(1.0)
    Path(bundle).unlink()
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    session.checks.equal("volumes of the bundle", len(volumes), 1)
    loaded = Abdomen(volumes[0], abdomen.labels, abdomen.ijk_to_ras)
    _open(loaded, knowing_segmenter(loaded, 0.0))
    yield pause(0.5)
    _check_equal(session, "rounds of the bundle", before, _cards(loaded))
    yield from _gone_on()
    _check_equal(session, "rounds gone on from after the bundle", wanted, _cards(loaded))
    session.close_scene()
    yield pause(0.5)
    session.checks.equal("windows that spoke up with the bundle", _said(session), [])
    log.check(session.checks, [_REQUEST])
    slicer.util.getModuleWidget(_MODULE).logic.segmenter = None


def _said(session: Session) -> list[str]:
    """What was said in windows, but for Slicer's own progress of loading."""
    return [words for words in session.dialogs.said if words != "Loading ..."]


def _save_other_scene() -> str:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", _OTHER)
    file = str(Path(slicer.app.temporaryPath, "medsam3-other.mrml"))
    slicer.mrmlScene.SetURL(file)
    slicer.mrmlScene.Commit()
    slicer.mrmlScene.RemoveNode(node)
    return file


def _panel() -> Any:
    return slicer.util.getModuleWidget(_MODULE).panel


def _open(abdomen: Abdomen, segmenter: Any) -> Any:
    slicer.util.selectModule(_MODULE)
    widget = slicer.util.getModuleWidget(_MODULE)
    widget.logic.segmenter = segmenter
    widget.ui.volumeSelector.setCurrentNode(abdomen.node)
    widget.ui.languageSelector.setCurrentIndex(0)
    widget.ui.requestEdit.plainText = _REQUEST
    return widget


def _asked(abdomen: Abdomen) -> Steps:
    widget = _open(abdomen, knowing_segmenter(abdomen, 0.0))
    widget.ui.askButton.click()
    yield Until(lambda: not _panel().is_busy, "an end of the request", 120)
    yield pause(0.5)


def _gone_on() -> Steps:
    card = _panel().rounds.newest
    card.goOnEdit.text = _GO_ON
    card.goOnButton.click()
    yield Until(lambda: not _panel().is_busy, "an end of going on", 120)
    yield pause(0.5)


def _cards(abdomen: Abdomen) -> list[tuple[str, _Voxels, list[str]]]:
    """Of each round: its node's name, its segments, and its verdicts in words."""
    found = []
    for card in _panel().rounds.cards:
        node = card.round.node
        voxels = {name: held(node, one, abdomen.node) for name, one in segment_ids(node).items()}
        found.append((node.GetName(), voxels, [str(verdict) for verdict in card.round.verdicts]))
    return found


def _check_equal(session: Session, name: str, one: list[Any], other: list[Any]) -> None:
    session.checks.equal(f"{name}: names", [each[0] for each in other], [each[0] for each in one])
    session.checks.equal(f"{name}: verdicts", [each[2] for each in other], [each[2] for each in one])
    pairs = list(zip(one, other, strict=False))
    same = all(a[1].keys() == b[1].keys() and all(np.array_equal(a[1][n], b[1][n]) for n in a[1]) for a, b in pairs)
    session.checks.check(f"{name}: voxels", same and len(one) == len(other), f"{len(pairs)} rounds")
