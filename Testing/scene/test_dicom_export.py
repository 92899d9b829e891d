"""Segments of a scene as DICOM objects: voxels where the images are, who drew them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from MedSAM3SceneLib.segments.dicom_export import copy_for_dicom, write_dicom
from MedSAM3SceneLib.segments.edited_slices import write_written, written_slices
from MedSAM3SceneLib.segments.provenance import write_provenance
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.segmentation import read_segmentation
from support.dicom_study import DicomStudy, load_study
from support.nodes import add_transform, segments


@pytest.fixture
def study(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DicomStudy:
    return load_study(bench.slicer, tmp_path / "study", monkeypatch)


def exported(study: DicomStudy, path: Path) -> Any:
    write_dicom(path, copy_for_dicom(study.segmentation, study.node))
    return pydicom.dcmread(path)


def in_patient(mask: Any, grid: VoxelGrid) -> Any:
    """Where the centers of voxels lie, RAS millimeters, in an order that does not depend on the grid."""
    kji = np.argwhere(mask)
    ras = np.column_stack([kji[:, ::-1], np.ones(len(kji))]) @ grid.ijk_to_ras.T
    return ras[np.lexsort(np.round(ras[:, :3], 2).T), :3]


@pytest.mark.parametrize("is_moved", [False, True])
def test_voxels_are_where_the_images_are_also_under_a_transform(
    study: DicomStudy, tmp_path: Path, is_moved: bool
) -> None:
    if is_moved:
        moved = add_transform(np.array([[0, -1, 0, 40.0], [1, 0, 0, -5], [0, 0, 1, 7], [0, 0, 0, 1]]))
        for node in (study.node, study.segmentation):
            node.SetAndObserveTransformNodeID(moved.GetID())
    exported(study, tmp_path / "out.dcm")
    back, grid = read_segmentation(tmp_path / "out.dcm")
    assert [one.name for one in back] == ["liver", "spleen"]
    for one in back:
        drawn = in_patient(study.masks[one.name], study.volume.grid)
        np.testing.assert_allclose(in_patient(one.mask, grid), drawn, atol=1e-3)


def test_who_drew_it_is_told(study: DicomStudy, tmp_path: Path) -> None:
    ids, segmentation = segments(study.segmentation), study.segmentation.GetSegmentation()
    liver = segmentation.GetSegment(ids["liver"])
    stack = SliceStack.along(study.volume.grid, Plane.ACQUIRED)
    write_provenance(liver, {"model": {"name": "a model", "sha256": "ab" * 32}, "threshold": 0.5})
    write_written(liver, written_slices(study.masks["liver"], stack))
    first = exported(study, tmp_path / "a.dcm").SegmentSequence
    assert [one.SegmentAlgorithmType for one in first] == ["AUTOMATIC", "MANUAL"]
    assert first[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "a model"
    # One slice is what a person made of it since.
    before = study.masks["liver"].copy()
    before[3] = False
    write_written(liver, written_slices(before, stack))
    assert [one.SegmentAlgorithmType for one in exported(study, tmp_path / "b.dcm").SegmentSequence] == [
        "SEMIAUTOMATIC",
        "MANUAL",
    ]
    structures = exported(study, tmp_path / "c.rtstruct.dcm").StructureSetROISequence
    assert [one.ROIGenerationAlgorithm for one in structures] == ["SEMIAUTOMATIC", "MANUAL"]


def test_what_does_not_lie_where_its_images_do_is_refused(study: DicomStudy, tmp_path: Path) -> None:
    study.node.SetOrigin(*np.add(study.node.GetOrigin(), (0, 3, 0)))
    with pytest.raises(InputError, match="does not lie where its DICOM images do"):
        exported(study, tmp_path / "out.dcm")
    assert not list(tmp_path.glob("*.dcm"))


def test_a_volume_that_is_not_from_dicom_or_whose_images_are_gone_is_refused(study: DicomStudy) -> None:
    Path(next(iter(study.files.values()))).unlink()
    with pytest.raises(InputError, match="not in Slicer's DICOM database any more"):
        copy_for_dicom(study.segmentation, study.node)
    study.node.RemoveAttribute("DICOM.instanceUIDs")
    with pytest.raises(InputError, match="was not loaded from Slicer's DICOM database"):
        copy_for_dicom(study.segmentation, study.node)
