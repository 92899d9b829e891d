"""Results become segments: every voxel at its place, neighbours kept, one undo state, and nothing made for nothing."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from MedSAM3SceneLib.concept_writing import Outcome
from MedSAM3SceneLib.edited_slices import edited_slices
from MedSAM3SceneLib.editing import SegmentWriter
from MedSAM3SceneLib.fake_segmenter import FakeSegmenter
from MedSAM3SceneLib.labelmaps import LATTICE_TOLERANCE
from MedSAM3SceneLib.provenance import read_provenance
from MedSAM3SceneLib.segment_voxels import grid_to_segmentation, segment_mask
from MedSAM3SceneLib.segmentations import masks_of, write_in_steps
from MedSAM3SceneLib.steps import finish
from MedSAM3SceneLib.volumes import read_volume_node
from MedSAM3SegmentLib.concepts import Vocabulary
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.grid import SliceStack
from MedSAM3SegmentLib.request import Grouping, SegmentRequest
from MedSAM3SegmentLib.terminology import terminology_entry
from scene_nodes import (
    add_segmentation,
    add_transform,
    add_volume,
    add_warp,
    label_arrays,
    lattices,
    mask_in_world,
    misplaced,
    rigid,
    rigids,
    segment_in_world,
    snapshot,
    to_world,
    unmatched,
    vtk_matrix,
)
from slicer_scene import load_segmentation, save_node

pytestmark = pytest.mark.usefixtures("scene")

per_scene = settings(max_examples=25, deadline=None)

VALUES = {"liver": 1, "spleen": 2}
TURNED = rigid((20, -35, 50), (100, 0, 0))


def write(volume, segmentation=None, concepts=("liver", "spleen"), writer=None, **options):
    """Segment by voxel value and write: what the logic does, without the logic."""
    placed = read_volume_node(volume)
    result = FakeSegmenter(VALUES).segment(placed.volume, SegmentRequest(tuple(concepts)))
    return write_result(result, placed, volume, segmentation, writer, **options)


def write_result(result, placed, volume, segmentation=None, writer=None, save_state=None, grouping=Grouping.CONCEPT):
    """All steps of writing at once."""
    masks, writer = masks_of(result, grouping), writer or SegmentWriter()
    return finish(write_in_steps(result, masks, placed, volume, segmentation, Vocabulary.load(), writer, save_state))


def boxes(*corners, shape=(8, 9, 10)):
    """Masks of boxes ``((k0, j0, i0), (k1, j1, i1))``, ends not included."""
    masks = []
    for first, end in corners:
        mask = np.zeros(shape, bool)
        mask[tuple(slice(a, b) for a, b in zip(first, end, strict=True))] = True
        masks.append(mask)
    return masks


def labels(**masks):
    """An image whose voxel values are those of ``VALUES``."""
    array = np.zeros(next(iter(masks.values())).shape, np.int16)
    for name, mask in masks.items():
        array[mask] = VALUES[name]
    return array


def reference_lattice(segmentation):
    """The matrix and extent that Slicer edits ``segmentation`` on."""
    import slicer
    import vtk

    converter, matrix, extent = slicer.vtkSegmentationConverter, vtk.vtkMatrix4x4(), [0] * 6
    name = converter.GetReferenceImageGeometryParameterName()
    geometry = segmentation.GetSegmentation().GetConversionParameter(name)
    assert converter.DeserializeImageGeometry(geometry, matrix, extent)
    return np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)]), tuple(extent)


def edit_settings(segmentation, volume):
    """The Segment Editor's own node, open on ``segmentation``."""
    import slicer

    editor = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetAndObserveSegmentationNode(segmentation)
    editor.SetAndObserveSourceVolumeNode(volume)
    return editor


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


def overlapping(tilted):
    """A volume whose liver overlaps two drawn segments, one of them hidden, on its own lattice or on another one."""
    liver, shown, hidden = boxes(((2, 2, 2), (6, 6, 6)), ((0, 0, 0), (4, 4, 4)), ((5, 5, 0), (8, 9, 10)))
    volume = add_volume(labels(liver=liver))
    segmentation = add_segmentation(volume, {"shown": shown, "hidden": hidden})
    segmentation.GetDisplayNode().SetSegmentVisibility("hidden", False)
    if tilted:
        volume.SetIJKToRASMatrix(vtk_matrix(rigid((0, 0, 30), (3.3, -1.1, 0.2))))
    return volume, segmentation, liver


