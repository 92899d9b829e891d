"""Writing is done as a whole or not at all: what a failure, a newer run or a closed scene leaves behind."""

from __future__ import annotations

import time

import numpy as np
import pytest

from MedSAM3SceneLib.editing.overwrite import replace_content
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.engine.local_engine import LocalEngine
from MedSAM3SceneLib.mrml.labelmaps import labelmap_on_lattice
from MedSAM3SceneLib.requests.build import build_task
from MedSAM3SceneLib.requests.console import parse_spec
from MedSAM3SceneLib.runs.edit_actions import EditAction
from MedSAM3SceneLib.runs.listener import RunListener
from MedSAM3SceneLib.runs.run import RunState, run_to_end
from MedSAM3SceneLib.runs.segmentation_run import SegmentationRun
from MedSAM3SceneLib.segments import edited_slices
from MedSAM3SceneLib.segments.edited_slices import read_written, written_slices
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from support.effect_actions import SHAPE, TRUTH, EditorLogic, Setting, box
from support.effect_actions import begin as begin_edit
from support.nodes import add_segmentation, add_volume, misplaced, snapshot

pytestmark = pytest.mark.usefixtures("scene")

WHY = "A newer run took the place of this one; nothing was written."
CONCEPTS = ("liver", "left kidney")
LATTICE = np.diag([-0.8, -0.8, 2.5, 1.0])


def phantom(name="ct"):
    array = np.zeros((6, 9, 10), np.int16)
    array[1:5, 1:5, 1:6] = 1
    array[2:5, 6:8, 5:9] = 2
    return add_volume(array, ijk_to_ras=LATTICE, name=name), array


def begin(volume, writer, segmentation=None, **options):
    jobs = LocalEngine(FakeSegmenter({"liver": 1, "left kidney": 2}))
    return SegmentationRun(build_task(parse_spec(volume, CONCEPTS, segmentation, **options)), jobs, writer)


def scene_content(scene):
    """Everything a user can see: nodes with their names, and what segmentations hold and are edited on."""
    nodes = [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]
    # Slicer makes these itself, and shows them nowhere.
    own = ("vtkMRMLSegmentEditorNode", "vtkMRMLSubjectHierarchyNode")
    seen = [(node.GetClassName(), node.GetName()) for node in nodes if node.GetClassName() not in own]
    drawn = [
        (
            snapshot(node),
            node.GetSegmentation().GetSourceRepresentationName(),
            node.GetSegmentation().GetConversionParameter("Reference image geometry"),
            node.GetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole()),
        )
        for node in nodes
        if node.IsA("vtkMRMLSegmentationNode")
    ]
    return seen, drawn


def targets(volume, array):
    """Where a run may write: a new node, one that has segments, one that has none, one of surfaces."""
    import slicer

    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    empty.CreateDefaultDisplayNodes()
    surfaces = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "surfaces")
    surfaces.CreateDefaultDisplayNodes()
    surfaces.GetSegmentation().SetSourceRepresentationName("Closed surface")
    return {"new": None, "drawn": add_segmentation(volume, {"mine": array == 2}), "empty": empty, "surfaces": surfaces}


