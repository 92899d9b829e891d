"""Acting on one slice, along the voxels or oblique to them: what it asks with, and which voxels it changes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from MedSAM3SceneLib.mrml.labelmaps import content_of, lattice_of
from MedSAM3SceneLib.mrml.slice_planes import stack_slice, view_plane
from MedSAM3SceneLib.mrml.volumes import read_volume_node
from MedSAM3SceneLib.runs.edit_actions import (
    ActionOptions,
    EditAction,
    edit_context,
    edit_request,
)
from MedSAM3SceneLib.segments.prompts import write_prompts
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.prompts.prompts import PointPromptRAS
from support.effect_actions import SHAPE, TRUTH, Setting, flat_box
from support.nodes import TURNED, lattices, misplaced, rigid, rigids, segment_in_world, slice_view, to_world, unmatched

pytestmark = pytest.mark.usefixtures("scene", "no_view_is_left")

#: A volume that is tilted by five degrees, as many are.
OBLIQUE = rigid((5, 0, 0), (-20, 10, 5)) @ np.diag([1.0, 1.0, 2.0, 1.0])

per_scene = settings(max_examples=12, deadline=None)


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

    setting.act(EditAction.THIS_SLICE, slice_node=setting.view(axis, index))

    expected = drawn.copy()
    where = [slice(None)] * 3
    where[2 - axis] = index
    expected[tuple(where)] = truth[tuple(where)]
    assert misplaced(setting.segmentation, "liver", setting.volume, expected) == 0


def test_this_slice_asks_with_the_marks_of_this_slice():
    setting = Setting()
    # The slices are 2 mm apart.
    marks = (flat_box(setting, 3), flat_box(setting, 5), PointPromptRAS((4.0, 4.0, 6.2), positive=False))
    write_prompts(setting.segmentation.GetSegmentation().GetSegment("liver"), marks)

    run = setting.act(EditAction.THIS_SLICE, slice_node=setting.view(2, 3))

    prompts = setting.request.prompts["liver"]
    assert prompts.boxes == (marks[0],)
    assert [point.positive for point in prompts.points] == [False]
    assert setting.request.slices == (3, 4)
    assert any(message == "Marks on other slices were left out (1)." for message in run.messages)


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

    setting.act(EditAction.THIS_SLICE, slice_node=setting.view(2, 3))

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

    run = setting.act(EditAction.THIS_SLICE, slice_node=node)

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


def test_an_oblique_slice_puts_an_empty_segment_on_the_volumes_voxels():
    far = np.zeros(SHAPE, bool)
    far[0, 0, 0] = True
    fresh, drawn = (Setting(np.ones(SHAPE, bool), OBLIQUE, liver=mask) for mask in (far & False, far))
    # A new segmentation in the Segment Editor has the geometry of its volume.
    fresh.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(fresh.volume)
    for setting in (fresh, drawn):
        setting.act(EditAction.THIS_SLICE, slice_node=oblique_view(setting))

    content = content_of(fresh.segmentation.GetSegmentation().GetSegment("liver"))
    to_voxels = np.linalg.inv(OBLIQUE) @ lattice_of(content)
    assert to_voxels == pytest.approx(np.round(to_voxels), abs=1e-6)
    assert to_voxels[:3, :3] == pytest.approx(np.eye(3), abs=1e-6)
    assert fresh.held.sum() > 20
    assert (fresh.held == (drawn.held & ~far)).all()


def test_an_oblique_slice_of_a_ct_gets_the_window_of_the_concept():
    """By its name, where no phrase is typed, as on any other slice; the engine knows which it is."""
    setting = Setting()
    setting.slicer.util.arrayFromVolume(setting.volume)[7] = -1000
    clicked = PointPromptRAS(tuple((setting.lattice @ np.array([4.6, 4.2, 3.7, 1]))[:3]))
    write_prompts(setting.segmentation.GetSegmentation().GetSegment("liver"), (clicked,))
    placed = read_volume_node(setting.volume)
    around = edit_context(setting.segmentation, "liver", setting.volume, placed, oblique_view(setting))

    question = edit_request(ActionOptions(EditAction.THIS_SLICE, phrase="", name="liver"), around)

    assert question.request.window is None
    assert question.volume.modality == "CT"


def test_what_is_not_on_an_oblique_slice_is_told_without_a_slice_number():
    class Telling(FakeSegmenter):
        """Gives the reason that the engine gives."""

        def segment(self, *asked):
            result = super().segment(*asked)
            said = message(
                "Not found: the best score is {score:.2f} on slice {best}, below the threshold {threshold:g}.",
                score=0.31,
                best=0,
                threshold=0.5,
            )
            return replace(result, concepts=(replace(result.concepts[0], reason=said),))

    setting = Setting()
    setting.segmenter = Telling({"liver": 1})

    run = setting.act(EditAction.THIS_SLICE, phrase="pancreas", slice_node=oblique_view(setting))

    assert run.messages[0] == "Not found: the best score is 0.31 on this slice, below the threshold 0.5."
    assert not any("oblique" in message for message in run.messages)
    assert run.messages[1] == "The segment 'liver' was left as it was."
