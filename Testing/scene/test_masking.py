"""Writing a result honours masking and overwriting of the Segment Editor: neighbors keep what they protect."""

import numpy as np
import pytest

from MedSAM3SceneLib.coroutines import run_steps_to_end
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.mrml.segment_masks import grid_to_segmentation, segment_mask
from MedSAM3SceneLib.mrml.volumes import read_volume_node
from MedSAM3SceneLib.segments.edited_slices import edited_slices
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from support.nodes import (
    add_segmentation,
    add_volume,
    mask_in_world,
    misplaced,
    rigid,
    segment_in_world,
    snapshot,
    unmatched,
)
from support.segment_writing import boxes, edit_settings, labels, overlapping, write

pytestmark = pytest.mark.usefixtures("scene")


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


def test_a_neighbor_on_another_lattice_loses_only_overwritten_voxels():
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
    # A voxel is overwritten when its center lies in one of the new voxels, which are cubes of 1 mm.
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


def test_masking_on_another_lattice_leaves_out_voxels_with_masked_centers():
    import slicer

    volume, segmentation, liver = overlapping(tilted=True)
    before = snapshot(segmentation)
    editor = edit_settings(segmentation, volume)
    editor.SetOverwriteMode(editor.OverwriteNone)
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)

    (concept,) = write(volume, segmentation, ["liver"]).concepts

    assert snapshot(segmentation)[:2] == before
    # The neighbors' voxels are at whole millimeters.
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


def test_clearing_a_segment_keeps_masked_voxels_and_gives_nobody_any():
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
        run_steps_to_end(writer.clear("liver"))

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
