"""What the effect's actions do to a segment: what they should and nothing else, at the right place, with one undo."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from effect_actions import EditorLogic, act, begin
from MedSAM3SceneLib.fake_segmenter import FakeSegmenter
from MedSAM3SceneLib.kept_volume import KeptVolume
from MedSAM3SceneLib.marks import write_marks
from MedSAM3SceneLib.provenance import read_provenance
from MedSAM3SceneLib.scene_run import RunState, run_to_end
from MedSAM3SceneLib.segment_actions import Action, ActionWords, question_for, surroundings
from MedSAM3SceneLib.segment_voxels import grid_to_segmentation, segment_mask
from MedSAM3SceneLib.steps import finish
from MedSAM3SceneLib.view_slices import stack_slice, view_plane
from MedSAM3SceneLib.volumes import read_volume_node
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.grid import Plane
from MedSAM3SegmentLib.prompts import BoxMark, BoxReading, PointMark
from MedSAM3SegmentLib.request import Mode
from scene_nodes import (
    add_segmentation,
    add_transform,
    add_volume,
    lattices,
    mask_in_world,
    misplaced,
    rigid,
    rigids,
    segment_in_world,
    snapshot,
    to_world,
    unmatched,
)
from test_effect_slices import along, remove_slice_views, slice_view

pytestmark = pytest.mark.usefixtures("scene")

per_scene = settings(max_examples=12, deadline=None)
SHAPE = (8, 9, 10)
TURNED = rigid((20, -35, 50), (100, 0, 0))


@pytest.fixture(autouse=True)
def no_view_is_left(scene):
    yield
    remove_slice_views(scene)


def box(first, end, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(first, end, strict=True))] = True
    return mask


TRUTH = box((1, 2, 3), (7, 7, 8))


def held(segmentation, segment_id, volume):
    """What a segment holds on the voxels of the volume."""
    placed = read_volume_node(volume)
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    return segment_mask(segment, placed.volume.grid, grid_to_segmentation(segmentation, volume, placed))


class Setting:
    """A volume in which the liver has the value 1, and a segmentation with what was drawn."""

    def __init__(self, truth=TRUTH, lattice=None, volume_parent=None, segmentation_parent=None, **drawn):
        import slicer

        self.truth = truth
        self.lattice = np.diag([1.0, 1.0, 2.0, 1.0]) if lattice is None else lattice
        parent = None if volume_parent is None else add_transform(volume_parent)
        self.volume = add_volume(truth.astype(np.int16), self.lattice, parent)
        self.segmentation = add_segmentation(self.volume, drawn)
        if not self.segmentation.GetSegmentation().GetSegment("liver"):
            self.segmentation.GetSegmentation().AddEmptySegment("liver", "liver")
        if segmentation_parent is not None:
            # The voxels stay where they are in the world.
            node = add_transform(np.linalg.inv(segmentation_parent) @ to_world(self.volume))
            self.segmentation.SetAndObserveTransformNodeID(node.GetID())
            self.segmentation.HardenTransform()
            self.segmentation.SetAndObserveTransformNodeID(add_transform(segmentation_parent).GetID())
            self.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(self.volume)
        self.segmenter = FakeSegmenter({"liver": 1})
        self.logic = EditorLogic(self.segmentation, self.volume)
        self.slicer = slicer

    def view(self, axis, index):
        return slice_view(along(to_world(self.volume) @ self.lattice, axis, index))

    def act(self, action, **options):
        return act(self.logic, "liver", action, self.segmenter, **options)

    @property
    def held(self):
        return held(self.segmentation, "liver", self.volume)

    @property
    def request(self):
        return self.segmenter.requests[-1]


@per_scene
@given(lattice=lattices(), volume_parent=rigids, segmentation_parent=rigids)
def test_different_parents_misplace_no_voxel(lattice, volume_parent, segmentation_parent):
    setting = Setting(lattice=lattice, volume_parent=volume_parent, segmentation_parent=segmentation_parent)

    setting.act(Action.WHOLE_VOLUME)

    assert misplaced(setting.segmentation, "liver", setting.volume, TRUTH) == 0


@pytest.mark.parametrize("overwriting", ["OverwriteNone", "OverwriteAllSegments"])
def test_an_empty_segment_that_shares_the_labelmap_of_a_turned_neighbour_has_every_voxel_at_its_place(overwriting):
    """Slicer lets new segments share the labelmap of the first one, whose voxels need not be those of the volume."""
    neighbour = box((5, 0, 0), (8, 3, 3))
    setting = Setting(volume_parent=TURNED, spleen=neighbour)
    setting.segmentation.SetAndObserveTransformNodeID(add_transform(rigid((0, 35, -15), (0, 30, -100))).GetID())
    editor = setting.logic.editor
    editor.SetOverwriteMode(getattr(editor, overwriting))
    before = segment_in_world(setting.segmentation, "spleen")

    setting.act(Action.WHOLE_VOLUME)

    assert misplaced(setting.segmentation, "liver", setting.volume, TRUTH) == 0
    # They are far apart by now.
    assert unmatched(segment_in_world(setting.segmentation, "spleen"), before) == 0


@per_scene
@given(
    lattice=lattices(),
    volume_parent=st.none() | rigids,
    segmentation_parent=st.none() | rigids,
    axis=st.integers(0, 2),
    index=st.integers(0, 7),
)
def test_this_slice_changes_one_slice_at_its_place_and_no_other(
    lattice, volume_parent, segmentation_parent, axis, index
):
    drawn = np.random.default_rng(index).random(SHAPE) < 0.2
    truth = np.ones(SHAPE, bool)
    truth[:, 0] = truth[0, :, :2] = False
    assume(truth.transpose(2, 1, 0).take(index, axis=axis).any())
    setting = Setting(truth, lattice, volume_parent, segmentation_parent, liver=drawn)

    setting.act(Action.THIS_SLICE, slice_node=setting.view(axis, index))

    expected = drawn.copy()
    where = [slice(None)] * 3
    where[2 - axis] = index
    expected[tuple(where)] = truth[tuple(where)]
    assert misplaced(setting.segmentation, "liver", setting.volume, expected) == 0


def test_an_action_saves_one_undo_state_and_changes_the_segment_once():
    setting = Setting(liver=box((3, 3, 3), (4, 5, 5)), spleen=box((0, 0, 0), (2, 2, 2)))
    before = snapshot(setting.segmentation)

    setting.act(Action.WHOLE_VOLUME)

    assert setting.logic.calls == ["save", "add"]
    after = snapshot(setting.segmentation)
    assert after != before
    setting.logic.logic.Undo()
    assert snapshot(setting.segmentation) == before
    setting.logic.logic.Redo()
    assert snapshot(setting.segmentation) == after


def test_drawn_slices_come_back_bit_identical_and_the_rest_is_filled():
    drawn = box((2, 4, 4), (3, 6, 7)) | box((5, 1, 0), (6, 3, 9))
    setting = Setting(liver=drawn)

    run = setting.act(Action.PROPAGATE)

    expected = TRUTH.copy()
    expected[[2, 5]] = drawn[[2, 5]]
    assert (setting.held == expected).all()
    # The name of what was drawn lets detections check where it ends.
    assert setting.request.mode is Mode.PROPAGATE
    assert setting.request.plane is Plane.AXIAL
    (mark,) = setting.request.prompts["liver"].masks
    assert mark.slices == (2, 5)
    assert (mark.mask == drawn).all()
    assert any("Kept as they were drawn, on axial slices: 2, 5." in message for message in run.messages)


def test_after_a_run_only_corrected_slices_count_as_edited_and_an_emptied_one_stays_empty():
    setting = Setting(liver=box((4, 3, 3), (5, 5, 5)))
    setting.act(Action.PROPAGATE)
    corrected = setting.held
    corrected[2] = False
    corrected[5, 8, 9] = True
    setting.logic.calls.clear()
    image = setting.slicer.vtkOrientedImageData()
    rewrite(setting, corrected, image)

    setting.act(Action.PROPAGATE)

    (mark,) = setting.request.prompts["liver"].masks
    assert mark.slices == (2, 4, 5)
    assert (setting.held[[2, 4, 5]] == corrected[[2, 4, 5]]).all()
    assert not setting.held[2].any()
    assert (setting.held[[1, 3, 6]] == TRUTH[[1, 3, 6]]).all()


def test_without_a_phrase_what_was_drawn_is_all_there_is():
    setting = Setting(liver=box((4, 3, 3), (5, 5, 5)))

    setting.act(Action.PROPAGATE, phrase="")

    assert setting.request.mode is Mode.FROM_PROMPTS


def test_a_correction_leans_on_a_sure_slice_on_each_side_that_is_not_near_it():
    truth = box((0, 2, 3), (20, 7, 8), (20, 9, 10))
    setting = Setting(truth)
    setting.act(Action.WHOLE_VOLUME)
    corrected = setting.held
    corrected[10] = False
    corrected[10, 3, 3] = True
    rewrite(setting, corrected, setting.slicer.vtkOrientedImageData())

    setting.act(Action.PROPAGATE)

    (mark,) = setting.request.prompts["liver"].masks
    assert mark.slices == (6, 10, 14)
    assert (setting.held[10] == corrected[10]).all()
    # Only what a person drew counts as drawn from now on.
    setting.act(Action.PROPAGATE)
    (mark,) = setting.request.prompts["liver"].masks
    assert mark.slices == (6, 10, 14)


def rewrite(setting, mask, image):
    """Draw a segment anew, as a person with another effect does."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    matrix = vtk.vtkMatrix4x4()
    setting.volume.GetIJKToRASMatrix(matrix)
    image.SetDimensions(*mask.shape[::-1])
    image.SetImageToWorldMatrix(matrix)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = mask.ravel()
    setting.logic.save_state()
    setting.logic.set_voxels("liver", image)


