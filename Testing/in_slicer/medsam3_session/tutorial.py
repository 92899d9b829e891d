"""The tutorial of the README, step by step on the default layout, as a person goes through it."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from .abdomen import Abdomen, held, sample_as_shown, segment_ids, segmentations
from .drawing import PROMPTLY, drag_slider, inner_slider
from .error_log import ErrorLog
from .session import Session, Stopwatch
from .steps import Steps, Until, pause
from .views import colored, drag, pixel_of, show_place, shown_views

_SAMPLE = "MedSAM3SyntheticCT"
_CONCEPTS = ("liver", "left kidney", "aorta")

#: The organ that is corrected.
_EDITED = "left kidney"


def check_tutorial(session: Session) -> Steps:
    """All steps, and what was logged meanwhile."""
    session.close_scene()
    yield pause(1.0)
    log = ErrorLog()
    yield from load_sample(session)
    abdomen = sample_as_shown(slicer.util.getNode(_SAMPLE))
    yield from _segment(session, abdomen)
    yield from _threshold(session, abdomen)
    node = segmentations(slicer.mrmlScene)[0]
    yield from _correct(session, abdomen, node)
    yield from _this_slice(session, abdomen)
    session.close_scene()
    yield pause(1.0)
    session.checks.equal("windows that spoke up during the tutorial", session.dialogs.said, [])
    log.check(session.checks, [*_CONCEPTS, _SAMPLE, "MedSAM3 preview"])
    yield from _other_ways_to_the_sample(session)


def load_sample(session: Session) -> Steps:
    """1. Load the sample by its button."""
    slicer.util.selectModule("SampleData")
    yield pause(0.5)
    parent = slicer.util.getModule("SampleData").widgetRepresentation()
    buttons = [child for child in slicer.util.findChildren(parent, text=_SAMPLE) if hasattr(child, "click")]
    session.checks.equal("1 the sample has a button", len(buttons), 1)
    buttons[0].click()
    yield Until(lambda: slicer.mrmlScene.GetFirstNodeByName(_SAMPLE) is not None, "a sample")
    yield pause(1.0)


def _segment(session: Session, abdomen: Abdomen) -> Steps:
    """2 to 4. Panel, preview, Apply, results."""
    checks = session.checks
    session.open_panel()
    yield pause(0.5)
    ui, colors = session.ui, session.colors(_CONCEPTS)
    checks.equal("3 the sample is the volume already", ui.volumeSelector.currentNode() is abdomen.node, True)
    session.choose(abdomen, "\n".join(_CONCEPTS))
    red = shown_views()["Red"]
    show_place(abdomen.middle("liver", "left kidney"))
    session.choose_view("Red")
    yield pause(0.5)
    yield from session.run(ui.previewButton)
    watch = Stopwatch()
    while not colored(red, colors) and watch.milliseconds < 10 * PROMPTLY:
        yield pause(0.0)
    checks.at_most("4 Preview slice shows in Red", watch.milliseconds, PROMPTLY, "ms after the answer")
    checks.equal("4 Preview slice writes nothing", len(segmentations(slicer.mrmlScene)), 0)

    session.press(ui.applyButton)
    most = 0
    while session.panel.is_busy:
        yield pause(0.05)
        most = max(most, colored(red, colors) if session.panel.is_busy else 0)
    checks.check("4 slices appear as they are finished", most > 0, f"{most} coloured pixels in Red at most")
    yield pause(0.5)
    (node,) = segmentations(slicer.mrmlScene)
    checks.equal("4 each phrase that was found becomes a segment", list(segment_ids(node)), list(_CONCEPTS))
    checks.check("4 segments are drawn in Red", colored(red, colors) > 0, f"{colored(red, colors)} coloured pixels")
    table = ui.resultsTable
    rows = [[table.item(row, column).text() for column in range(4)] for row in range(table.rowCount)]
    checks.equal("4 the table says what was found", [row[0] for row in rows], list(_CONCEPTS))
    checks.check("4 table and segments agree in millilitres", *_millilitres(abdomen, node, rows))
    before = red.mrmlSliceNode().GetSliceOffset()
    session.panel.results.go_to_slice(5)
    yield pause(0.3)
    checks.check("4 the plot jumps to a slice", red.mrmlSliceNode().GetSliceOffset() != before, "slice 5")
    ui.show3DButton.toggle()
    yield pause(2.0)
    has_surface = all(
        node.GetClosedSurfaceInternalRepresentation(one) is not None for one in segment_ids(node).values()
    )
    checks.check("4 Show 3D makes surfaces", has_surface, f"{len(_CONCEPTS)} segments")
    ui.show3DButton.toggle()
    yield pause(0.5)


def _threshold(session: Session, abdomen: Abdomen) -> Steps:
    """5. Threshold, Undo."""
    ui = session.ui
    (node,) = segmentations(slicer.mrmlScene)
    before = _voxels(node, abdomen)
    let_go = drag_slider(inner_slider(ui.thresholdSlider), 0.95)
    yield pause(1.0)
    let_go()
    yield Until(lambda: not session.panel.is_busy, "an end of the threshold's writing")
    yield pause(0.3)
    after = _voxels(node, abdomen)
    session.checks.check("5 the segments follow the threshold", after != before, f"{before} voxels, {after} after it")
    session.press(ui.undoButton)
    yield pause(0.3)
    session.checks.equal("5 Undo takes it back", _voxels(node, abdomen), before)


def _correct(session: Session, abdomen: Abdomen, node: Any) -> Steps:
    """6. A slice is corrected and carried on; then a box is answered, by the button and at once."""
    checks = session.checks
    segment_id = segment_ids(node)[_EDITED]
    mask = held(node, segment_id, abdomen.node)
    index = int(mask.sum((1, 2)).argmax())
    edited = mask.copy()
    edited[index] &= np.arange(mask.shape[2]) > int(np.argwhere(mask[index])[:, 1].mean())
    editor, effect = session.open_effect(node, abdomen.node, segment_id)
    yield pause(0.5)
    editor.saveStateForUndo()
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited.astype(np.uint8), node, segment_id, abdomen.node)
    yield pause(0.3)
    yield from session.act(effect, effect.options.propagateButton)
    kept = (held(node, segment_id, abdomen.node)[index] == edited[index]).all()
    checks.check("6 a corrected slice stays as it was left", kept, f"slice {index}: {effect.options.messageLabel.text}")

    red = shown_views()["Red"]
    show_place(abdomen.middle(_EDITED))
    yield pause(0.5)
    drag(red, *_box_around(red, abdomen))
    yield pause(0.3)
    checks.equal("6 a box is drawn", effect.options.promptList.count, 1)
    before = held(node, segment_id, abdomen.node)
    yield from session.act(effect, effect.options.sliceButton)
    changed = int((held(node, segment_id, abdomen.node) != before).sum())
    checks.check("6 This slice answers it", changed > 0, f"{changed} voxels: {effect.options.messageLabel.text}")
    effect.options.atOnceBox.click()
    drag(red, *_box_around(red, abdomen, more=25))
    yield pause(0.3)
    yield Until(lambda: not effect.session.is_running, "an answer at once")
    checks.equal("6 a box is answered at once", effect.options.promptList.count, 2)
    effect.options.atOnceBox.click()
    editor.undo()
    yield pause(0.3)
    editor.setActiveEffect(None)


def _this_slice(session: Session, abdomen: Abdomen) -> Steps:
    """6. The panel's mode *This slice*, in the view as it is."""
    session.open_panel()
    session.choose(abdomen, "liver")
    session.choose_mode("THIS_SLICE")
    session.choose_view("Red")
    said = len(session.dialogs.said)
    yield from session.run(session.ui.applyButton)
    yield pause(0.5)
    errors = [words for words in session.dialogs.said[said:] if "oblique" in words]
    session.checks.equal("6 the mode This slice takes the view as the sample shows it", errors, [])
    session.choose_mode("SLICES")


