"""Runs as the panel and the console advance them: what they show, what they write, and what ends them."""

from __future__ import annotations

import time

import numpy as np
import pytest

from MedSAM3SceneLib.coroutines import run_steps_to_end
from MedSAM3SceneLib.editing.preview_node import PREVIEW_ATTRIBUTE, PreviewNode, remove_previews
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.engine.local_engine import LocalEngine
from MedSAM3SceneLib.mrml import volumes
from MedSAM3SceneLib.mrml.slice_planes import jump_to_slice
from MedSAM3SceneLib.mrml.volumes import read_volume_node
from MedSAM3SceneLib.requests.build import build_preview_task, build_task
from MedSAM3SceneLib.requests.console import parse_spec
from MedSAM3SceneLib.runs.listener import RunListener
from MedSAM3SceneLib.runs.run import RunState, run_to_end
from MedSAM3SceneLib.runs.segmentation_run import SegmentationRun
from MedSAM3SceneLib.runs.threshold_run import ThresholdRun
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.engine.protocol.events import (
    Done,
    Failed,
    FailureKind,
    Loading,
    Queued,
    WasCancelled,
)
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.preprocessing.windowing import choose_window
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary
from support.nodes import (
    add_segmentation,
    add_transform,
    add_volume,
    mask_in_world,
    misplaced,
    rigid,
    segment_in_world,
    segments,
    snapshot,
)

pytestmark = pytest.mark.usefixtures("scene")

LATTICE = rigid((10, 20, 30), (1, 2, 3)) @ np.diag([-0.8, -0.8, 2.5, 1])


class ScriptedJobs:
    """Jobs whose events a test decides."""

    def __init__(self):
        self.events = []
        self.cancelled = 0
        self.volume = self.request = None

    def submit(self, volume, request, *, model, device):
        del model, device
        self.volume, self.request = volume, request
        return self

    def poll(self):
        events, self.events = self.events, []
        return events

    def cancel(self):
        self.cancelled += 1

    def finish(self, values):
        self.events.append(Done(FakeSegmenter(values).segment(self.volume, self.request)))


def phantom(parent=None):
    array = np.zeros((6, 9, 10), np.int16)
    array[1:5, 1:5, 1:6] = 1
    array[2:5, 6:8, 5:9] = 2
    return add_volume(array, ijk_to_ras=LATTICE, parent=parent), array


def begin(volume, jobs, segmentation=None, told=None, **options):
    listener = RunListener(**told) if told else None
    return SegmentationRun(
        build_task(parse_spec(volume, ["liver", "left kidney"], segmentation, **options)),
        jobs,
        SegmentWriter(),
        listener,
    )


def advance_until(run, holds, **how):
    """Take steps until ``holds``; a run that never gets there fails the test."""
    until = time.monotonic() + 120
    while not holds():
        run.advance(**how)
        assert time.monotonic() < until


def previews(scene):
    nodes = [
        scene.GetNthNodeByClass(n, "vtkMRMLSegmentationNode")
        for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"))
    ]
    return [node for node in nodes if node.GetAttribute(PREVIEW_ATTRIBUTE)]


def test_a_run_goes_through_its_states_and_tells_who_listens():
    jobs, told = ScriptedJobs(), []
    volume, array = phantom()
    run = begin(volume, jobs, told={"waiting": told.append, "progress": told.append, "ended": told.append})

    advance_until(run, lambda: run.state is RunState.SEGMENTING)
    jobs.events = [Queued(2), Loading("demo")]
    advance_until(run, lambda: len(told) == 2)
    jobs.finish({"liver": 1, "left kidney": 2})
    run_to_end(run, lambda: None)

    assert told[0] == 2
    assert told[-1] is run
    assert run.state is RunState.DONE
    found = segments(run.written.segmentation_node)
    assert misplaced(run.written.segmentation_node, found["liver"], volume, array == 1) == 0


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (Failed("The model is gone.", FailureKind.MODEL), ModelError),
        (Failed("The range is wrong.", FailureKind.INPUT), InputError),
        (WasCancelled("Stopped."), Cancelled),
    ],
)
def test_a_failure_the_engine_reports_is_raised_and_nothing_is_written(scene, event, error):
    jobs = ScriptedJobs()
    volume, array = phantom()
    node = add_segmentation(volume, {"mine": array == 1})
    before = (scene.GetNumberOfNodes(), snapshot(node))
    run = begin(volume, jobs, node)
    advance_until(run, lambda: run.state is RunState.SEGMENTING)
    jobs.events = [event]

    with pytest.raises(error, match=event.message):
        run_to_end(run, lambda: None)

    assert (scene.GetNumberOfNodes(), snapshot(node)) == before