def test_undo_also_takes_back_what_counts_as_written():
    setting = Setting(liver=box((4, 3, 3), (5, 5, 5)))
    setting.act(Action.PROPAGATE)
    setting.logic.logic.Undo()

    setting.act(Action.PROPAGATE)

    (mark,) = setting.request.prompts["liver"].masks
    assert mark.slices == (4,)


def test_a_drawing_on_a_sagittal_slice_is_carried_along_sagittal_slices():
    drawn = box((2, 3, 5), (6, 6, 6))
    setting = Setting(liver=drawn)

    setting.act(Action.PROPAGATE)

    assert setting.request.plane is Plane.SAGITTAL
    assert setting.request.prompts["liver"].masks[0].slices == (5,)
    assert (setting.held[:, :, 5] == drawn[:, :, 5]).all()


def test_nothing_drawn_and_nothing_to_look_for_are_refused_in_words():
    setting = Setting()

    with pytest.raises(InputError, match="No slice of 'liver' was drawn"):
        setting.act(Action.PROPAGATE)
    with pytest.raises(InputError, match="nothing to look for"):
        setting.act(Action.WHOLE_VOLUME, phrase=" ")
    with pytest.raises(InputError, match="more than one phrase"):
        setting.act(Action.WHOLE_VOLUME, phrase="liver; spleen")
    with pytest.raises(InputError, match="No slice view"):
        setting.act(Action.THIS_SLICE)
    assert setting.logic.calls == []
    assert setting.segmenter.requests == []


