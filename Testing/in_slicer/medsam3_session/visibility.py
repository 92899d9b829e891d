"""What was found is in sight, and nothing else goes out of it: in a new scene, a closed one, a loaded one."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from .abdomen import ORGANS, Abdomen, add_abdomen, add_segmentation, sample_as_shown, segment_ids, segmentations
from .session import Session
from .steps import Steps, pause
from .views import colored, show_place, shown_views


def check_after_closing(session: Session) -> Steps:
    """All that is found is visible and drawn, in a new scene and after *Close scene*."""
    for when in ("in a new scene", "after closing it", "after closing it again"):
        session.close_scene()
        session.open_panel()
        yield pause(0.3)
        abdomen = add_abdomen()
        yield from _apply(session, abdomen)
        yield from _check_visible(session, abdomen, when)


def check_after_loading(session: Session) -> Steps:
    """The same after a scene was saved, closed and loaded, and what is in it stays as it was."""
    session.close_scene()
    session.open_panel()
    yield from _apply(session, add_abdomen())
    node = segmentations(slicer.mrmlScene)[0]
    node.GetDisplayNode().SetSegmentVisibility(segment_ids(node)["spleen"], False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "session.mrb").as_posix()
        saved = slicer.util.saveScene(path)
        session.close_scene()
        session.checks.check("a scene is saved and loaded", saved and slicer.util.loadScene(path), path)
    yield pause(1.0)
    (loaded,) = segmentations(slicer.mrmlScene)
    wanted = {name: name != "spleen" for name in segment_ids(loaded)}
    session.checks.equal("segments of a loaded scene are as visible as they were saved", _visible(loaded), wanted)

    session.open_panel()
    abdomen = sample_as_shown(slicer.util.getNode("MedSAM3SyntheticCT"))
    session.choose(abdomen, "; ".join(ORGANS))
    session.ui.segmentationSelector.setCurrentNode(None)
    yield from _check_left_alone(session, loaded, wanted, "of a loaded scene")
    made = session.ui.segmentationSelector.currentNode()
    session.checks.equal("what a run finds in a loaded scene is visible", _hidden(made), [])


def check_others(session: Session) -> Steps:
    """Previews and runs leave what a person shows and hides alone."""
    session.close_scene()
    session.open_panel()
    abdomen = add_abdomen()
    other = add_segmentation(abdomen, "of a person")
    for name in ("first", "second", "third"):
        segment_id = other.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            abdomen.mask("spleen").astype(np.uint8), other, segment_id, abdomen.node
        )
    other.GetDisplayNode().SetSegmentVisibility("second", False)
    wanted = {"first": True, "second": False, "third": True}
    session.choose(abdomen, "liver; left kidney")
    yield from _check_left_alone(session, other, wanted, "of other segments")


def _check_left_alone(session: Session, node: Any, wanted: dict[str, bool], whose: str) -> Steps:
    """A preview that comes and goes, then a run, change no visibility of another segmentation."""
    yield from session.run(session.ui.previewButton)
    yield pause(0.3)
    session.press(session.ui.clearPreviewButton)
    yield pause(0.3)
    session.checks.equal(f"a preview leaves the visibility {whose} alone", _visible(node), wanted)
    yield from session.run(session.ui.applyButton)
    yield pause(0.5)
    session.checks.equal(f"a run leaves the visibility {whose} alone", _visible(node), wanted)


def _apply(session: Session, abdomen: Abdomen) -> Steps:
    session.choose(abdomen, "; ".join(ORGANS), seconds_a_slice=0.005)
    session.choose_mode("SLICES")
    yield from session.run(session.ui.applyButton)
    yield pause(0.5)


def _check_visible(session: Session, abdomen: Abdomen, when: str) -> Steps:
    nodes = segmentations(slicer.mrmlScene)
    found = [name for node in nodes for name in segment_ids(node)]
    session.checks.equal(f"all organs are found {when}", sorted(found), sorted(ORGANS))
    hidden = [name for node in nodes for name in _hidden(node)]
    session.checks.equal(f"segments that were found are visible {when}", hidden or "all", "all")
    red = shown_views().get("Red") or next(iter(shown_views().values()))
    drawn = {}
    for organ in found:
        show_place(abdomen.middle(organ))
        yield pause(0.3)
        drawn[organ] = colored(red, session.colors([organ]))
    absent = [organ for organ, pixels in drawn.items() if not pixels]
    session.checks.equal(f"segments that were found are drawn {when}", absent or "all", "all")


def _visible(node: Any) -> dict[str, bool]:
    display = node.GetDisplayNode()
    return {name: bool(display.GetSegmentVisibility(one)) for name, one in segment_ids(node).items()}


def _hidden(node: Any) -> list[str]:
    """Segments out of sight, or all where the node is."""
    if not node.GetDisplayVisibility():
        return list(segment_ids(node))
    return [name for name, is_visible in _visible(node).items() if not is_visible]
