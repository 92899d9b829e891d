"""Masking, editable intensity range and overwriting: an action leaves what Slicer's own tools would have left."""

from itertools import product

import numpy as np
import pytest
import vtk
from hypothesis import given, settings
from vtk.util.numpy_support import vtk_to_numpy

from MedSAM3SceneLib.coroutines import run_steps_to_end
from MedSAM3SceneLib.editing import masking
from MedSAM3SceneLib.mrml.labelmaps import labelmap_on_lattice
from MedSAM3SceneLib.mrml.segment_masks import labelmap_mask
from MedSAM3SceneLib.runs import edit_run
from MedSAM3SceneLib.runs.edit_actions import EditAction
from MedSAM3SceneLib.runs.run import run_to_end
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from support.effect_actions import SHAPE, TRUTH, Setting, begin, box, check_that_removing_ends, held
from support.nodes import add_volume, lattices, misplaced, rigids, segment_in_world, snapshot, unmatched

pytestmark = pytest.mark.usefixtures("scene", "no_view_is_left")

MASKS = (
    "Everywhere",
    "InsideAllSegments",
    "InsideVisibleSegments",
    "OutsideAllSegments",
    "OutsideVisibleSegments",
    "InsideSingleSegment",
)
OVERWRITING = ("OverwriteNone", "OverwriteVisibleSegments", "OverwriteAllSegments")

#: The liver has something on every slice, so all of them count as drawn.
LIVER = np.random.default_rng(3).random(SHAPE) < 0.25
SPLEEN = box((2, 3, 4), (6, 6, 10)) & ~LIVER
HIDDEN = box((0, 0, 0), (3, 5, 6)) & ~LIVER & ~SPLEEN
#: On a labelmap of its own, as it overlaps the others.
OVERLAPPING = np.random.default_rng(4).random(SHAPE) < 0.3
ONLY = box((1, 2, 2), (7, 6, 9))
#: The slice that is worked on.
SLICE = box((3, 0, 0), (4, *SHAPE[1:]))


def crowded(mask, overwriting, in_range):
    """A liver among others, in a volume with two slices that are brighter; the editor set as asked."""
    setting = Setting(liver=LIVER, spleen=SPLEEN, hidden=HIDDEN, overlapping=OVERLAPPING, only=ONLY)
    setting.segmentation.GetDisplayNode().SetSegmentVisibility("hidden", False)
    array = setting.slicer.util.arrayFromVolume(setting.volume)
    array[4] += 50
    array[:, :, 7] += 30
    editor = setting.logic.editor
    editor.SetMaskMode(getattr(setting.segmentation, f"EditAllowed{mask}"))
    editor.SetMaskSegmentID("only")
    editor.SetOverwriteMode(getattr(editor, overwriting))
    editor.SetSourceVolumeIntensityMask(in_range)
    editor.SetSourceVolumeIntensityMaskRange(0, 40)
    editor.SetSelectedSegmentID("liver")
    return setting


def oriented(mask, matrix):
    """Slicer's oriented image of a mask, as large as the volume."""
    import slicer

    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*mask.shape[::-1])
    image.SetImageToWorldMatrix(matrix)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = mask.ravel()
    return image


def wanted(action, answer):
    """What the liver shall become where everything may be edited."""
    if action is EditAction.WHOLE_VOLUME:
        return answer
    return np.where(SLICE, answer, LIVER) if action is EditAction.THIS_SLICE else LIVER