def test_not_found_leaves_the_segment_alone_and_says_so():
    setting = Setting(liver=box((2, 2, 2), (3, 4, 4)))
    before = snapshot(setting.segmentation)

    run = setting.act(Action.WHOLE_VOLUME, phrase="pancreas")

    assert snapshot(setting.segmentation) == before
    assert setting.logic.calls == []
    assert not run.changed
    assert run.messages[-1] == "The segment 'liver' was left as it was."


def test_marks_reach_the_engine_in_the_frame_of_the_volume():
    setting = Setting(volume_parent=TURNED, segmentation_parent=rigid((0, 0, 90), (0, 30, -100)))
    in_world = to_world(setting.volume) @ setting.lattice @ np.array([5, 4, 3, 1])
    clicked = np.linalg.inv(to_world(setting.segmentation)) @ in_world
    write_marks(setting.segmentation.GetSegmentation().GetSegment("liver"), (PointMark(tuple(clicked[:3])),))

    setting.act(Action.WHOLE_VOLUME)

    placed = read_volume_node(setting.volume)
    (point,) = setting.request.prompts["liver"].points
    assert np.linalg.inv(placed.volume.grid.ijk_to_ras) @ [*point.position, 1] == pytest.approx([5, 4, 3, 1], abs=1e-3)
    assert setting.request.mode is Mode.FROM_PROMPTS
    assert setting.request.prompts["liver"].is_phrase


