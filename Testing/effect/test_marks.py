"""Marks belong to their segment: undo rewinds them, files keep them, transforms move them, other segments have none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SceneLib.mrml.volumes import read_volume_node
from MedSAM3SceneLib.segments.prompts import (
    MARKS_TAG,
    move_prompt,
    read_prompts,
    to_volume_frame,
    write_prompts,
)
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS, PointPromptRAS
from support.nodes import add_segmentation, add_transform, add_volume, add_warp, lattices, rigid, rigids, to_world
from support.scene import load_segmentation, save_node

pytestmark = pytest.mark.usefixtures("scene")

MARKS = (
    PointPromptRAS((1.25, -2.5, 3.0)),
    BoxPromptRAS(((0.0, 0.0, 5.0), (4.0, 0.0, 5.0), (4.0, 3.0, 5.0), (0.0, 3.0, 5.0)), positive=False),
    PointPromptRAS((7.0, 8.0, 9.0), positive=False),
)


@pytest.fixture
def volume():
    return add_volume(np.zeros((4, 5, 6), np.int16))


@pytest.fixture
def segmentation(volume):
    masks = np.zeros((2, 4, 5, 6), bool)
    masks[0, 1, 1:3, 1:3] = masks[1, 2, 3:5, 3:5] = True
    return add_segmentation(volume, {"liver": masks[0], "spleen": masks[1]})


def test_marks_stay_as_drawn_and_belong_to_one_segment(segmentation):
    liver, spleen = (segmentation.GetSegmentation().GetSegment(name) for name in ("liver", "spleen"))

    write_prompts(liver, MARKS)

    assert read_prompts(liver) == MARKS
    assert read_prompts(spleen) == ()
    write_prompts(liver, ())
    assert read_prompts(liver) == ()
    assert not liver.HasTag(MARKS_TAG)


def test_undo_and_redo_rewind_marks_with_the_segment(segmentation):
    import slicer

    editor = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetAndObserveSegmentationNode(segmentation)
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    logic.SetSegmentEditorNode(editor)
    liver = segmentation.GetSegmentation().GetSegment("liver")
    write_prompts(liver, MARKS[:1])
    logic.SaveStateForUndo()
    write_prompts(liver, MARKS)
    logic.SaveStateForUndo()
    write_prompts(liver, ())

    seen = []
    for step in (logic.Undo, logic.Undo, logic.Redo, logic.Redo):
        step()
        seen.append(read_prompts(segmentation.GetSegmentation().GetSegment("liver")))

    assert seen == [MARKS, MARKS[:1], MARKS, ()]


def test_marks_are_saved_with_the_segment(segmentation, tmp_path):
    write_prompts(segmentation.GetSegmentation().GetSegment("liver"), MARKS)
    save_node(segmentation, tmp_path / "drawn.seg.nrrd")

    loaded = load_segmentation(tmp_path / "drawn.seg.nrrd")

    assert read_prompts(loaded.GetSegmentation().GetSegment("liver")) == MARKS


@pytest.mark.parametrize(
    "text", ["", "no json", "{}", "[1]", '[{"kind": "point", "positive": true, "at": []}]', "[null]"]
)
def test_an_unreadable_tag_means_no_marks(segmentation, text):
    liver = segmentation.GetSegmentation().GetSegment("liver")
    liver.SetTag(MARKS_TAG, text)

    assert read_prompts(liver) == ()


@settings(max_examples=25, deadline=None)
@given(lattice=lattices(), volume_parent=st.none() | rigids, segmentation_parent=st.none() | rigids)
def test_marks_reach_the_engine_at_the_same_place_of_the_world(lattice, volume_parent, segmentation_parent):
    """A click in the world on a voxel's center is on that voxel's center in the frame that the engine is given."""
    volume = add_volume(
        np.zeros((4, 5, 6), np.int16), lattice, None if volume_parent is None else add_transform(volume_parent)
    )
    segmentation = add_segmentation(volume, {})
    segmentation.SetAndObserveTransformNodeID(
        None if segmentation_parent is None else add_transform(segmentation_parent).GetID()
    )
    in_world = to_world(volume) @ lattice @ np.array([2, 3, 1, 1])
    clicked = np.linalg.inv(to_world(segmentation)) @ in_world

    placed = read_volume_node(volume)
    moved = move_prompt(PointPromptRAS(tuple(clicked[:3])), to_volume_frame(segmentation, volume, placed))

    assert np.linalg.inv(placed.volume.grid.ijk_to_ras) @ [*moved.position, 1] == pytest.approx([2, 3, 1, 1], abs=1e-6)


def test_a_transform_that_moves_the_segmentation_moves_its_marks(segmentation, volume):
    segmentation.SetAndObserveTransformNodeID(add_transform(rigid((0, 0, 90), (100, 0, 0))).GetID())
    placed = read_volume_node(volume)

    moved = move_prompt(PointPromptRAS((1.0, 2.0, 3.0)), to_volume_frame(segmentation, volume, placed))

    assert moved.position == pytest.approx((98.0, 1.0, 3.0))


def test_a_warped_segmentation_is_refused_in_words(segmentation, volume):
    placed = read_volume_node(volume)
    segmentation.SetAndObserveTransformNodeID(add_warp().GetID())

    with pytest.raises(InputError, match=r"non-linear transform 'warp'; harden or remove"):
        to_volume_frame(segmentation, volume, placed)