@pytest.mark.parametrize("tilted", [False, True])
@pytest.mark.parametrize("mode", ["OverwriteNone", "OverwriteVisibleSegments", "OverwriteAllSegments"])
def test_neighbours_keep_what_the_overwrite_mode_protects(mode, tilted):
    import slicer

    volume, segmentation, liver = overlapping(tilted)
    before = {name: segment_in_world(segmentation, name) for name in ("shown", "hidden")}
    editor = edit_settings(segmentation, volume)
    editor.SetOverwriteMode(getattr(slicer.vtkMRMLSegmentEditorNode, mode))

    written = write(volume, segmentation, ["liver"])

    assert misplaced(segmentation, written.concepts[0].segment_id, volume, liver) == 0
    new = mask_in_world(volume, liver)
    for name, overwritten in (("shown", mode != "OverwriteNone"), ("hidden", mode == "OverwriteAllSegments")):
        after = segment_in_world(segmentation, name)
        if not overwritten:
            assert unmatched(after, before[name]) == 0
        else:
            # On another lattice "the same voxel" means the nearest one.
            distance = np.array([np.abs(new - place).max(axis=1).min() for place in before[name]])
            clearly_outside = before[name][distance > 1.5]
            assert 0 < len(after) < len(before[name])
            assert all((np.abs(after - place).max(axis=1) < 1e-3).any() for place in clearly_outside)
            if not tilted:
                assert len(after) == len(before[name]) - int((distance < 1e-3).sum())


def test_a_neighbour_on_another_lattice_loses_no_voxel_that_was_not_overwritten():
    spleen, liver = boxes(((1, 1, 1), (7, 8, 9)), ((4, 4, 4), (8, 9, 10)))
    volume = add_volume(labels(liver=liver))
    segmentation = add_segmentation(volume, {"drawn": boxes(((0, 0, 9), (1, 1, 10)))[0]})
    tilted = add_volume(labels(spleen=spleen), rigid((5, 8, 10), (0.3, 0.2, 0.1)), name="mr")
    (other,) = write(tilted, segmentation, ["spleen"]).concepts
    before = segment_in_world(segmentation, other.segment_id)
    editor = edit_settings(segmentation, volume)
    editor.SetOverwriteMode(editor.OverwriteAllSegments)

    (concept,) = write(volume, segmentation, ["liver"]).concepts

    assert misplaced(segmentation, concept.segment_id, volume, liver) == 0
    after = segment_in_world(segmentation, other.segment_id)
    new = mask_in_world(volume, liver)
    # A voxel is overwritten when its centre lies in one of the new voxels, which are cubes of 1 mm.
    inside = np.array([np.abs(new - place).max(axis=1).min() <= 0.5 for place in before])
    assert 0 < inside.sum() < len(before)
    assert unmatched(after, before[~inside]) == 0


def test_without_an_open_segment_editor_phrases_may_overlap():
    volume, segmentation, liver = overlapping(False)
    before = snapshot(segmentation)

    written = write(volume, segmentation, ["liver"])

    assert snapshot(segmentation)[:2] == before
    assert misplaced(segmentation, written.concepts[0].segment_id, volume, liver) == 0


def test_a_segment_editor_on_another_segmentation_does_not_count():
    import slicer

    volume, segmentation, _ = overlapping(False)
    before = snapshot(segmentation)
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    edit_settings(other, volume).SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)

    write(volume, segmentation, ["liver"])

    assert snapshot(segmentation)[:2] == before


def test_settings_of_a_segment_editor_end_with_it():
    volume, segmentation, _ = overlapping(False)
    editor = edit_settings(segmentation, volume)
    editor.SetOverwriteMode(editor.OverwriteAllSegments)
    writer = SegmentWriter()
    write(volume, segmentation, ["liver"], writer)
    writer.undo()
    editor.SetAndObserveSegmentationNode(None)
    before = snapshot(segmentation)

    write(volume, segmentation, ["liver"], writer)

    assert snapshot(segmentation)[:2] == before


