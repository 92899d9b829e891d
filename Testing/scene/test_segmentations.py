"""Results become segments: every voxel at its place, neighbors kept, one undo state, and nothing made for nothing."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.mrml.volumes import read_volume_node
from MedSAM3SceneLib.segments.provenance import read_provenance
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import LATTICE_TOLERANCE
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.vocabulary.terminology import terminology_entry
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary
from support.nodes import (
    TURNED,
    add_segmentation,
    add_transform,
    add_volume,
    add_warp,
    label_arrays,
    lattices,
    misplaced,
    rigid,
    rigids,
    segment_in_world,
    snapshot,
    to_world,
    unmatched,
    vtk_matrix,
)
from support.scene import load_segmentation, save_node
from support.segment_writing import (
    VALUES,
    boxes,
    edit_settings,
    labels,
    overlapping,
    reference_lattice,
    write,
    write_result,
)

pytestmark = pytest.mark.usefixtures("scene")

per_scene = settings(max_examples=25, deadline=None)


@per_scene
@given(array=label_arrays(), lattice=lattices(), parent=st.none() | rigids)
def test_a_new_segmentation_has_every_voxel_at_its_place(array, lattice, parent):
    volume = add_volume(array, lattice, None if parent is None else add_transform(parent))

    written = write(volume)

    for concept, value in zip(written.concepts, (1, 2), strict=True):
        assert misplaced(written.segmentation_node, concept.segment_id, volume, array == value) == 0
    node = written.segmentation_node
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()
    assert reference_lattice(node)[0] == pytest.approx(lattice, abs=1e-9)
    assert reference_lattice(node)[1] == volume.GetImageData().GetExtent()
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()).GetID() == volume.GetID()


def nearly_coincide(first, second, shape):
    """Whether a voxel lies beside one of another lattice by so little that the two are taken for the same."""
    k, j, i = np.indices(shape).reshape(3, -1)
    to_second = np.linalg.inv(second) @ first
    beside = np.abs((to_second - np.rint(to_second)) @ np.stack([i, j, k, np.ones_like(i)])).max(axis=0)
    return ((beside > 1e-6) & (beside <= LATTICE_TOLERANCE)).any()


@per_scene
@given(array=label_arrays(), lattice=lattices(), volume_parent=rigids, segmentation_parent=rigids)
def test_different_parents_misplace_no_voxel_and_keep_the_neighbour(array, lattice, volume_parent, segmentation_parent):
    assume(not nearly_coincide(volume_parent @ lattice, segmentation_parent @ lattice, array.shape))
    volume = add_volume(array, lattice, add_transform(volume_parent))
    neighbour = np.random.default_rng(0).random(array.shape) < 0.5
    neighbour[0, 0, 0] = True
    segmentation = add_segmentation(volume, {"drawn": neighbour})
    segmentation.SetAndObserveTransformNodeID(add_transform(segmentation_parent).GetID())
    before = snapshot(segmentation)

    written = write(volume, segmentation)

    assert snapshot(segmentation)[:1] == before
    for concept, value in zip(written.concepts, (1, 2), strict=True):
        assert misplaced(segmentation, concept.segment_id, volume, array == value) == 0


def test_an_empty_segmentation_takes_the_lattice_of_the_volume():
    import slicer

    mask = np.random.default_rng(0).random((4, 5, 6)) < 0.4
    volume = add_volume(labels(liver=mask), parent=add_transform(TURNED))
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.SetAndObserveTransformNodeID(add_transform(rigid((0, 0, 90), (0, 0, -100))).GetID())
    segmentation.GetSegmentation().AddEmptySegment("", "nothing yet")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(add_volume(np.zeros((2, 2, 2), np.int16)))

    written = write(volume, segmentation, ["liver"])

    assert misplaced(segmentation, written.concepts[0].segment_id, volume, mask) == 0
    to_volume = np.linalg.inv(to_world(volume)) @ to_world(segmentation)
    assert to_volume @ reference_lattice(segmentation)[0] == pytest.approx(np.eye(4), abs=1e-9)


def test_an_empty_segmentation_of_surfaces_takes_labelmaps():
    import slicer

    (mask,) = boxes(((1, 1, 1), (5, 5, 5)))
    volume = add_volume(labels(liver=mask))
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.GetSegmentation().SetSourceRepresentationName("Closed surface")

    written = write(volume, segmentation, ["liver"])

    assert misplaced(segmentation, written.concepts[0].segment_id, volume, mask) == 0


@per_scene
@given(
    array=label_arrays(),
    lattice=lattices(),
    permutation=st.permutations(range(3)),
    flips=st.tuples(*[st.booleans()] * 3),
)
def test_the_same_voxels_stored_in_another_order_stay_exact(array, lattice, permutation, flips):
    """A segmentation from a file often holds the volume's own voxels flipped or with its axes exchanged."""
    volume = add_volume(array, lattice)
    sizes = np.array(array.shape[::-1])
    reorder = np.eye(4)
    reorder[:3, :3] = np.eye(3)[:, permutation] * np.where(flips, -1, 1)[:, None]
    reorder[:3, 3] = np.where(flips, sizes - 1, 0)
    other = add_volume(
        np.zeros(np.array(array.shape)[[2 - permutation.index(2 - n) for n in range(3)]], np.int16), lattice @ reorder
    )
    neighbour = np.ones(other.GetImageData().GetDimensions()[::-1], bool)
    segmentation = add_segmentation(other, {"drawn": neighbour})

    written = write(volume, segmentation)

    assert misplaced(segmentation, "drawn", other, neighbour) == 0
    for concept, value in zip(written.concepts, (1, 2), strict=True):
        assert misplaced(segmentation, concept.segment_id, volume, array == value) == 0