def fail_at(monkeypatch, number, error=MemoryError):
    """Let the writing of segment ``number`` (from 1) fail."""
    write, calls = SegmentWriter.write, []

    def failing(self, *arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise error("no room")
        return write(self, *arguments)

    monkeypatch.setattr(SegmentWriter, "write", failing)


def advance_into_writing(run, scene, before):
    """Take single steps until the first of several segments is written."""
    for _ in range(5000):
        run.advance(0)
        assert not run.ended
        if run.state is RunState.WRITING and any(name == "liver" for name in names_in(scene) - before):
            return
    raise AssertionError("the run never wrote")


def names_in(scene):
    nodes = [
        scene.GetNthNodeByClass(number, "vtkMRMLSegmentationNode")
        for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"))
    ]
    return {
        node.GetSegmentation().GetSegment(segment_id).GetName()
        for node in nodes
        for segment_id in node.GetSegmentation().GetSegmentIDs()
    }


@pytest.mark.parametrize("kind", ["new", "drawn", "empty", "surfaces"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_failure_while_writing_leaves_the_scene_as_it_was(scene, monkeypatch, kind, number):
    volume, array = phantom()
    target = targets(volume, array)[kind]
    before = scene_content(scene)
    writer = SegmentWriter()
    run = begin(volume, writer, target)
    fail_at(monkeypatch, number)

    with pytest.raises(MemoryError):
        run_to_end(run, lambda: None)

    assert scene_content(scene) == before
    assert run.written is None
    assert not writer.can_undo
    assert not writer.can_redo
    monkeypatch.undo()
    again = begin(volume, writer, target)
    run_to_end(again, lambda: None)
    segment_ids = [part.segment_id for part in again.written.concepts]
    for value, segment_id in enumerate(segment_ids, start=1):
        assert misplaced(again.written.segmentation_node, segment_id, volume, array == value) == 0


def test_a_failure_leaves_what_earlier_runs_can_undo_and_redo(monkeypatch):
    volume, array = phantom()
    node = add_segmentation(volume, {"mine": array == 2})
    writer = SegmentWriter()
    states = [snapshot(node)]
    run_to_end(begin(volume, writer, node), lambda: None)
    states.append(snapshot(node))
    fail_at(monkeypatch, 2)

    with pytest.raises(MemoryError):
        run_to_end(begin(volume, writer, node), lambda: None)

    assert snapshot(node) == states[1]
    assert not writer.redo(), "half a result does not come back"
    assert writer.undo()
    assert snapshot(node) == states[0]
    assert writer.redo()
    assert snapshot(node) == states[1]
    assert not writer.redo(), "half a result does not come back"
    assert snapshot(node) == states[1]


def test_a_failure_of_another_undo_history_leaves_no_new_node(scene):
    volume, _ = phantom()
    before = scene_content(scene)
    task = build_task(parse_spec(volume, CONCEPTS), save_state=lambda: (_ for _ in ()).throw(RuntimeError("no editor")))
    run = SegmentationRun(task, LocalEngine(FakeSegmenter({"liver": 1})), SegmentWriter())

    with pytest.raises(RuntimeError, match="no editor"):
        run_to_end(run, lambda: None)

    assert scene_content(scene) == before


@pytest.mark.parametrize("kind", ["new", "drawn", "empty"])
def test_a_run_that_is_abandoned_while_it_writes_leaves_nothing(scene, kind):
    volume, array = phantom()
    target = targets(volume, array)[kind]
    before, names = scene_content(scene), names_in(scene)
    run = begin(volume, SegmentWriter(), target)
    advance_into_writing(run, scene, names)

    run.abandon(WHY)

    assert run.state is RunState.CANCELLED
    assert str(run.error) == WHY
    assert run.written is None
    assert scene_content(scene) == before


def test_a_run_abandoned_at_any_step_keeps_earlier_results_undo_and_redo():
    volume, array = phantom()
    for steps in range(1000):
        node = add_segmentation(volume, {"mine": array == 2})
        writer = SegmentWriter()
        states = [snapshot(node)]
        run_to_end(begin(volume, writer, node), lambda: None)
        states.append(snapshot(node))
        run = begin(volume, writer, node)
        while run.state is not RunState.WRITING:
            run.advance(0)
        for _ in range(steps):
            run.advance(0)
        if run.ended:
            break

        run.abandon(WHY)

        if run.state is RunState.DONE:
            break  # all was written, and nobody had heard of it yet
        assert snapshot(node) == states[1]
        assert writer.undo()
        assert snapshot(node) == states[0]
        assert writer.redo()
        assert snapshot(node) == states[1]
    assert steps > 1
    assert run.state is RunState.DONE


def test_a_run_that_has_written_all_is_done_however_it_is_ended():
    volume, array = phantom()
    node, writer = add_segmentation(volume, {"mine": array == 2}), SegmentWriter()
    heard = []
    listener = RunListener(ended=lambda run: heard.append(run.state))
    task = build_task(parse_spec(volume, CONCEPTS, node))
    run = SegmentationRun(task, LocalEngine(FakeSegmenter({"liver": 1, "left kidney": 2})), writer, listener)
    while run.written is None:
        assert run.advance(0)
    assert not heard

    run.abandon(WHY)

    assert heard == [RunState.DONE]
    assert {"mine", "liver"} <= names_in(volume.GetScene())
    assert writer.undo()
    assert names_in(volume.GetScene()) == {"mine"}


def test_a_run_stopped_before_any_change_keeps_the_redo_history():
    volume, array = phantom()
    node = add_segmentation(volume, {"mine": array == 2})
    writer = SegmentWriter()
    states = [snapshot(node)]
    for _ in range(2):
        run_to_end(begin(volume, writer, node), lambda: None)
        states.append(snapshot(node))
    assert writer.undo()
    run = begin(volume, writer, node)
    while run.state is not RunState.WRITING:
        run.advance(0)

    run.abandon(WHY)

    assert snapshot(node) == states[1]
    assert writer.redo()
    assert snapshot(node) == states[2]


def test_a_run_that_is_abandoned_from_within_its_own_step_leaves_nothing(scene):
    """As when a change of the scene that it makes lets somebody begin a newer run."""
    volume, array = phantom()
    node = add_segmentation(volume, {"mine": array == 2})
    before = scene_content(scene)
    run = begin(volume, SegmentWriter(), node)
    segmentation = node.GetSegmentation()
    tag = segmentation.AddObserver(segmentation.SegmentAdded, lambda *_: run.abandon(WHY))

    with pytest.raises(Cancelled, match="newer run"):
        run_to_end(run, lambda: None)
    segmentation.RemoveObserver(tag)

    assert scene_content(scene) == before


@pytest.mark.parametrize("kind", ["new", "drawn"])
@pytest.mark.parametrize("what", ["segmentation", "scene"])
def test_what_is_removed_while_it_is_written_ends_the_run(scene, kind, what):
    volume, array = phantom()
    target = targets(volume, array)[kind]
    run = begin(volume, SegmentWriter(), target)
    advance_into_writing(run, scene, names_in(scene))
    count = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    last = scene.GetNthNodeByClass(count - 1, "vtkMRMLSegmentationNode")

    if what == "scene":
        scene.Clear(False)
    else:
        scene.RemoveNode(target or last)
    nodes = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    with pytest.raises(Cancelled, match="removed"):
        run_to_end(run, lambda: None)

    assert run.written is None
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == nodes


@pytest.mark.parametrize("shared", [True, False])
def test_two_runs_that_write_at_the_same_time_write_each_into_its_own_node(scene, shared):
    """As when the console waits for one while the timer advances another, of its own logic or of the panel's."""
    writer = SegmentWriter()
    (first, array), (second, _) = phantom("first"), phantom("second")
    one, two = begin(first, writer), begin(second, writer if shared else SegmentWriter())
    advance_into_writing(one, scene, set())

    for _ in range(200):
        two.advance(0)
    run_to_end(one, lambda: None)
    run_to_end(two, lambda: None)

    for run, volume in ((one, first), (two, second)):
        for value, part in enumerate(run.written.concepts, start=1):
            assert misplaced(run.written.segmentation_node, part.segment_id, volume, array == value) == 0


def test_an_abandoned_run_does_not_block_the_runs_of_the_next_scene(scene):
    left = begin(phantom()[0], SegmentWriter())
    advance_into_writing(left, scene, set())
    scene.Clear(False)

    volume, array = phantom()
    run = begin(volume, SegmentWriter())
    for _ in range(2000):
        if not run.advance(0):
            break

    assert run.state is RunState.DONE
    assert misplaced(run.written.segmentation_node, run.written.concepts[0].segment_id, volume, array == 1) == 0
    assert not left.ended
    left.abandon(WHY)
    assert misplaced(run.written.segmentation_node, run.written.concepts[1].segment_id, volume, array == 2) == 0


def whole_volume(setting, logic=None):
    return begin_edit(logic or setting.logic, "liver", EditAction.WHOLE_VOLUME, setting.segmenter)


def memory_of(setting):
    return read_written(setting.segmentation.GetSegmentation().GetSegment("liver"))


@pytest.mark.parametrize("masked", [False, True])
def test_a_stopped_action_of_the_effect_keeps_voxels_and_memory_together(masked, monkeypatch):
    """Written means remembered, too, so that the next action takes nothing of it for drawn."""
    hashed = edited_slices.slice_checksums
    monkeypatch.setattr(edited_slices, "slice_checksums", lambda *given: (time.sleep(0.05), hashed(*given))[1])
    half = TRUTH.copy()
    half[:, :4] = False
    setting = Setting(half=half)
    if masked:
        setting.logic.editor.SetMaskMode(setting.segmentation.EditAllowedInsideSingleSegment)
        setting.logic.editor.SetMaskSegmentID("half")
    run = whole_volume(setting)
    for _ in range(5000):
        if run.changed or not run.advance(0):
            break
    assert run.changed

    run.abandon("Another segment or volume was selected; nothing was written.")

    held = half if masked else TRUTH
    assert (setting.held == held).all()
    assert run.state is RunState.DONE
    assert run.error is None
    stack = SliceStack.along(VoxelGrid(SHAPE, setting.lattice), Plane.ACQUIRED)
    assert memory_of(setting).checksums == written_slices(held, stack).checksums
    with pytest.raises(InputError, match="No slice of 'liver' was drawn"):
        setting.act(EditAction.PROPAGATE)


class SelectsAnother(EditorLogic):
    """An editor in which writing lets another segment be selected, which breaks the action off."""

    run = None

    def add_voxels(self, segment_id, labelmap):
        super().add_voxels(segment_id, labelmap)
        self.run.abandon("Another segment or volume was selected; nothing was written.")


def test_an_action_that_is_broken_off_by_its_own_writing_is_told_as_done():
    setting = Setting()
    logic = SelectsAnother(setting.segmentation, setting.volume)
    run = logic.run = whole_volume(setting, logic)

    run_to_end(run, lambda: None)

    assert run.state is RunState.DONE
    assert (setting.held == TRUTH).all()
    assert memory_of(setting) is not None


def test_an_action_that_is_broken_off_before_it_writes_changes_nothing():
    setting = Setting()
    before = snapshot(setting.segmentation)
    run = whole_volume(setting)
    run.advance(0)

    run.abandon("Another segment or volume was selected; nothing was written.")

    assert not run.advance()
    assert run.state is RunState.CANCELLED
    assert snapshot(setting.segmentation) == before
    assert memory_of(setting) is None


@pytest.mark.parametrize("has_other", [True, False])
def test_an_action_writes_nothing_into_a_segmentation_selected_meanwhile(has_other):
    """Its segments may have the same IDs."""
    setting = Setting(liver=box((1, 1, 1), (2, 2, 2)))
    other = add_segmentation(setting.volume, {"liver": box((5, 5, 5), (6, 6, 6))})
    before = snapshot(setting.segmentation), snapshot(other)
    run = begin_edit(setting.logic, "liver", EditAction.WHOLE_VOLUME, setting.segmenter)
    while run.state is not RunState.SEGMENTING:
        assert run.advance(0)

    setting.logic.editor.SetAndObserveSegmentationNode(other if has_other else None)
    with pytest.raises(Cancelled, match="Another segmentation was selected"):
        run_to_end(run, lambda: None)

    assert (snapshot(setting.segmentation), snapshot(other)) == before
    assert setting.logic.calls == []


def test_an_editor_that_refuses_keeps_segments_and_the_users_settings():
    setting = Setting(liver=box((0, 0, 0), (2, 2, 2)), spleen=box((3, 3, 3), (5, 5, 5)))
    editor = setting.logic.editor
    editor.SetOverwriteMode(editor.OverwriteAllSegments)
    editor.SetMaskMode(setting.segmentation.EditAllowedOutsideAllSegments)
    finer = np.diag([0.5, 0.5, 1, 1.0])
    labelmap = labelmap_on_lattice(np.ones((4, 4, 4), bool), finer, finer)
    before = snapshot(setting.segmentation)

    class Refusing:
        def add_voxels(self, *_):
            raise RuntimeError("another segment is selected by now")

        def remove_voxels(self, *_):
            raise AssertionError("nothing was written that could overwrite")

    with pytest.raises(RuntimeError, match="another segment"):
        replace_content(editor, "liver", labelmap, labelmap, Refusing())

    assert editor.GetOverwriteMode() == editor.OverwriteAllSegments
    assert editor.GetMaskMode() == setting.segmentation.EditAllowedOutsideAllSegments
    assert snapshot(setting.segmentation) == before
