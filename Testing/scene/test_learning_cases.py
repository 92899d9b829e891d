"""What is learnt from the scene: which segments, where their voxels are, and on which slices a person looked."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SceneLib.coroutines import WORKING, in_budget, run_steps_to_end
from MedSAM3SceneLib.learning.learnable_segments import learnable_segments
from MedSAM3SceneLib.learning.read_cases import write_cases
from MedSAM3SceneLib.segments.completed import COMPLETED, STATUS_TAG
from MedSAM3SceneLib.segments.edited_slices import write_written, written_slices
from MedSAM3SegmentLib.engine.learning.case_file import read_cases
from MedSAM3SegmentLib.engine.learning.job_folder import JobFolder
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from support.nodes import add_segmentation, add_transform, add_volume, segments

SHAPE = (12, 20, 22)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSAM3_RUN", str(tmp_path / "run"))
    return JobFolder.make()


def block(*ranges):
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*one) for one in ranges)] = True
    return mask


def drawn(scene_masks, name="Doe^Jane", lattice=None, parent=None):
    lattice = np.diag([-2.0, -2.0, 3.0, 1.0]) if lattice is None else lattice
    array = np.random.default_rng(3).integers(-100, 100, SHAPE).astype(np.int16)
    volume = add_volume(array, lattice, parent, name)
    return volume, add_segmentation(volume, scene_masks), array


def written_by_program(node, name, mask, lattice, plane=Plane.ACQUIRED):
    stack = SliceStack.along(VoxelGrid(SHAPE, lattice), plane)
    write_written(node.GetSegmentation().GetSegment(segments(node)[name]), written_slices(mask, stack))


def export(scene, folder):
    found, _ = learnable_segments(scene)
    modalities = run_steps_to_end(write_cases(found, folder))
    return read_cases(folder.data), modalities


def test_voxels_and_masks_arrive_to_the_voxel_without_names(scene, folder):
    masks = {"liver": block((2, 9), (2, 10), (2, 12)), "left kidney": block((3, 8), (12, 18), (14, 20))}
    turned = add_transform(np.array([[0.0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]]))
    lattice = np.diag([-2.0, 2.0, -3.0, 1.0])
    volume, _, array = drawn(masks, lattice=lattice, parent=turned)
    volume.SetAttribute("DICOM.Modality", "MR")
    (case,), modalities = export(scene, folder)
    assert modalities == ("MR",)
    assert np.array_equal(case.volume.array, array)
    assert case.volume.modality == "MR"
    assert {name: np.array_equal(mask, masks[name]) for name, mask in case.masks.items()} == dict.fromkeys(masks, True)
    expected = np.array([[0.0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]]) @ lattice
    assert np.allclose(case.volume.grid.ijk_to_ras, expected)
    assert case.labelled_slices == frozenset(range(2, 9))
    assert not any("Doe" in str(path) for path in folder.path.rglob("*"))
    assert case.volume.name == "volume"


def test_only_slices_that_a_person_changed_count(scene, folder):
    mask = block((2, 9), (2, 10), (2, 12))
    lattice = np.diag([-2.0, -2.0, 3.0, 1.0])
    _, node, _ = drawn({"liver": mask}, lattice=lattice)
    before = mask.copy()
    before[4, 2:5] = False
    before[9, 3:5, 3:5] = True  # which a person emptied
    written_by_program(node, "liver", before, lattice)
    (case,), _ = export(scene, folder)
    assert case.labelled_slices == frozenset({4, 9})


def test_the_plane_of_the_program_or_of_the_drawing_is_kept(scene, folder):
    mask = block((2, 9), (2, 10), (2, 12))
    lattice = np.diag([-2.0, -2.0, 3.0, 1.0])
    _, node, _ = drawn({"liver": mask}, lattice=lattice)
    before = mask.copy()
    before[:, :, 5] = False
    written_by_program(node, "liver", before, lattice, Plane.SAGITTAL)
    drawn({"spleen": block((2, 10), (3, 18), (7, 8))}, name="other")
    first, second = export(scene, folder)[0]
    assert (first.plane, first.labelled_slices) == (Plane.SAGITTAL, frozenset({5}))
    assert (second.plane, second.labelled_slices) == (Plane.SAGITTAL, frozenset({7}))


def test_segments_marked_as_completed_were_looked_at_everywhere(scene, folder):
    mask = block((2, 9), (2, 10), (2, 12))
    lattice = np.diag([-2.0, -2.0, 3.0, 1.0])
    _, node, _ = drawn({"liver": mask}, lattice=lattice)
    written_by_program(node, "liver", mask, lattice)
    with pytest.raises(InputError, match="Nothing in 'drawn' was drawn or corrected"):
        export(scene, folder)
    node.GetSegmentation().GetSegment(segments(node)["liver"]).SetTag(STATUS_TAG, COMPLETED)
    assert export(scene, folder)[0][0].labelled_slices == "all"


def test_what_cannot_be_learnt_from_says_why(scene, folder):
    mask = block((2, 9), (2, 10), (2, 12))
    _, node, _ = drawn({"liver": mask, "Segment_1": block((3, 8), (12, 18), (14, 20))})
    node.GetSegmentation().AddEmptySegment("empty", "spleen")
    alone = add_segmentation(add_volume(np.zeros(SHAPE, np.int16)), {"aorta": mask})
    alone.SetNodeReferenceID(alone.GetReferenceImageGeometryReferenceRole(), None)
    found, why_not = learnable_segments(scene)
    assert [one.phrase for one in found if one.segment_id != "empty"] == ["liver"]
    assert ["'Segment_1' does not say" in one or "has no source volume" in one for one in why_not] == [True, True]
    empty = [one for one in found if one.segment_id == "empty"]
    if empty:  # It shares the labelmap of others.
        with pytest.raises(InputError, match="is empty"):
            run_steps_to_end(write_cases(empty, folder))


def test_two_segments_of_one_meaning_and_two_planes_are_refused(scene, folder):
    mask = block((2, 9), (2, 10), (2, 12))
    lattice = np.diag([-2.0, -2.0, 3.0, 1.0])
    _, node, _ = drawn({"liver": mask, "Liver": block((3, 8), (12, 18), (14, 20))}, lattice=lattice)
    with pytest.raises(InputError, match="mean 'Liver'"):
        export(scene, folder)
    node.GetSegmentation().GetSegment(segments(node)["Liver"]).SetName("spleen")
    written_by_program(node, "liver", mask, lattice, Plane.SAGITTAL)
    written_by_program(node, "spleen", mask, lattice, Plane.CORONAL)
    with pytest.raises(InputError, match="different planes"):
        export(scene, folder)


def test_no_step_copies_much_and_a_change_meanwhile_is_refused(scene, folder):
    array = np.zeros((40, 300, 300), np.int16)
    volume = add_volume(array, np.diag([-1.0, -1.0, 1.0, 1.0]))
    mask = np.zeros(array.shape, bool)
    mask[1:39, 5:290, 5:290] = True
    node = add_segmentation(volume, {"liver": mask})
    found, _ = learnable_segments(scene)
    steps = write_cases(found, folder)
    # 7.2 MB of voxels and 3 MB of labels, one MB a step at most.
    assert sum(1 for waits in in_budget(steps, 0.0) if waits is WORKING) >= 10
    steps = write_cases(found, folder)
    next(steps)
    for _ in range(8):
        next(steps)
    node.GetSegmentation().RemoveSegment(segments(node)["liver"])
    with pytest.raises(InputError, match=r"removed or emptied|was changed"):
        run_steps_to_end(steps)