def _other_ways_to_the_sample(session: Session) -> Steps:
    """By the functions of Slicer's Sample Data module."""
    import SampleData

    for way in ("downloadSample", "downloadSamples"):
        session.close_scene()
        try:
            given = getattr(SampleData, way)(_SAMPLE)
        except Exception as error:
            given = f"{type(error).__name__}: {error}"
        yield pause(0.3)
        is_there = slicer.mrmlScene.GetFirstNodeByName(_SAMPLE) is not None
        session.checks.check(f"1 the sample is loaded by SampleData.{way}", is_there, given)
    session.close_scene()


def _millilitres(abdomen: Abdomen, node: Any, rows: list[list[str]]) -> tuple[bool, str]:
    voxel = float(np.abs(np.linalg.det(abdomen.ijk_to_ras[:3, :3]))) / 1000
    ids = segment_ids(node)
    pairs = [(row[3], held(node, ids[row[0]], abdomen.node).sum() * voxel) for row in rows if row[0] in ids]
    # What is cut off has at least so much.
    agree = all(abs(float(told.removeprefix("≥ ")) - true) < 0.06 for told, true in pairs)
    return agree, ", ".join(f"{told} {true:.1f}" for told, true in pairs)


def _voxels(node: Any, abdomen: Abdomen) -> int:
    return sum(int(held(node, one, abdomen.node).sum()) for one in segment_ids(node).values())


def _box_around(widget: Any, abdomen: Abdomen, more: int = 0) -> tuple[tuple[int, int], tuple[int, int]]:
    """Two corners of a box around the corrected organ in a view."""
    middle = abdomen.middle(_EDITED)
    k = round(float((np.linalg.inv(abdomen.ijk_to_ras) @ [*middle, 1.0])[2]))
    places = np.argwhere(abdomen.mask(_EDITED)[k])
    corners = [(*places.min(0), k), (*places.max(0), k)]
    pixels = [pixel_of(widget, (abdomen.ijk_to_ras @ [i, j, at, 1.0])[:3]) for j, i, at in corners]
    (left, low), (right, high) = np.min(pixels, axis=0) - 4 - more, np.max(pixels, axis=0) + 4 + more
    return (int(left), int(low)), (int(right), int(high))