@pytest.mark.parametrize("what", ["volume", "segmentation", "scene"])
def test_a_result_for_nodes_that_are_gone_is_dropped(scene, what):
    jobs, ended = ScriptedJobs(), []
    volume, array = phantom()
    node = add_segmentation(volume, {"mine": array == 1})
    run = begin(volume, jobs, node, told={"ended": ended.append})
    advance_until(run, lambda: run.state is RunState.SEGMENTING)

    if what == "scene":
        scene.Clear(False)
    else:
        scene.RemoveNode(volume if what == "volume" else node)
    count = scene.GetNumberOfNodes()
    jobs.finish({"liver": 1})
    run_while = run.advance()

    assert run_while is False
    assert run.state is RunState.CANCELLED
    assert "removed" in str(run.error)
    assert jobs.cancelled
    assert ended == [run]
    assert scene.GetNumberOfNodes() == count


def test_a_node_with_the_same_id_in_a_new_scene_is_not_the_old_one(scene):
    """Slicer gives IDs again after a scene was closed."""
    jobs = ScriptedJobs()
    volume, _ = phantom()
    run = begin(volume, jobs)
    advance_until(run, lambda: run.state is RunState.SEGMENTING)
    scene.Clear(False)
    other, _ = phantom()
    assert other.GetID() is not None
    jobs.finish({"liver": 1})

    assert run.advance() is False

    assert run.state is RunState.CANCELLED
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_result_that_comes_after_cancel_is_dropped(scene):
    jobs = ScriptedJobs()
    run = begin(phantom()[0], jobs)
    advance_until(run, lambda: run.state is RunState.SEGMENTING)
    run.cancel()
    jobs.finish({"liver": 1})

    advance_until(run, lambda: run.ended)

    assert run.state is RunState.CANCELLED
    assert jobs.cancelled == 1
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_an_abandoned_run_hears_nothing_any_more(scene):
    jobs, ended = ScriptedJobs(), []
    run = begin(phantom()[0], jobs, told={"ended": ended.append})
    advance_until(run, lambda: run.state is RunState.SEGMENTING)

    run.abandon("The module was closed.")
    jobs.finish({"liver": 1})

    assert run.advance() is False
    assert ended == [run]
    assert str(run.error) == "The module was closed."
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_callback_that_closes_the_scene_ends_the_run(scene):
    volume, _ = phantom()
    run = begin(
        volume,
        LocalEngine(FakeSegmenter({"liver": 1})),
        told={"progress": lambda _: scene.Clear(False)},
    )

    with pytest.raises(Cancelled, match="closed"):
        run_to_end(run, lambda: None)

    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_volume_that_is_changed_while_it_is_read_is_refused(monkeypatch):
    import slicer

    begun, check = [], volumes.check_volume_node
    monkeypatch.setattr(volumes, "check_volume_node", lambda node: (begun.append(node), check(node)))
    monkeypatch.setattr(volumes, "_BYTES_A_STEP", 1)
    volume, _ = phantom()
    run = begin(volume, ScriptedJobs())

    advance_until(run, lambda: begun, budget=0)
    slicer.util.arrayFromVolume(volume)[:] = 7
    slicer.util.arrayFromVolumeModified(volume)

    with pytest.raises(InputError, match="changed while it was read"):
        run_to_end(run, lambda: None)