@pytest.mark.parametrize("mask", MASKS)
def test_an_action_leaves_all_segments_as_slicers_own_tools_would(mask):
    for overwriting, in_range, action in product(OVERWRITING, (False, True), EditAction):
        ours = crowded(mask, overwriting, in_range)
        answer = ours.slicer.util.arrayFromVolume(ours.volume) == 1
        ours.act(action, slice_node=ours.view(2, 3))
        theirs, painted = (crowded(mask, overwriting, in_range) for _ in range(2))
        matrix = vtk.vtkMatrix4x4()
        theirs.volume.GetIJKToRASMatrix(matrix)
        theirs.logic.set_voxels("liver", oriented(wanted(action, answer), matrix))
        # Of a single slice, neighbors lose what painting it would take from them.
        painted.logic.add_voxels("liver", oriented(np.where(SLICE, answer, False), matrix))

        for name in ("liver", "spleen", "hidden", "overlapping", "only"):
            reference = painted if action is EditAction.THIS_SLICE and name != "liver" else theirs
            found, expected = (held(setting.segmentation, name, setting.volume) for setting in (ours, reference))
            assert (found == expected).all(), (overwriting, in_range, action, name)
        editor = ours.logic.editor
        assert editor.GetMaskMode() == getattr(ours.segmentation, f"EditAllowed{mask}")
        assert editor.GetOverwriteMode() == getattr(editor, overwriting)
        assert bool(editor.GetSourceVolumeIntensityMask()) is in_range
        for setting in (ours, theirs, painted):
            setting.slicer.mrmlScene.RemoveNode(setting.segmentation)


@pytest.mark.parametrize("mask", ["Everywhere", "OutsideAllSegments"])
def test_one_undo_restores_all_segments_bit_for_bit(mask):
    setting = crowded(mask, "OverwriteAllSegments", in_range=True)
    before = snapshot(setting.segmentation)

    setting.act(EditAction.WHOLE_VOLUME)

    assert snapshot(setting.segmentation) != before
    setting.logic.logic.Undo()
    assert snapshot(setting.segmentation) == before


@settings(max_examples=12, deadline=None)
@given(lattice=lattices(), volume_parent=rigids, segmentation_parent=rigids)
def test_masks_and_intensity_range_hold_to_the_voxel_under_other_parents(lattice, volume_parent, segmentation_parent):
    parents = {"volume_parent": volume_parent, "segmentation_parent": segmentation_parent}
    setting = Setting(lattice=lattice, **parents, liver=LIVER, spleen=SPLEEN)
    array = setting.slicer.util.arrayFromVolume(setting.volume)
    array[4] += 50
    answer = array == 1
    editor = setting.logic.editor
    editor.SetMaskMode(setting.segmentation.EditAllowedOutsideAllSegments)
    editor.SetSourceVolumeIntensityMask(True)
    editor.SetSourceVolumeIntensityMaskRange(0, 40)

    setting.act(EditAction.WHOLE_VOLUME)

    expected = np.where((array > 40) | SPLEEN, LIVER, answer)
    assert misplaced(setting.segmentation, "liver", setting.volume, expected) == 0
    assert misplaced(setting.segmentation, "spleen", setting.volume, SPLEEN) == 0


def test_the_intensity_range_reads_the_first_component_of_a_color_volume():
    setting = Setting()
    colors = np.zeros((*SHAPE, 3), np.uint8)
    colors[..., 0][ONLY] = 200
    colors[..., 1] = 255
    editor = setting.logic.editor
    editor.SetAndObserveSourceVolumeNode(add_volume(colors, setting.lattice))
    editor.SetSourceVolumeIntensityMask(True)
    editor.SetSourceVolumeIntensityMaskRange(150, 220)
    labelmap = labelmap_on_lattice(TRUTH, setting.lattice, setting.lattice)

    for editable in run_steps_to_end(masking.as_far_as_editable(labelmap, labelmap, editor, "liver")):
        assert (labelmap_mask(editable, VoxelGrid(SHAPE, setting.lattice), setting.lattice) == TRUTH & ONLY).all()