def test_segments_are_cropped_to_what_they_hold():
    (mask,) = boxes(((2, 3, 4), (5, 7, 6)))

    written = write(add_volume(labels(liver=mask)), concepts=["liver"])

    segment = written.segmentation_node.GetSegmentation().GetSegment(written.concepts[0].segment_id)
    assert segment.GetRepresentation("Binary labelmap").GetExtent() == (4, 5, 3, 6, 2, 4)


def test_one_undo_takes_back_the_whole_action_bit_for_bit():
    volume, segmentation, _ = overlapping(False)
    edit_settings(segmentation, volume).SetOverwriteMode(0)
    writer = SegmentWriter()
    states = [snapshot(segmentation)]
    write(volume, segmentation, writer=writer)
    states.append(snapshot(segmentation))
    volume.GetImageData().GetPointData().GetScalars().Fill(2)
    write(volume, segmentation, writer=writer)
    states.append(snapshot(segmentation))
    assert states[0] != states[1] != states[2]

    assert writer.undo()
    assert snapshot(segmentation) == states[1]
    assert writer.undo()
    assert snapshot(segmentation) == states[0]
    assert not writer.undo()
    assert writer.redo()
    assert writer.redo()
    assert snapshot(segmentation) == states[2]
    assert not writer.redo()


def test_another_undo_history_is_told_once_and_before_anything_changes():
    volume, segmentation, _ = overlapping(False)
    before = snapshot(segmentation)
    saved = []

    write(volume, segmentation, save_state=lambda: saved.append(snapshot(segmentation)))

    assert saved == [before]