def test_partials_show_in_a_node_of_their_own_at_the_place_of_their_voxels(scene):
    parent = add_transform(rigid((40, 0, 15), (100, -50, 0)))
    volume, array = phantom(parent)
    node = add_segmentation(volume, {"mine": array == 2})
    before = snapshot(node)
    shown, untouched = [], []

    def show(piece):
        untouched.append(snapshot(node) == before)
        if not shown:
            color_of = Vocabulary.load().color_for
            shown.append(PreviewNode(volume, piece.placed, ["liver", "left kidney"], color_of))
        shown[0].show_slice(piece.partial.concept, piece.stack, piece.partial.slice_index, piece.partial.mask)

    run = begin(volume, LocalEngine(FakeSegmenter({"liver": 1, "left kidney": 2})), node, told={"partial": show})
    advance_until(run, lambda: run.state not in (RunState.READING, RunState.SUBMITTING, RunState.SEGMENTING))
    (preview,) = shown

    found = segments(preview.node)
    assert misplaced(preview.node, found["liver"], volume, array == 1) == 0
    assert misplaced(preview.node, found["left kidney"], volume, array == 2) == 0
    assert untouched
    assert all(untouched)
    assert not preview.node.GetSaveWithScene()
    assert preview.node.GetHideFromEditors()
    preview.remove()
    assert previews(scene) == []
    assert not preview.is_there


def test_only_one_preview_is_ever_there(scene):
    volume, _ = phantom()
    placed = read_volume_node(volume)
    for _ in range(2):
        PreviewNode(volume, placed, ["liver"], Vocabulary.load().color_for)
    assert len(previews(scene)) == 1
    remove_previews(scene)
    assert previews(scene) == []


def test_slices_are_shown_over_labels_that_were_shown_before():
    """A preview of a whole volume, and then the slices of a run as they come."""
    volume, array = phantom()
    placed = read_volume_node(volume)
    preview = PreviewNode(volume, placed, ["liver", "left kidney"], Vocabulary.load().color_for)
    labels = np.where(array == 1, 1, 0).astype(np.uint16)

    preview.show_labels(labels.transpose().copy().transpose())  # not as VTK needs it
    preview.show_slice("left kidney", SliceStack.along(placed.volume.grid), 4, array[4] == 2)

    found = segments(preview.node)
    kidney = np.zeros(array.shape, bool)
    kidney[4] = array[4] == 2
    assert misplaced(preview.node, found["liver"], volume, array == 1) == 0
    assert misplaced(preview.node, found["left kidney"], volume, kidney) == 0
    preview.show_labels(np.where(array == 2, 1, 0).astype(np.uint16))
    assert misplaced(preview.node, found["liver"], volume, array == 2) == 0


def test_the_threshold_of_a_done_run_is_moved_without_the_model_and_undone():
    segmenter = FakeSegmenter({"liver": 1, "left kidney": 2}, score=0.6)
    writer = SegmentWriter()
    volume, array = phantom()
    run = SegmentationRun(build_task(parse_spec(volume, ["liver", "left kidney"])), LocalEngine(segmenter), writer)
    run_to_end(run, lambda: None)
    node = run.written.segmentation_node
    at_first = snapshot(node)

    higher = ThresholdRun(run, 0.9, writer)
    run_to_end(higher, lambda: None)

    assert len(segmenter.requests) == 1
    assert [concept.found for concept in higher.result.concepts] == [False, False]
    assert all(len(segment_in_world(node, segment)) == 0 for segment in segments(node).values())
    lower = ThresholdRun(higher, 0.5, writer)
    run_to_end(lower, lambda: None)
    assert misplaced(node, segments(node)["liver"], volume, array == 1) == 0
    assert writer.undo()
    assert writer.undo()
    assert snapshot(node) == at_first


def test_a_threshold_does_not_touch_segments_of_other_origin():
    segmenter = FakeSegmenter({"liver": 1, "left kidney": 2}, score=0.6)
    volume, array = phantom()
    node = add_segmentation(volume, {"mine": array == 2})
    run = SegmentationRun(build_task(parse_spec(volume, ["liver"], node)), LocalEngine(segmenter), SegmentWriter())
    run_to_end(run, lambda: None)

    run_to_end(ThresholdRun(run, 0.9, SegmentWriter()), lambda: None)

    assert misplaced(node, "mine", volume, array == 2) == 0