def test_a_segment_does_not_mask_itself():
    import slicer

    first, second, spleen = boxes(((1, 1, 1), (5, 5, 5)), ((3, 3, 3), (7, 7, 7)), ((0, 0, 0), (4, 4, 4)))
    volume = add_volume(labels(spleen=spleen, liver=first & ~spleen))
    segmentation = write(volume, concepts=["spleen", "liver"]).segmentation_node
    editor = edit_settings(segmentation, volume)
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    slicer.util.updateVolumeFromArray(volume, labels(liver=second))

    written = write(volume, segmentation, ["liver"])

    assert misplaced(segmentation, written.concepts[0].segment_id, volume, second & ~spleen) == 0


def test_an_update_keeps_what_masking_forbids_to_edit():
    """Also far from the new voxels: what the segment holds under a mask stays."""
    import slicer

    first, second, wall = boxes(((1, 1, 1), (5, 5, 5)), ((3, 3, 3), (7, 7, 7)), ((0, 0, 0), (8, 9, 4)))
    volume = add_volume(labels(liver=first))
    written = write(volume, concepts=["liver"])
    segmentation, segment_id = written.segmentation_node, written.concepts[0].segment_id
    segmentation.GetSegmentation().CopySegmentFromSegmentation(
        add_segmentation(volume, {"wall": wall}).GetSegmentation(), "wall"
    )
    editor = edit_settings(segmentation, volume)
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    slicer.util.updateVolumeFromArray(volume, labels(liver=second))

    write(volume, segmentation, ["liver"])

    assert misplaced(segmentation, segment_id, volume, second & ~wall | first & wall) == 0


MASKS = {
    "EditAllowedInsideSingleSegment": lambda liver, shown, _: liver & shown,
    "EditAllowedInsideAllSegments": lambda liver, shown, hidden: liver & (shown | hidden),
    "EditAllowedInsideVisibleSegments": lambda liver, shown, _: liver & shown,
    "EditAllowedOutsideAllSegments": lambda liver, shown, hidden: liver & ~(shown | hidden),
    "EditAllowedOutsideVisibleSegments": lambda liver, shown, _: liver & ~shown,
}


@pytest.mark.parametrize("crop_reference", [False, True])
@pytest.mark.parametrize("mode", MASKS)
def test_masking_is_honoured(mode, crop_reference):
    import slicer

    liver, shown, hidden = boxes(((2, 2, 2), (6, 6, 6)), ((0, 0, 0), (4, 4, 4)), ((5, 5, 0), (8, 9, 10)))
    volume = add_volume(labels(liver=liver))
    drawn = {"shown": shown} if crop_reference else {"shown": shown, "hidden": hidden}
    segmentation = add_segmentation(volume, drawn)
    if crop_reference:
        # A segmentation from a file has the lattice of the volume, but only where it has segments.
        hidden = np.zeros_like(hidden)
        small = add_volume(np.zeros((4, 4, 4), np.int16))
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(small)
    else:
        segmentation.GetDisplayNode().SetSegmentVisibility("hidden", False)
    editor = edit_settings(segmentation, volume)
    editor.SetOverwriteMode(editor.OverwriteNone)
    editor.SetMaskMode(getattr(slicer.vtkMRMLSegmentationNode, mode))
    editor.SetMaskSegmentID("shown")
    before = snapshot(segmentation)

    written = write(volume, segmentation, ["liver"])

    assert snapshot(segmentation)[: len(before)] == before
    allowed = MASKS[mode](liver, shown, hidden)
    assert misplaced(segmentation, written.concepts[0].segment_id, volume, allowed) == 0