@pytest.mark.parametrize("restriction", ["single segment", "intensity"])
def test_a_neighbor_on_another_lattice_loses_written_voxels_for_good(restriction):
    mask = "InsideSingleSegment" if restriction == "single segment" else "Everywhere"
    setting = Setting(only=ONLY)
    finer = np.diag([0.5, 0.5, 1.0, 1.0])
    finer[:3, 3] = (-0.25, -0.25, -0.5)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(finer.ravel())
    fine = np.ones((8, 12, 12), bool)
    setting.segmentation.GetSegmentation().AddEmptySegment("fine", "fine")
    neighbour = setting.segmentation.GetSegmentation().GetSegment("fine")
    neighbour.AddRepresentation("Binary labelmap", oriented(fine, matrix))
    neighbour.SetLabelValue(1)
    editor = setting.logic.editor
    editor.SetMaskMode(getattr(setting.segmentation, f"EditAllowed{mask}"))
    editor.SetMaskSegmentID("only")
    editor.SetOverwriteMode(editor.OverwriteAllSegments)
    editor.SetSourceVolumeIntensityMask(restriction == "intensity")
    editor.SetSourceVolumeIntensityMaskRange(1, 1)

    setting.act(EditAction.WHOLE_VOLUME)

    written = TRUTH & ONLY if restriction == "single segment" else TRUTH
    assert (setting.held == written).all()
    assert (held(setting.segmentation, "only", setting.volume) == ONLY & ~written).all()
    k, j, i = np.indices(fine.shape)
    left = np.argwhere(fine & ~written[k // 2, j // 2, i // 2])[:, ::-1] @ finer[:3, :3] + finer[:3, 3]
    assert unmatched(segment_in_world(setting.segmentation, "fine"), left) == 0


def test_where_nothing_may_be_edited_the_segment_is_left_and_that_is_said():
    setting = Setting(only=box((0, 0, 0), (1, 1, 1)))
    editor = setting.logic.editor
    editor.SetMaskMode(setting.segmentation.EditAllowedInsideSingleSegment)
    editor.SetMaskSegmentID("only")
    before = snapshot(setting.segmentation)

    run = setting.act(EditAction.WHOLE_VOLUME)

    assert run.messages[-1] == "Nothing of it may be edited; 'liver' was left as it was."
    assert not run.changed
    assert setting.logic.calls == []
    assert snapshot(setting.segmentation) == before


def test_an_undo_while_the_change_is_worked_out_stays_undone(monkeypatch):
    setting = Setting(liver=box((6, 0, 0), (7, 2, 2)))
    setting.logic.save_state()
    matrix = vtk.vtkMatrix4x4()
    setting.volume.GetIJKToRASMatrix(matrix)
    setting.logic.set_voxels("liver", oriented(box((6, 0, 0), (7, 5, 5)), matrix))
    asked = []

    def undo_once(labelmap, written, editor, segment_id):
        if not asked:
            setting.logic.logic.Undo()
        asked.append(segment_id)
        return masking.as_far_as_editable(labelmap, written, editor, segment_id)

    monkeypatch.setattr(edit_run, "as_far_as_editable", undo_once)
    run_to_end(
        begin(setting.logic, "liver", EditAction.THIS_SLICE, setting.segmenter, slice_node=setting.view(2, 3)),
        lambda: None,
    )

    expected = box((6, 0, 0), (7, 2, 2))
    expected[3] = TRUTH[3]
    assert len(asked) == 2
    assert (setting.held == expected).all()


@pytest.mark.parametrize("what", ["segment", "segmentation", "volume"])
def test_what_is_removed_while_masks_are_looked_up_ends_the_action(what, monkeypatch):
    monkeypatch.setattr(masking, "_VOXELS_A_STEP", 1)
    setting = crowded("OutsideAllSegments", "OverwriteAllSegments", in_range=True)
    run = begin(setting.logic, "liver", EditAction.THIS_SLICE, setting.segmenter, slice_node=setting.view(2, 3))
    looked_up = []
    protected = masking._protected
    monkeypatch.setattr(masking, "_protected", lambda *given: (looked_up.append(1), protected(*given))[1])
    while len(looked_up) < 3 and run.advance(0):
        pass

    check_that_removing_ends(run, setting, what)