def test_a_corrected_slice_of_an_earlier_run_is_what_counts_as_drawn():
    volume, array = phantom()
    run = begin(volume, LocalEngine(FakeSegmenter({"liver": 1})))
    run_to_end(run, lambda: None)
    node = run.written.segmentation_node
    corrected = array == 1
    corrected[2, 1:3] = False
    writer = SegmentWriter()
    writer.begin(node, volume)
    run_steps_to_end(writer.write(segments(node)["liver"], corrected, LATTICE))
    jobs = ScriptedJobs()

    again = SegmentationRun(build_task(parse_spec(volume, ["liver"], node, mode="from prompts")), jobs, SegmentWriter())
    advance_until(again, lambda: again.state is RunState.SEGMENTING)

    (mark,) = jobs.request.prompts["liver"].masks
    assert mark.slices == (2,)
    assert (mark.mask == corrected).all()


def slice_node_at(matrix, name="Red"):
    import slicer

    node = slicer.vtkMRMLSliceNode()
    node.SetLayoutName(name)
    # Otherwise closing the scene leaves it to other tests.
    node.SetSingletonOff()
    node = slicer.mrmlScene.AddNode(node)
    for row in range(4):
        for column in range(4):
            node.GetSliceToRAS().SetElement(row, column, float(matrix[row, column]))
    node.UpdateMatrices()
    return node


@pytest.mark.parametrize("degrees", [(0, 0, 0), (25, 0, 0), (10, 35, -20)])
def test_one_slice_at_any_angle_is_shown_where_the_view_cuts_the_object(degrees):
    """The voxels that the preview marks lie in the plane of the view, inside of the object."""
    parent = add_transform(rigid((0, 0, 40), (30, -50, 10)))
    array = np.zeros((20, 30, 30), np.float32)
    array[4:16, 8:22, 8:22] = 1
    lattice = np.diag([1, 1, 1.5, 1.0])
    volume = add_volume(array, ijk_to_ras=lattice, parent=parent)
    middle = rigid((0, 0, 40), (30, -50, 10)) @ lattice @ np.array([14.5, 14.5, 9, 1])
    view = rigid((0, 0, 40), (0, 0, 0)) @ rigid(degrees, (0, 0, 0))
    view[:3, 3] = middle[:3]
    run = SegmentationRun(
        build_preview_task(parse_spec(volume, "liver", view=slice_node_at(view))),
        LocalEngine(FakeSegmenter({"liver": 1})),
        SegmentWriter(),
    )

    run_to_end(run, lambda: None)

    (concept,) = run.result.concepts
    assert concept.found
    grid = run.result.stack.grid
    places = grid.to_ras(np.argwhere(concept.mask)[:, ::-1].astype(float))
    to_world = rigid((0, 0, 40), (30, -50, 10)) @ run.placed.to_node
    world = np.c_[places, np.ones(len(places))] @ to_world.T
    depth = (world - view[:, 3]) @ np.append(view[:3, 2], 0)
    assert np.abs(depth).max() < 1e-3 if any(degrees) else np.abs(depth).max() <= 0.75
    ijk = world @ np.linalg.inv(rigid((0, 0, 40), (30, -50, 10)) @ lattice).T
    assert (ijk[:, :3] > [7.4, 7.4, 3.4]).all()
    assert (ijk[:, :3] < [21.6, 21.6, 15.6]).all()
    assert run.written is None