def test_name_color_terminology_and_provenance_survive_saving(tmp_path):
    liver, spleen = boxes(((2, 2, 2), (6, 6, 6)), ((0, 0, 6), (4, 4, 9)))
    volume = add_volume(labels(liver=liver, spleen=spleen), rigid((5, 10, 15), (1, 2, 3)), name='CT | "a\\b" é\n2')
    segmentation = write(volume).segmentation_node
    save_node(segmentation, tmp_path / "s.seg.nrrd")

    loaded = load_segmentation(tmp_path / "s.seg.nrrd").GetSegmentation()

    vocabulary = Vocabulary.load()
    assert loaded.GetNumberOfSegments() == 2
    for number, (name, mask) in enumerate((("liver", liver), ("spleen", spleen))):
        segment = loaded.GetNthSegment(number)
        assert segment.GetName() == name
        assert not segment.GetNameAutoGenerated()
        assert not segment.GetColorAutoGenerated()
        assert segment.GetColor() == pytest.approx(vocabulary.color_for(name), abs=1e-5)
        assert segment.GetTerminology() == terminology_entry(vocabulary.find(name))
        provenance = read_provenance(segment)
        assert provenance == read_provenance(segmentation.GetSegmentation().GetNthSegment(number))
        assert provenance["concept"] == name
        assert provenance["input"]["name"] == volume.GetName()
        assert provenance["model"]["demo"] is True
        assert mask.sum() == len(
            segment_in_world(load_segmentation(tmp_path / "s.seg.nrrd"), loaded.GetNthSegmentID(number))
        )


def test_a_sheared_volume_is_written_on_the_voxels_it_was_resampled_to():
    (mask,) = boxes(((1, 1, 1), (7, 8, 9)))
    sheared = np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])
    volume = add_volume(labels(liver=mask), sheared)

    written = write(volume, concepts=["liver"])

    placed = read_volume_node(volume)
    expected = placed.volume.grid.to_ras(np.argwhere(placed.volume.array == 1)[:, ::-1].astype(float))
    held = segment_in_world(written.segmentation_node, written.concepts[0].segment_id)
    assert unmatched(held, expected) == 0
    assert reference_lattice(written.segmentation_node)[0] == pytest.approx(placed.volume.grid.ijk_to_ras)


def test_the_voxels_go_where_the_volume_was_when_it_was_read():
    """A transform that moves volume and segmentation together while the model runs moves the result with them."""
    (mask,) = boxes(((1, 1, 1), (4, 4, 4)))
    parent = add_transform(rigid((0, 0, 0), (1, 2, 3)))
    volume = add_volume(labels(liver=mask), parent=parent)
    placed = read_volume_node(volume)
    result = FakeSegmenter(VALUES).segment(placed.volume, SegmentRequest(("liver",)))
    parent.SetMatrixTransformToParent(vtk_matrix(TURNED))

    written = write_result(result, placed, volume)

    assert misplaced(written.segmentation_node, written.concepts[0].segment_id, volume, mask) == 0


def test_what_cannot_be_written_into_is_refused_and_nothing_changes(scene):
    import slicer
    import vtk

    (mask,) = boxes(((1, 1, 1), (4, 4, 4)))
    volume = add_volume(labels(liver=mask))
    warped = add_segmentation(volume, {"drawn": mask})
    warped.SetAndObserveTransformNodeID(add_warp().GetID())
    surface = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "surface")
    sphere = vtk.vtkSphereSource()
    sphere.Update()
    surface.GetSegmentation().SetSourceRepresentationName("Closed surface")
    surface.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball")
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "skin")

    for node, why in ((warped, "non-linear"), (surface, "Closed surface"), (model, "not a segmentation")):
        before = (scene.GetNumberOfNodes(), node.GetMTime())
        with pytest.raises(InputError, match=why):
            write(volume, node)
        assert (scene.GetNumberOfNodes(), node.GetMTime()) == before


def test_a_closed_scene_is_forgotten(scene):
    (mask,) = boxes(((1, 1, 1), (4, 4, 4)))
    writer = SegmentWriter()
    write(add_volume(labels(liver=mask)), writer=writer, concepts=["liver"])
    scene.Clear(False)

    volume = add_volume(labels(liver=mask))
    written = write(volume, writer=writer, concepts=["liver"])

    assert misplaced(written.segmentation_node, written.concepts[0].segment_id, volume, mask) == 0
    assert writer.undo()
    assert not writer.undo()