@pytest.mark.parametrize("crop_reference", [False, True])
def test_the_editable_intensity_range_is_honoured(crop_reference):
    liver, drawn = boxes(((2, 2, 2), (6, 6, 6)), ((0, 0, 0), (2, 2, 2)))
    volume = add_volume(labels(liver=liver))
    intensity = np.random.default_rng(0).integers(0, 100, liver.shape).astype(np.int16)
    segmentation = add_segmentation(volume, {"drawn": drawn})
    if crop_reference:
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(add_volume(np.zeros((4, 4, 4), np.int16)))
    editor = edit_settings(segmentation, add_volume(intensity))
    editor.SetSourceVolumeIntensityMask(True)
    editor.SetSourceVolumeIntensityMaskRange(20, 60)

    written = write(volume, segmentation, ["liver"])

    allowed = liver & (intensity >= 20) & (intensity <= 60)
    assert misplaced(segmentation, written.concepts[0].segment_id, volume, allowed) == 0


def test_masking_on_another_lattice_leaves_out_the_voxels_whose_centres_are_masked():
    import slicer

    volume, segmentation, liver = overlapping(tilted=True)
    before = snapshot(segmentation)
    editor = edit_settings(segmentation, volume)
    editor.SetOverwriteMode(editor.OverwriteNone)
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)

    (concept,) = write(volume, segmentation, ["liver"]).concepts

    assert snapshot(segmentation)[:2] == before
    # The neighbours' voxels are at whole millimetres.
    masked = {tuple(place) for name in ("shown", "hidden") for place in segment_in_world(segmentation, name)}
    new = mask_in_world(volume, liver)
    free = np.array([place for place in new if tuple(np.rint(place)) not in masked])
    assert 0 < len(free) < len(new)
    assert unmatched(segment_in_world(segmentation, concept.segment_id), free) == 0


def test_what_masking_let_through_is_remembered_as_written():
    """Otherwise the next run would take the slices for drawn by hand."""
    import slicer

    volume, segmentation, liver = overlapping(tilted=False)
    edit_settings(segmentation, volume).SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)

    (concept,) = write(volume, segmentation, ["liver"]).concepts

    placed = read_volume_node(volume)
    segment = segmentation.GetSegmentation().GetSegment(concept.segment_id)
    held = segment_mask(segment, placed.volume.grid, grid_to_segmentation(segmentation, volume, placed))
    assert 0 < held.sum() < liver.sum()
    assert edited_slices(segment, held, SliceStack.along(placed.volume.grid)) == ()


def test_clearing_a_segment_keeps_what_masking_protects_of_it_and_gives_nobody_voxels():
    """Slicer's eraser gives what it takes inside of one segment back to that segment."""
    liver, only = boxes(((2, 2, 2), (6, 6, 6)), ((0, 0, 0), (4, 9, 9)))
    volume = add_volume(labels(liver=liver))
    segmentation = add_segmentation(volume, {"liver": liver, "only": only})
    editor = edit_settings(segmentation, volume)
    editor.SetMaskMode(segmentation.EditAllowedInsideSingleSegment)
    editor.SetMaskSegmentID("only")
    before = segment_in_world(segmentation, "only")
    writer = SegmentWriter()

    with writer.action(segmentation, volume):
        finish(writer.clear("liver"))

    assert misplaced(segmentation, "liver", volume, liver & ~only) == 0
    assert unmatched(segment_in_world(segmentation, "only"), before) == 0


def test_a_segment_that_masking_keeps_empty_says_so():
    import slicer

    volume, segmentation, _ = overlapping(tilted=False)
    editor = edit_settings(segmentation, volume)
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    (nowhere,) = boxes(((9, 9, 9), (10, 10, 10)))
    other = add_segmentation(volume, {"nowhere": nowhere})
    segmentation.GetSegmentation().CopySegmentFromSegmentation(other.GetSegmentation(), "nowhere")
    editor.SetMaskSegmentID("nowhere")

    (concept,) = write(volume, segmentation, ["liver"]).concepts

    assert "masking lets nothing of it be edited" in concept.message
    assert len(segment_in_world(segmentation, concept.segment_id)) == 0


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