def test_an_oblique_slice_is_segmented_only_in_the_region_and_the_segment():
    """The voxels of a region and of a segment, for a slice across them too."""
    lattice = np.diag([-0.8, -0.8, 2.5, 1])
    array = np.zeros((20, 30, 30), np.float32)
    array[4:16, 8:22, 8:22] = 1
    volume = add_volume(array, ijk_to_ras=lattice)
    half = np.zeros(array.shape, bool)
    half[:, :15] = True
    node = add_segmentation(volume, {"half": half})
    roi = volume.GetScene().AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    first, last = lattice @ [9.6, 9.6, 6.6, 1], lattice @ [14.4, 25.4, 11.4, 1]
    roi.SetCenter(*((first + last) / 2)[:3])
    roi.SetSize(*np.abs(last - first)[:3])
    view = slice_node_at(rigid((10, 35, -20), tuple((lattice @ [12, 13, 9, 1])[:3])))
    jobs = LocalEngine(FakeSegmenter({"liver": 1}))

    def shown(**options):
        run = SegmentationRun(
            build_preview_task(parse_spec(volume, "liver", view=view, **options)), jobs, SegmentWriter()
        )
        run_to_end(run, lambda: None)
        pixels = np.argwhere(run.result.concepts[0].mask)[:, ::-1].astype(float)
        world = run.placed.volume.grid.to_ras(pixels)
        voxels = np.c_[world, np.ones(len(world))] @ np.linalg.inv(lattice).T
        return {tuple(voxel) for voxel in np.rint(voxels[:, :3]).astype(int).tolist()}

    everywhere = shown()
    in_box = {(i, j, k) for i, j, k in everywhere if 10 <= i <= 14 and 10 <= j <= 25 and 7 <= k <= 11}
    assert 0 < len(in_box) < len(everywhere)
    assert shown(roi=roi) == in_box
    assert shown(roi=roi, inside=(node, "half")) == {voxel for voxel in in_box if voxel[1] < 15}
    with pytest.raises(InputError, match="a phrase at once"):
        shown(roi=roi, inside="body")
    roi.SetCenter(*(lattice @ [28, 28, 1, 1])[:3])
    with pytest.raises(InputError, match="beside the region"):
        shown(roi=roi, inside=(node, "half"))


def test_an_oblique_slice_is_seen_through_the_window_of_the_whole_volume():
    """Percentiles of a slice are others than those of the volume, and a slice of a CT need not reach air."""
    values = np.random.default_rng(1).normal(0, 60, (20, 30, 30)).astype(np.int16)
    values[0] = -1000
    view = slice_node_at(rigid((10, 5, 0), tuple((LATTICE @ [15, 15, 12, 1])[:3])))
    jobs = ScriptedJobs()
    for is_hounsfield in (True, False):
        node = add_volume(values if is_hounsfield else values.astype(np.uint16) // 7, ijk_to_ras=LATTICE)
        run = SegmentationRun(build_preview_task(parse_spec(node, "liver", view=view)), jobs, SegmentWriter())
        advance_until(run, lambda run=run: run.state is RunState.SEGMENTING)
        whole = read_volume_node(node).volume
        assert choose_window(run.placed.volume, "liver", jobs.request.window) == choose_window(whole, "liver")
        assert choose_window(run.placed.volume, "liver", None) == choose_window(whole, "liver") or not is_hounsfield


def test_a_view_beside_the_volume_or_oblique_to_it_is_refused_in_words():
    volume, _ = phantom()
    jobs = LocalEngine(FakeSegmenter({"liver": 1}))
    beside = slice_node_at(rigid((0, 0, 0), (0, 0, 500)))

    with pytest.raises(InputError, match="beside the volume"):
        run_to_end(
            SegmentationRun(build_preview_task(parse_spec(volume, "liver", view=beside)), jobs, SegmentWriter()),
            lambda: None,
        )
    along = slice_node_at(rigid((10, 20, 30), tuple((LATTICE @ [5, 4, 3, 1])[:3])), "Yellow")
    turned = slice_node_at(rigid((60, 0, 0), tuple((LATTICE @ [5, 4, 3, 1])[:3])), "Green")
    with pytest.raises(InputError, match="oblique"):
        run_to_end(begin(volume, jobs, view=turned), lambda: None)
    run = begin(volume, jobs, view=along)
    run_to_end(run, lambda: None)
    assert list(run.result.concepts[0].score_by_slice) == [3]


def test_jumping_to_a_slice_shows_its_middle():
    parent = add_transform(rigid((0, 0, 40), (30, -50, 10)))
    volume, array = phantom(parent)
    placed = read_volume_node(volume)
    stack = SliceStack.along(placed.volume.grid, Plane.ACQUIRED)
    node = slice_node_at(np.eye(4))

    jump_to_slice(volume, placed, stack, 4)

    only = np.zeros(array.shape, bool)
    stack.extract(only)[4] = True
    middle = mask_in_world(volume, only).mean(axis=0)
    shown = [node.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
    # The view moves along its own normal only.
    assert shown[2] == pytest.approx(middle[2], abs=1e-3)