def flat_box(setting, k, positive=True):
    corners = [setting.lattice @ np.array([i, j, k, 1]) for i, j in ((2, 2), (6, 2), (6, 6), (2, 6))]
    return BoxMark(tuple(tuple(corner[:3]) for corner in corners), positive)


def test_this_slice_asks_with_the_marks_of_this_slice():
    setting = Setting()
    # The slices are 2 mm apart.
    marks = (flat_box(setting, 3), flat_box(setting, 5), PointMark((4.0, 4.0, 6.2), positive=False))
    write_marks(setting.segmentation.GetSegmentation().GetSegment("liver"), marks)

    run = setting.act(Action.THIS_SLICE, slice_node=setting.view(2, 3))

    prompts = setting.request.prompts["liver"]
    assert prompts.boxes == (marks[0],)
    assert [point.positive for point in prompts.points] == [False]
    assert setting.request.slices == (3, 4)
    assert any(message == "Marks on other slices were left out (1)." for message in run.messages)


def test_things_like_this_are_looked_for_and_only_this_one_is_followed():
    setting = Setting()
    write_marks(setting.segmentation.GetSegmentation().GetSegment("liver"), (flat_box(setting, 3),))

    modes = []
    for reading in (BoxReading.THINGS_LIKE_THIS, BoxReading.ONLY_THIS_ONE):
        setting.act(Action.WHOLE_VOLUME, reading=reading)
        modes.append((setting.request.mode, setting.request.prompts["liver"].reading))

    assert modes == [
        (Mode.SLICES, BoxReading.THINGS_LIKE_THIS),
        (Mode.FROM_PROMPTS, BoxReading.ONLY_THIS_ONE),
    ]


def test_what_is_not_meant_alone_goes_with_the_phrase_as_far_as_the_engine_can_use_it():
    setting = Setting()
    segment = setting.segmentation.GetSegmentation().GetSegment("liver")
    write_marks(segment, (flat_box(setting, 3, positive=False), PointMark((1.0, 1.0, 1.0), positive=False)))

    run = setting.act(Action.WHOLE_VOLUME)

    prompts = setting.request.prompts["liver"]
    assert setting.request.mode is Mode.SLICES
    assert (len(prompts.boxes), prompts.points, prompts.reading) == (1, (), BoxReading.THINGS_LIKE_THIS)
    assert any("Negative points need a positive" in message for message in run.messages)


def test_neighbours_keep_what_overwriting_and_masking_protect():
    neighbour = box((3, 3, 3), (6, 6, 6))
    for mode, mask_mode in (("OverwriteNone", None), ("OverwriteAllSegments", None), ("OverwriteAllSegments", "out")):
        setting = Setting(liver=box((0, 0, 0), (1, 1, 1)), spleen=neighbour)
        editor = setting.logic.editor
        editor.SetOverwriteMode(getattr(editor, mode))
        if mask_mode:
            editor.SetMaskMode(setting.slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)

        setting.act(Action.WHOLE_VOLUME)

        spleen = held(setting.segmentation, "spleen", setting.volume)
        if mode == "OverwriteNone" or mask_mode:
            assert (spleen == neighbour).all()
        else:
            assert (spleen == neighbour & ~TRUTH).all()
        if mask_mode:
            # What is under the mask is neither written nor erased.
            assert (setting.held[~neighbour] == TRUTH[~neighbour]).all()
            assert not (setting.held & neighbour).any()
        else:
            assert (setting.held == TRUTH).all()
        setting.slicer.mrmlScene.Clear(False)


def test_the_editable_intensity_range_is_kept_to():
    setting = Setting(liver=box((0, 0, 0), (2, 2, 2)))
    array = setting.slicer.util.arrayFromVolume(setting.volume)
    array[3] += 100
    setting.segmenter.values["liver"] = 1
    editor = setting.logic.editor
    editor.SetSourceVolumeIntensityMask(True)
    editor.SetSourceVolumeIntensityMaskRange(1, 1)

    setting.act(Action.WHOLE_VOLUME)

    expected = TRUTH | box((0, 0, 0), (2, 2, 2))
    expected[3] = False
    assert (setting.held == expected).all()


