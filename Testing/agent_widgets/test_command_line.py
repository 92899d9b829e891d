"""The line for commands: typed, completed, undone; in a panel, and in the effect with the Segment Editor's own undo."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from MedSAM3AgentLib.editing.apply import apply_commands
from MedSAM3SceneLib.segments.completed import COMPLETED, STATUS_TAG
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from support.effect import LATTICE as EFFECT_LATTICE
from support.effect import LIVER, SHAPE, SPLEEN, open_effect
from support.nodes import add_segmentation, misplaced, segments, snapshot
from support.panel import LATTICE, open_panel, phantom, run


def line_on(bench, target, **options):
    """A command line in a window of its own."""
    import qt

    from MedSAM3AgentWidgetsLib.command_line import CommandLine

    window = qt.QWidget()
    line = CommandLine(window, target, **options)
    window.show()
    bench.app.processEvents()
    # Whoever makes the window holds it.
    line.bench_window = window
    return line


@pytest.fixture
def drawn(bench):
    """A volume with a segmentation of two organs, and the line for it."""
    volume, array = phantom()
    segmentation = add_segmentation(volume, {"liver": array == 1, "left kidney": array == 2})
    line = line_on(bench, lambda: segmentation)
    yield volume, segmentation, array == 1, line
    line.close()
    line.bench_window.close()


def type_and_return(bench, line, text: str) -> None:
    line.edit.text = text
    line.edit.returnPressed.emit()
    bench.wait(lambda: not line.is_busy)


def said(line) -> str:
    return str(line.label.text)


def test_return_does_what_is_typed_and_says_what_was_understood(bench, drawn):
    volume, segmentation, liver, line = drawn
    before = snapshot(segmentation)
    type_and_return(bench, line, "keep the largest of it; shrink the liver 2 mm")
    assert "not understood; the nearest command is 'keep the largest'" in said(line)
    assert snapshot(segmentation) == before

    type_and_return(bench, line, "shrink the liver 2 mm; fill holes")
    wanted = apply_commands(liver, VoxelGrid(liver.shape, LATTICE), "shrink 2 mm; fill holes").mask
    assert misplaced(segmentation, "liver", volume, wanted) == 0
    assert said(line).startswith("liver: shrink by 2 mm.\nliver: fill holes.")
    after = snapshot(segmentation)

    line.undoButton.click()
    assert (snapshot(segmentation), said(line)) == (before, "Undone.")
    line.undoButton.click()
    assert said(line) == "There is nothing to undo."
    line.redoButton.click()
    assert snapshot(segmentation) == after
    line.redoButton.click()
    assert said(line) == "There is nothing to redo."


def test_several_segments_need_a_name(bench, drawn):
    _, segmentation, _, line = drawn
    before = snapshot(segmentation)
    type_and_return(bench, line, "shrink 2 mm")
    assert "several segments" in said(line)
    assert "'left kidney'" in said(line)
    assert snapshot(segmentation) == before


def test_without_a_segmentation_that_is_said(bench):
    line = line_on(bench, lambda: None)
    type_and_return(bench, line, "shrink 2 mm")
    assert "no segmentation" in said(line)
    line.close()


def test_names_are_shown_as_plain_text(bench, drawn):
    _, segmentation, _, line = drawn
    segmentation.GetSegmentation().GetSegment("liver").SetName("<b>x</b>")
    type_and_return(bench, line, "shrink 2 mm")
    import qt

    assert "<b>x</b>" in said(line)
    assert line.label.textFormat == qt.Qt.PlainText


def test_what_is_typed_is_completed_with_the_names_of_segments(bench, drawn):
    from PySide6.QtTest import QTest

    _, _, _, line = drawn
    line.edit.setFocus()
    QTest.keyClicks(line.edit, "shrink the left k")
    bench.wait(lambda: not line._loading.is_busy)
    assert "shrink the left kidney 2 mm" in line._offered.stringList()
    assert line.edit.completer().completionModel().rowCount() == len(line._offered.stringList()) > 0
    QTest.keyClicks(line.edit, "zzz")
    assert list(line._offered.stringList()) == []


def test_a_completed_segment_is_asked_for(bench, drawn):
    _, segmentation, _, line = drawn
    segmentation.GetSegmentation().GetSegment("liver").SetTag(STATUS_TAG, COMPLETED)
    before = snapshot(segmentation)
    bench.dialogs.confirm = False
    type_and_return(bench, line, "shrink the liver 2 mm")
    assert "completed" in said(line)
    assert snapshot(segmentation) == before
    bench.dialogs.confirm = True
    type_and_return(bench, line, "shrink the liver 2 mm")
    assert snapshot(segmentation) != before


def test_cancel_and_a_closed_scene_end_a_command_without_a_change(bench, drawn):
    _, segmentation, _, line = drawn
    before = snapshot(segmentation)
    line.edit.text = "grow the liver 2 mm; smooth; grow 2 mm; smooth"
    line.run()
    assert line.is_busy
    assert line.bar.visible
    assert not line.edit.enabled
    line.cancelButton.click()
    bench.wait(lambda: not line.is_busy)
    assert said(line) == "The command was cancelled; nothing was changed."
    assert snapshot(segmentation) == before
    assert line.edit.enabled
    assert not line.bar.visible

    line.run()
    bench.slicer.mrmlScene.Clear(False)
    bench.wait(lambda: not line.is_busy)
    assert "nothing was changed" in said(line)


def test_a_line_that_is_closed_in_mid_run_writes_nothing(bench, drawn):
    _, segmentation, _, line = drawn
    before = snapshot(segmentation)
    line.edit.text = "grow the liver 2 mm"
    line.run()
    line.close()
    bench.spin(0.2)
    assert snapshot(segmentation) == before


def test_it_can_be_switched_off(bench, drawn):
    _, segmentation, _, line = drawn
    before = snapshot(segmentation)
    line.set_enabled(False)
    assert not line.edit.enabled
    type_and_return(bench, line, "shrink the liver 2 mm")
    assert snapshot(segmentation) == before
    line.set_enabled(True)
    assert line.edit.enabled


def test_the_panel_has_the_line_and_its_undo_takes_commands_back(bench):
    volume, array = phantom()
    widget = open_panel(bench)
    run(bench, widget)
    segmentation = widget.panel.form.parameters.segmentation
    before = snapshot(segmentation)
    line = widget.panel.command.line
    assert line.widget.visible
    assert not line.undoButton.visible
    type_and_return(bench, line, "shrink the liver 2 mm")
    wanted = apply_commands(array == 1, VoxelGrid(array.shape, LATTICE), "shrink 2 mm").mask
    liver = segments(segmentation)["liver"]
    assert misplaced(segmentation, liver, volume, wanted) == 0
    widget.ui.undoButton.click()
    assert snapshot(segmentation) == before
    widget.ui.redoButton.click()
    assert misplaced(segmentation, liver, volume, wanted) == 0


def test_the_effect_has_the_line_for_the_selected_segment_with_the_editors_undo(bench):
    opened = open_effect(bench)
    opened.editor.widget.setCurrentSegmentID("spleen")
    line = opened.effect.options.command
    before = snapshot(opened.segmentation)
    type_and_return(bench, line, "shrink 2 mm")
    wanted = apply_commands(SPLEEN, VoxelGrid(SHAPE, EFFECT_LATTICE), "shrink 2 mm").mask
    assert misplaced(opened.segmentation, "spleen", opened.volume, wanted) == 0
    assert said(line).startswith("spleen: shrink by 2 mm.")
    opened.editor.undo()
    assert snapshot(opened.segmentation) == before
    line.redoButton.click()
    assert misplaced(opened.segmentation, "spleen", opened.volume, wanted) == 0
    line.undoButton.click()
    assert snapshot(opened.segmentation) == before


def test_the_effects_masking_holds_for_what_is_typed(bench):
    opened = open_effect(bench)
    opened.editor.widget.setCurrentSegmentID("spleen")
    opened.editor.node.SetSourceVolumeIntensityMask(True)
    opened.editor.node.SetSourceVolumeIntensityMaskRange(0, 0)
    line = opened.effect.options.command
    type_and_return(bench, line, "grow 3 mm")
    grown = apply_commands(SPLEEN, VoxelGrid(SHAPE, EFFECT_LATTICE), "grow 3 mm").mask
    assert misplaced(opened.segmentation, "spleen", opened.volume, SPLEEN | grown & ~LIVER) == 0


def test_leaving_the_effect_ends_a_command(bench):
    opened = open_effect(bench)
    before = snapshot(opened.segmentation)
    line = opened.effect.options.command
    line.edit.text = "grow the spleen 2 mm; smooth; smooth"
    line.run()
    opened.editor.leave()
    bench.spin(0.2)
    assert not line.is_busy
    assert snapshot(opened.segmentation) == before


def test_without_the_agents_module_there_is_no_line(bench, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("MedSAM3Agent")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if not folder.endswith("MedSAM3Agent")])
    phantom()
    widget = open_panel(bench)
    assert widget.panel.command.line is None
    assert not widget.ui.commandPlace.visible
    run(bench, widget)
    opened = open_effect(bench)
    assert opened.effect.options.command is None
    assert np.count_nonzero(LIVER)