def test_running_again_updates_what_the_first_run_made():
    first, second = boxes(((1, 1, 1), (4, 4, 4)), ((3, 3, 3), (6, 6, 6)))
    volume = add_volume(labels(liver=first))
    segmentation = write(volume, concepts=["liver"]).segmentation_node
    segment_id = segmentation.GetSegmentation().GetNthSegmentID(0)
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    segment.SetName("liver, checked")
    segment.SetColor(0.1, 0.2, 0.3)
    import slicer

    slicer.util.updateVolumeFromArray(volume, labels(liver=second))
    written = write(volume, segmentation, ["The Liver"])

    assert [(c.outcome, c.segment_id) for c in written.concepts] == [(Outcome.UPDATED, segment_id)]
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1
    assert segment.GetName() == "liver, checked"
    assert segment.GetColor() == (0.1, 0.2, 0.3)
    assert misplaced(segmentation, segment_id, volume, second) == 0


def test_the_same_phrase_in_another_volume_is_another_segment():
    (mask,) = boxes(((1, 1, 1), (4, 4, 4)))
    segmentation = write(add_volume(labels(liver=mask), name="ct"), concepts=["liver"]).segmentation_node

    written = write(add_volume(labels(liver=mask), name="mr"), segmentation, ["liver"])

    assert written.concepts[0].outcome is Outcome.CREATED
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 2


def test_a_segment_of_the_users_own_is_not_taken_over():
    (mask,) = boxes(((1, 1, 1), (4, 4, 4)))
    volume = add_volume(labels(liver=mask))
    segmentation = add_segmentation(volume, {"liver": ~mask})
    before = snapshot(segmentation)

    write(volume, segmentation, ["liver"])

    assert snapshot(segmentation)[0] == before[0]
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 2


def test_a_segment_is_updated_after_the_volume_was_moved():
    first, second = boxes(((1, 1, 1), (4, 4, 4)), ((3, 3, 3), (6, 6, 6)))
    volume = add_volume(labels(liver=first))
    segmentation = write(volume, concepts=["liver"]).segmentation_node
    import slicer

    slicer.util.updateVolumeFromArray(volume, labels(liver=second))
    volume.SetAndObserveTransformNodeID(add_transform(TURNED).GetID())

    written = write(volume, segmentation, ["liver"])

    assert written.concepts[0].outcome is Outcome.UPDATED
    assert misplaced(segmentation, written.concepts[0].segment_id, volume, second) == 0


@pytest.mark.parametrize("moved", [False, True])
def test_surfaces_shown_in_3d_follow(moved):
    first, second = boxes(((1, 1, 1), (5, 5, 5)), ((3, 3, 3), (7, 7, 8)))
    volume = add_volume(labels(liver=first))
    segmentation = write(volume, concepts=["liver"]).segmentation_node
    segmentation.CreateClosedSurfaceRepresentation()
    import slicer

    slicer.util.updateVolumeFromArray(volume, labels(liver=second, spleen=first & ~second))
    if moved:
        volume.SetAndObserveTransformNodeID(add_transform(TURNED).GetID())
    written = write(volume, segmentation)

    for concept in written.concepts:
        segment = segmentation.GetSegmentation().GetSegment(concept.segment_id)
        bounds = np.reshape(segment.GetRepresentation("Closed surface").GetBounds(), (3, 2))
        voxels = segment_in_world(segmentation, concept.segment_id)
        np.testing.assert_allclose(bounds, np.stack([voxels.min(axis=0), voxels.max(axis=0)], axis=1), atol=1)


def test_what_is_not_found_makes_no_segment_and_leaves_an_earlier_one_alone():
    (mask,) = boxes(((1, 1, 1), (4, 4, 4)))
    volume = add_volume(labels(liver=mask))

    written = write(volume)
    segmentation = written.segmentation_node
    assert [c.outcome for c in written.concepts] == [Outcome.CREATED, Outcome.NOT_FOUND]
    assert written.concepts[1].segment_id is None
    assert "not found" in written.concepts[1].message
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1

    before = snapshot(segmentation)
    volume.GetImageData().GetPointData().GetScalars().Fill(0)
    written = write(volume, segmentation)
    assert snapshot(segmentation) == before
    assert "The segment 'liver' of an earlier run was left as it was." in written.concepts[0].message


def test_name_colour_terminology_and_provenance_survive_saving(tmp_path):
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
        assert segment.GetColor() == pytest.approx(vocabulary.colour_for(name), abs=1e-5)
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
