"""Typed commands: voxels, undo and how long the window stands still; and segmentations beside each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from .abdomen import Abdomen, add_abdomen, add_large_abdomen, are_equal, contents, segment_ids
from .session import Session
from .steps import Steps, Until, pause
from .views import colored
from .window_gaps import Meter

#: What is typed into the panel, one after the other.
_TYPED = (
    "shrink the liver 2 mm",
    "grow the spleen 2 mm; smooth 3 mm; keep the largest",
    "fill holes in the liver",
    "smooth the liver 3 mm; only above 40 HU",
    "invert the spleen",
    "clear the spleen",
)


def check_commands(session: Session) -> Steps:
    """On the sample, in the panel and in the effect."""
    yield from _in_panel(session, add_abdomen, "sample 48x128x128")
    yield from _in_effect(session)


def check_large_commands(session: Session) -> Steps:
    """In the panel, on a large CT."""
    yield from _in_panel(session, add_large_abdomen, "CT 300x512x512")


def check_beside(session: Session) -> Steps:
    """Two segmentations are drawn beside each other, and the layout comes back."""
    from MedSAM3AgentSceneLib.comparison.compare_rounds import BesideView, compare_segmentations
    from MedSAM3AgentSceneLib.editing.run_command import run_command

    abdomen, first = yield from _segmented(session, add_abdomen)
    second = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "second")
    second.CreateDefaultDisplayNodes()
    second.GetSegmentation().DeepCopy(first.GetSegmentation())
    run_command(second, "grow the liver 4 mm; shrink the spleen 4 mm")
    compared = {one.name: one for one in compare_segmentations(first, second)}
    session.checks.check(
        "rounds are compared", compared["liver"].added_ml > 0 < compared["spleen"].removed_ml, compared["liver"]
    )
    manager = slicer.app.layoutManager()
    before = manager.layout, sorted(manager.sliceViewNames())
    view = BesideView()
    view.show(first, second, abdomen.node)
    yield pause(1.5)
    widgets = [manager.sliceWidget(name) for name in ("MedSAM3First", "MedSAM3Second")]
    session.checks.check("both views are shown", all(one is not None and one.visible for one in widgets), widgets)
    for widget in widgets:
        pixels = colored(widget, [color for _, color in view.legend])
        session.checks.check(f"differences are drawn in {widget.sliceViewName}", pixels > 100, pixels)
    offset = widgets[0].mrmlSliceNode().GetSliceOffset()
    # Links follow what a person does.
    widgets[0].sliceController().setSliceOffsetValue(offset + 6.0)
    yield pause(0.5)
    moved = widgets[1].mrmlSliceNode().GetSliceOffset()
    session.checks.check("the views move together", abs(moved - offset - 6.0) < 1e-3, f"{offset} to {moved}")
    slicer.util.mainWindow().grab().save(f"{slicer.app.temporaryPath}/medsam3-beside.png")
    view.hide()
    yield pause(0.5)
    session.checks.equal("layout and views are as before", (manager.layout, sorted(manager.sliceViewNames())), before)


def _in_panel(session: Session, add: Callable[[], Abdomen], volume: str) -> Steps:
    abdomen, node = yield from _segmented(session, add)
    line = session.panel.command.line
    session.checks.check("the panel has a line for commands", line is not None and line.widget.visible, line)
    # What is imported at first use is not measured.
    yield from _typed(line, "how big is the liver")
    before = contents(node, abdomen)
    meter = Meter(session, volume)
    try:
        for text in _TYPED:
            with meter.measured(f"'{text}'"):
                yield from _typed(line, text)
                yield pause(0.7)
        for _ in range(len(_TYPED)):
            # What changed nothing is no undo.
            if are_equal(before, contents(node, abdomen)):
                break
            with meter.measured("Undo"):
                session.panel.undo()
                yield pause(0.5)
    finally:
        meter.close()
    session.checks.check("all is as before after as many undos", are_equal(before, contents(node, abdomen)), volume)


def _in_effect(session: Session) -> Steps:
    abdomen, node = yield from _segmented(session, add_abdomen)
    ids = segment_ids(node)
    editor, effect = session.open_effect(node, abdomen.node, ids["liver"])
    yield pause(0.5)
    line = effect.options.command
    before = contents(node, abdomen)
    yield from _typed(line, "shrink 3 mm")
    shrunk = contents(node, abdomen)
    session.checks.check(
        "the effect's line changes the selected segment", not are_equal(before, shrunk), line.label.text
    )
    editor.undo()
    session.checks.check("Segment Editor's Undo takes it back", are_equal(before, contents(node, abdomen)), "")
    line.redoButton.click()
    session.checks.check("the line's Redo does it again", are_equal(shrunk, contents(node, abdomen)), line.label.text)
    slicer.util.mainWindow().grab().save(f"{slicer.app.temporaryPath}/medsam3-effect.png")
    editor.setActiveEffect(None)
    session.open_panel()


def _segmented(session: Session, add: Callable[[], Abdomen]) -> Steps:
    session.close_scene()
    session.open_panel()
    abdomen = add()
    session.choose(abdomen, "liver; spleen", seconds_a_slice=0.001)
    session.choose_mode("SLICES")
    yield pause(0.5)
    yield from session.run(session.ui.applyButton)
    yield pause(0.5)
    return abdomen, session.ui.segmentationSelector.currentNode()


def _typed(line: Any, text: str) -> Steps:
    line.edit.text = text
    line.run()
    yield Until(lambda: not line.is_busy, f"an end of '{text}'", 300)