@pytest.mark.parametrize("mask", ["Everywhere", "OutsideAllSegments"])
def test_a_finer_segment_keeps_its_finer_voxels_on_all_other_slices(mask):
    """A segmentation of half the spacing: one slice of the volume changes two of its own, and no more."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    setting = Setting()
    fine = np.random.default_rng(0).random((16, 18, 20)) < 0.3
    image = setting.slicer.vtkOrientedImageData()
    image.SetDimensions(20, 18, 16)
    lattice = np.diag([0.5, 0.5, 1.0, 1.0])
    lattice[:3, 3] = (-0.25, -0.25, -0.5)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(lattice.ravel())
    image.SetImageToWorldMatrix(matrix)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = fine.ravel()
    segment = setting.segmentation.GetSegmentation().GetSegment("liver")
    segment.AddRepresentation("Binary labelmap", image)
    setting.logic.editor.SetMaskMode(getattr(setting.segmentation, f"EditAllowed{mask}"))

    setting.act(Action.THIS_SLICE, slice_node=setting.view(2, 3))

    expected = fine.copy()
    expected[6:8] = TRUTH[3].repeat(2, axis=0).repeat(2, axis=1)
    found = segment_in_world(setting.segmentation, "liver")
    where = np.argwhere(expected)[:, ::-1] @ lattice[:3, :3].T + lattice[:3, 3]
    assert unmatched(found, where) == 0


@per_scene
@given(turn=st.tuples(*[st.floats(-180, 180)] * 3), lattice=lattices(), segmentation_parent=st.none() | rigids)
def test_an_oblique_slice_changes_only_voxels_that_it_goes_through(turn, lattice, segmentation_parent):
    truth = np.ones(SHAPE, bool)
    drawn = np.random.default_rng(0).random(SHAPE) < 0.2
    setting = Setting(truth, lattice, TURNED, segmentation_parent, liver=drawn)
    middle = (to_world(setting.volume) @ lattice @ np.array([4.6, 4.2, 3.7, 1]))[:3]
    node = slice_view(rigid(turn, tuple(middle)))
    placed = read_volume_node(setting.volume)
    assume(stack_slice(view_plane(node, setting.volume, placed), placed.volume.grid) is None)

    run = setting.act(Action.THIS_SLICE, slice_node=node)

    k, j, i = np.indices(SHAPE)
    places = np.stack([i, j, k, np.ones_like(i)], axis=-1) @ (to_world(setting.volume) @ lattice).T
    normal = rigid(turn, (0, 0, 0))[:3, 2]
    heights = (places[..., :3] - middle) @ normal
    reach = np.abs(normal @ (to_world(setting.volume) @ lattice)[:3, :3]).sum() / 2
    through = np.abs(heights) < reach - 1e-6
    assert (setting.held[np.abs(heights) > reach + 1e-6] == drawn[np.abs(heights) > reach + 1e-6]).all()
    inner = np.zeros(SHAPE, bool)
    inner[1:-1, 1:-1, 1:-1] = True
    assert setting.held[through & inner].all()
    assert any("oblique" in message for message in run.messages)
    assert run.messages[0].startswith("Found on this slice; the score is ")
    assert setting.request.window is not None


def oblique_view(setting):
    middle = (to_world(setting.volume) @ setting.lattice @ np.array([4.6, 4.2, 3.7, 1]))[:3]
    return slice_view(rigid((40, 15, 0), tuple(middle)))


def test_an_oblique_slice_of_a_ct_is_seen_through_the_window_of_what_is_looked_for():
    """By its name, where no phrase is typed, as on any other slice; the engine knows which it is."""
    setting = Setting()
    setting.slicer.util.arrayFromVolume(setting.volume)[7] = -1000
    clicked = PointMark(tuple((setting.lattice @ np.array([4.6, 4.2, 3.7, 1]))[:3]))
    write_marks(setting.segmentation.GetSegmentation().GetSegment("liver"), (clicked,))
    placed = read_volume_node(setting.volume)
    around = surroundings(setting.segmentation, "liver", setting.volume, placed, oblique_view(setting))

    question = question_for(ActionWords(Action.THIS_SLICE, phrase="", name="liver"), around)

    assert question.request.window is None
    assert question.volume.modality == "CT"


def test_what_is_not_on_an_oblique_slice_is_told_without_a_slice_number():
    class Telling(FakeSegmenter):
        """Gives the reason that the engine gives."""

        def segment(self, *asked):
            result = super().segment(*asked)
            said = "Not found: the best score is 0.31 on slice 0, below the threshold 0.5."
            return replace(result, concepts=(replace(result.concepts[0], reason=said),))

    setting = Setting()
    setting.segmenter = Telling({"liver": 1})

    run = setting.act(Action.THIS_SLICE, phrase="pancreas", slice_node=oblique_view(setting))

    assert run.messages[0] == "Not found: the best score is 0.31 on this slice, below the threshold 0.5."
    assert not any("oblique" in message for message in run.messages)
    assert run.messages[1] == "The segment 'liver' was left as it was."


def test_a_shown_surface_follows_the_segment_and_undo_and_neighbours_keep_theirs():
    setting = Setting(spleen=box((0, 0, 0), (2, 2, 2)))
    setting.act(Action.WHOLE_VOLUME)
    setting.segmentation.CreateClosedSurfaceRepresentation()

    def bounds(name):
        surface = setting.segmentation.GetSegmentation().GetSegment(name).GetRepresentation("Closed surface")
        return surface.GetBounds()

    whole, neighbour = bounds("liver"), bounds("spleen")
    setting.slicer.util.arrayFromVolume(setting.volume)[4:] = 0
    setting.act(Action.WHOLE_VOLUME)

    assert bounds("liver")[5] == pytest.approx(whole[5] - 6, abs=1)
    assert bounds("spleen") == neighbour
    setting.logic.logic.Undo()
    assert bounds("liver") == whole


def test_the_segment_says_where_it_came_from():
    setting = Setting()

    setting.act(Action.WHOLE_VOLUME)

    provenance = read_provenance(setting.segmentation.GetSegmentation().GetSegment("liver"))
    assert provenance["action"] == "whole volume"
    assert provenance["concept"] == "liver"
    assert provenance["input"]["name"] == "ct"


def check_that_removing_ends(run, setting, what):
    """Remove the segment, or a node by its name in ``setting``, and let the run go on."""
    if what == "segment":
        setting.segmentation.GetSegmentation().RemoveSegment("liver")
    else:
        setting.slicer.mrmlScene.RemoveNode(getattr(setting, what))

    with pytest.raises(Cancelled, match="removed"):
        run_to_end(run, lambda: None)

    assert run.state is RunState.CANCELLED
    assert setting.logic.calls == []


@pytest.mark.parametrize("what", ["segment", "segmentation", "volume"])
def test_a_removed_segment_or_node_ends_the_run_without_a_change(what):
    setting = Setting(spleen=box((0, 0, 0), (2, 2, 2)))
    run = begin(setting.logic, "liver", Action.WHOLE_VOLUME, setting.segmenter)
    run.advance(0)

    check_that_removing_ends(run, setting, what)


def test_the_world_is_where_the_mask_says():
    """The check of the checks: the helper that reads a segment agrees with the place of the mask."""
    setting = Setting(volume_parent=TURNED)
    setting.act(Action.WHOLE_VOLUME)

    assert unmatched(segment_in_world(setting.segmentation, "liver"), mask_in_world(setting.volume, TRUTH)) == 0


def test_a_volume_is_read_again_only_when_something_of_it_changed():
    import slicer

    volume = add_volume(TRUTH.astype(np.int16))
    kept = KeptVolume()
    first = finish(kept.read(volume))
    seen = [first]
    changes = (
        lambda: None,
        lambda: (slicer.util.arrayFromVolume(volume).fill(3), slicer.util.arrayFromVolumeModified(volume)),
        lambda: volume.SetAndObserveTransformNodeID(add_transform(TURNED).GetID()),
        lambda: volume.SetSpacing(2, 2, 2),
        lambda: volume.SetName("other"),
    )

    for change in changes:
        change()
        seen.append(finish(kept.read(volume)))

    assert seen[1] is first
    assert len({id(placed) for placed in seen}) == len(changes)
    assert (seen[2].volume.array == 3).all()
    assert seen[-1].volume.grid.spacing == pytest.approx((2, 2, 2))
