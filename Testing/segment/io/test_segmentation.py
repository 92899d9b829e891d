"""Segmentations written and read back: the same voxels at the same place, for this project, SimpleITK and Slicer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from MedSAM3SegmentLib.cli.options.values import mask_on
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.labelmap_nifti import write_label_map
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.io.segment import PROVENANCE_TAG, Segment, provenance_text
from MedSAM3SegmentLib.io.segmentation import read_segmentation, write_segmentation
from MedSAM3SegmentLib.io.segmentation_paths import check_output
from support.external_data import DATA, SHARED, needs_shared
from support.grids import grids
from support.scene import boot, load_segmentation, save_node

Array = np.ndarray[Any, Any]

LIVER = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
)
PROVENANCE = {"model": {"name": "demo", "demo": True}, "phrase": 'a|b: "c" \\ d\n~é', "threshold": 0.5}
GRID = VoxelGrid((4, 5, 6), np.array([[-2.0, 0, 0, 10], [0, 0, 3.0, 20], [0, 1.5, 0, -30], [0, 0, 0, 1]]))


def mask_of(grid: VoxelGrid, *voxels: tuple[int, int, int]) -> Array:
    mask = np.zeros(grid.shape, bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def itk_grid(path: Path) -> VoxelGrid:
    """The grid that SimpleITK reads, by its own accessors."""
    image = SimpleITK.ReadImage(str(path))
    corner = np.array(image.TransformContinuousIndexToPhysicalPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for axis in range(3):
        index = [0.0, 0.0, 0.0]
        index[axis] = 1.0
        matrix[:3, axis] = np.array(image.TransformContinuousIndexToPhysicalPoint(index)) - corner
    matrix[:3, 3] = corner
    return VoxelGrid(image.GetSize()[::-1], np.diag([-1, -1, 1, 1]) @ matrix)


def slicer_mask(node: Any, segment_id: str, grid: VoxelGrid) -> Array:
    """Where Slicer sees the segment, on ``grid``: found through RAS, so that a wrong place shows."""
    slicer = boot()
    labelmap = slicer.vtkOrientedImageData()
    assert node.GetBinaryLabelmapRepresentation(segment_id, labelmap)
    mask = np.zeros(grid.shape, bool)
    extent = labelmap.GetExtent()
    if extent[1] < extent[0]:
        return mask
    from vtk import vtkMatrix4x4
    from vtk.util.numpy_support import vtk_to_numpy

    matrix = vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    to_ras = np.array([matrix.GetElement(n // 4, n % 4) for n in range(16)]).reshape(4, 4)
    voxels = vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(labelmap.GetDimensions()[::-1])
    ijk = np.argwhere(voxels != 0)[:, ::-1] + extent[::2]
    ijk1 = np.column_stack([ijk, np.ones(len(ijk))])
    own = ijk1 @ to_ras.T @ np.linalg.inv(grid.ijk_to_ras).T
    np.testing.assert_allclose(own, np.rint(own), atol=1e-5)
    index = np.rint(own[:, :3]).astype(int)
    assert (index >= 0).all()
    mask[tuple(index[:, ::-1].T)] = True
    return mask


@st.composite
def segmentations(draw: st.DrawFn) -> tuple[VoxelGrid, list[Array]]:
    """A grid and up to four masks on it, which may overlap, touch the edge, or be empty."""
    grid = draw(grids())
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    densities = draw(st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=1, max_size=4))
    return grid, [generator.random(grid.shape) < density for density in densities]


# .seg.nrrd


@settings(max_examples=60, deadline=None)
@given(segmentations())
def test_what_is_written_is_read_back(tmp_path_factory: Any, drawn: tuple[VoxelGrid, list[Array]]) -> None:
    grid, masks = drawn
    path = tmp_path_factory.mktemp("written") / "out.seg.nrrd"
    written = [
        Segment(f"Größe {n}: a=b", mask, (n / 8, 0.5, 1.0), LIVER if n else "", {"note": f"#{n}"})
        for n, mask in enumerate(masks)
    ]
    write_segmentation(path, written, grid, PROVENANCE)

    read, read_grid = read_segmentation(path)
    assert read_grid.same_as(grid, tolerance_mm=1e-5)
    assert itk_grid(path).same_as(grid, tolerance_mm=1e-5)
    assert len(read) == len(written)
    for ours, theirs in zip(read, written, strict=True):
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        assert (ours.name, ours.terminology) == (theirs.name, theirs.terminology)
        assert ours.color == pytest.approx(theirs.color, abs=1e-5)
        assert ours.tags["note"] == theirs.tags["note"]
        assert json.loads(ours.tags[PROVENANCE_TAG]) == PROVENANCE
    assert json.loads(SimpleITK.ReadImage(str(path)).GetMetaData("MedSAM3_Provenance")) == PROVENANCE
    assert os.listdir(path.parent) == ["out.seg.nrrd"]


@settings(max_examples=25, deadline=None)
@given(segmentations())
def test_slicer_sees_the_same_voxels(tmp_path_factory: Any, drawn: tuple[VoxelGrid, list[Array]]) -> None:
    grid, masks = drawn
    assume(grid.shape != (1, 1, 1))  # Slicer's mark for a segmentation without voxels
    folder = tmp_path_factory.mktemp("slicer")
    segments = [Segment(f"s{n}", mask, (1, 0, 0)) for n, mask in enumerate(masks)]
    write_segmentation(folder / "out.seg.nrrd", segments, grid, PROVENANCE)
    slicer = boot()
    slicer.mrmlScene.Clear(False)
    try:
        node = load_segmentation(folder / "out.seg.nrrd")
        ids = list(node.GetSegmentation().GetSegmentIDs())
        assert len(ids) == len(masks)
        for segment_id, mask in zip(ids, masks, strict=True):
            np.testing.assert_array_equal(slicer_mask(node, segment_id, grid), mask)
        # And this project sees what Slicer saves.
        save_node(node, folder / "saved.seg.nrrd")
        for again, mask in zip(read_segmentation(folder / "saved.seg.nrrd")[0], masks, strict=True):
            assert np.count_nonzero(again.mask) == np.count_nonzero(mask)
    finally:
        slicer.mrmlScene.Clear(False)


def test_slicer_keeps_names_colors_terminology_and_provenance(tmp_path: Path, scene: Any) -> None:
    import vtk

    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    liver = Segment("Leber (é)", mask_of(GRID, (0, 0, 0), (1, 2, 3)), (0.25, 0.5, 0.75), LIVER, {"note": "x|y"})
    # The second begins outside the first: Slicer cuts a shared layer to the first one's extent.
    others = [
        Segment("far corner", mask_of(GRID, (3, 4, 5)), (1, 0, 0)),
        Segment("over the liver", mask_of(GRID, (1, 2, 3)), (0, 1, 0)),
        Segment("empty", mask_of(GRID), (0, 0, 1)),
    ]
    path = tmp_path / "out.seg.nrrd"
    write_segmentation(path, [liver, *others], GRID, PROVENANCE)

    for round_trip in range(2):
        node = load_segmentation(path)
        segmentation = node.GetSegmentation()
        ids = list(segmentation.GetSegmentIDs())
        first = segmentation.GetSegment(ids[0])
        assert [segmentation.GetSegment(n).GetName() for n in ids] == [s.name for s in (liver, *others)]
        assert first.GetColor() == pytest.approx(liver.color, abs=1e-5)
        assert not first.GetNameAutoGenerated()
        assert not first.GetColorAutoGenerated()
        value = vtk.reference("")
        assert first.GetTag("TerminologyEntry", value)
        assert value.get() == LIVER
        assert first.GetTag("note", value)
        assert value.get() == "x¦y"
        for segment_id in ids:
            assert segmentation.GetSegment(segment_id).GetTag(PROVENANCE_TAG, value)
            assert json.loads(value.get()) == PROVENANCE
        for segment_id, segment in zip(ids, (liver, *others), strict=True):
            np.testing.assert_array_equal(slicer_mask(node, segment_id, GRID), segment.mask, err_msg=segment.name)
        if not round_trip:
            path = tmp_path / "saved.seg.nrrd"
            save_node(node, path)


def test_slicer_takes_the_whole_grid_as_its_reference_geometry(tmp_path: Path, scene: Any) -> None:
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    write_segmentation(tmp_path / "a.seg.nrrd", [Segment("a", mask_of(GRID, (1, 1, 1)), (1, 0, 0))], GRID, {})
    slicer = boot()
    segmentation = load_segmentation(tmp_path / "a.seg.nrrd").GetSegmentation()
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    image = slicer.vtkOrientedImageData()
    converter = slicer.vtkSegmentationConverter
    assert converter.DeserializeImageGeometry(segmentation.GetConversionParameter(name), image, False)
    assert image.GetDimensions() == GRID.shape[::-1]
    from vtk import vtkMatrix4x4

    matrix = vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    stored = [[matrix.GetElement(r, c) for c in range(4)] for r in range(4)]
    np.testing.assert_allclose(stored, GRID.ijk_to_ras, atol=1e-9)
    # What is not stated keeps Slicer's defaults.
    assert segmentation.GetConversionParameter("Smoothing factor") == "0.5"


def header_of(path: Path) -> dict[str, str]:
    lines = path.read_bytes().split(b"\n\n", 1)[0].decode().splitlines()
    pairs = (line.replace(":=", ": ", 1).split(": ", 1) for line in lines[1:] if not line.startswith("#"))
    return dict(pairs)


def test_the_header_has_slicers_own_fields(tmp_path: Path, scene: Any) -> None:
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    overlapping = [Segment(n, mask_of(GRID, (1, 1, 1)), (1, 0, 0), LIVER) for n in "ab"]
    write_segmentation(tmp_path / "ours.seg.nrrd", overlapping, GRID, {})
    save_node(load_segmentation(tmp_path / "ours.seg.nrrd"), tmp_path / "slicers.seg.nrrd")
    ours, slicers = header_of(tmp_path / "ours.seg.nrrd"), header_of(tmp_path / "slicers.seg.nrrd")
    assert set(slicers) <= set(ours)
    for key in ("type", "dimension", "space", "kinds", "encoding", "Segment1_Tags", "Segment1_Layer"):
        assert ours[key] == slicers[key], key
    for key in ("Segmentation_MasterRepresentation", "Segmentation_ContainedRepresentationNames"):
        assert ours[key] == slicers[key], key


def test_only_overlapping_segments_take_another_layer(tmp_path: Path) -> None:
    path = tmp_path / "out.seg.nrrd"
    apart = [Segment(str(n), mask_of(GRID, (n, 0, 0)), (1, 1, 1)) for n in range(4)]
    write_segmentation(path, apart, GRID, {})
    image = SimpleITK.ReadImage(str(path))
    assert (image.GetDimension(), image.GetNumberOfComponentsPerPixel()) == (3, 1)
    assert image.GetPixelID() == SimpleITK.sitkUInt8

    over = Segment("over", mask_of(GRID, (0, 0, 0), (3, 0, 0)), (1, 1, 1))
    write_segmentation(path, [*apart, over], GRID, {})
    image = SimpleITK.ReadImage(str(path))
    assert (image.GetSize(), image.GetNumberOfComponentsPerPixel()) == ((6, 5, 4), 2)


def test_more_segments_than_a_byte_holds(tmp_path: Path) -> None:
    grid = VoxelGrid((10, 6, 5), np.eye(4))
    order = np.arange(300).reshape(grid.shape)
    segments = [Segment(str(n), order == n, (1, 1, 1)) for n in range(300)]
    write_segmentation(tmp_path / "many.seg.nrrd", segments, grid, {})
    read, _ = read_segmentation(tmp_path / "many.seg.nrrd")
    assert [int(np.flatnonzero(segment.mask)[0]) for segment in read] == list(range(300))
    write_segmentation(tmp_path / "many.nii", segments, grid, {})
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "many.nii").dataobj).T, order + 1)


def test_nothing_found_is_a_file_too(tmp_path: Path, scene: Any) -> None:
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    path = tmp_path / "nothing.seg.nrrd"
    write_segmentation(path, [], GRID, PROVENANCE)
    segments, grid = read_segmentation(path)
    assert segments == []
    assert grid.same_as(GRID, tolerance_mm=1e-5)
    assert load_segmentation(path).GetSegmentation().GetNumberOfSegments() == 0


def test_a_cropped_file_of_slicer_lies_at_the_same_place(tmp_path: Path, scene: Any) -> None:
    """Slicer's own storage node crops on request; positions in the patient must not move."""
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    slicer = boot()
    mask = mask_of(GRID, (2, 3, 4), (3, 4, 4))
    write_segmentation(tmp_path / "whole.seg.nrrd", [Segment("a", mask, (1, 0, 0))], GRID, {})
    node = load_segmentation(tmp_path / "whole.seg.nrrd")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    slicer.mrmlScene.AddNode(storage)
    storage.SetCropToMinimumExtent(True)
    storage.SetFileName(str(tmp_path / "cropped.seg.nrrd"))
    assert storage.WriteData(node)
    (segment,), grid = read_segmentation(tmp_path / "cropped.seg.nrrd")
    assert np.prod(grid.shape) < np.prod(GRID.shape)
    places = grid.to_ras(np.argwhere(segment.mask)[:, ::-1].astype(float))
    expected = GRID.to_ras(np.argwhere(mask)[:, ::-1].astype(float))
    np.testing.assert_allclose(places, expected, atol=1e-6)


# Every real image


@needs_shared
@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("ct_abdomen/ct.nii.gz", "ct_abdomen/labels.nii.gz"),
        ("mr_abdomen/mr.nii.gz", "mr_abdomen/labels.nii.gz"),
        ("ct_vertebra/ct.nii.gz", "ct_vertebra/labels.nii.gz"),
        ("mr_spinal_cord/t2s.nii.gz", "mr_spinal_cord/labels.nii.gz"),
        ("mr_breast/mr.nrrd", "mr_breast/labels.nrrd"),
        ("ct_dicom/series", None),
        ("ct_dicom_seg/series", "ct_dicom_seg/liver_seg.nrrd"),
    ],
)
def test_output_has_exactly_the_images_grid(tmp_path: Path, image: str, labels: str | None) -> None:
    volume = read_volume(DATA / image)
    if labels:
        segments, grid = read_segmentation(DATA / labels)
        # liver_seg.nrrd was made with two decimals less than its image.
        assert grid.same_as(volume.grid, tolerance_mm=0.1)
    else:
        bright = volume.array > np.percentile(volume.array, 90)
        segments = [Segment("bright", bright, (1, 1, 0))]
    write_segmentation(tmp_path / "out.seg.nrrd", segments, volume.grid, PROVENANCE)
    assert itk_grid(tmp_path / "out.seg.nrrd").same_as(volume.grid, tolerance_mm=1e-5)
    if (DATA / image).is_file():
        assert itk_grid(tmp_path / "out.seg.nrrd").same_as(itk_grid(DATA / image), tolerance_mm=1e-5)
    read, read_grid = read_segmentation(tmp_path / "out.seg.nrrd")
    assert read_grid.same_as(volume.grid, tolerance_mm=1e-5)
    for one, other in zip(read, segments, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)


@needs_shared
@pytest.mark.parametrize("folder", ["ct_abdomen", "mr_abdomen", "ct_vertebra", "mr_spinal_cord", "mr_breast"])
def test_label_maps_of_others_are_read_voxel_for_voxel(folder: str) -> None:
    path = next((DATA / folder).glob("labels.n*"))
    expected = {int(n): known["voxels"] for n, known in json.loads((DATA / folder / "labels.json").read_text()).items()}
    segments, _ = read_segmentation(path)
    assert {int(s.name.split()[-1]): int(np.count_nonzero(s.mask)) for s in segments} == expected
    colors = [segment.color for segment in segments]
    assert len(set(colors)) == len(colors)


# Label maps


@settings(max_examples=40, deadline=None)
@given(grids(), st.integers(0, 2**32), st.sampled_from([".nii", ".nii.gz"]))
def test_label_maps_come_back(tmp_path_factory: Any, grid: VoxelGrid, seed: int, suffix: str) -> None:
    path = tmp_path_factory.mktemp("labels") / f"out{suffix}"
    labels = np.random.default_rng(seed).choice([0, 1, 2, 300], grid.shape).astype(np.uint16)
    write_label_map(path, labels, grid, {1: "Leber (é)", 2: "spleen", 300: "far"}, PROVENANCE)

    # Independently, by nibabel; NIfTI stores places as float32.
    image = nibabel.load(path)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, labels)
    assert VoxelGrid(grid.shape, image.affine).same_as(grid, tolerance_mm=2e-3)
    assert image.get_data_dtype() == (np.uint16 if labels.max() > 255 else np.uint8)
    segments, read_grid = read_segmentation(path)
    assert read_grid.same_as(grid, tolerance_mm=2e-3)
    names = {1: "Leber (é)", 2: "spleen", 300: "far"}
    assert [segment.name for segment in segments] == [names[n] for n in np.unique(labels) if n]
    for segment in segments:
        label = next(n for n, name in names.items() if name == segment.name)
        np.testing.assert_array_equal(segment.mask, labels == label)
    assert json.loads((path.parent / "out.labels.json").read_text(encoding="utf-8"))["provenance"] == PROVENANCE


def test_in_a_label_map_later_segments_cover_earlier_ones(tmp_path: Path) -> None:
    organ = Segment("liver", mask_of(GRID, (0, 0, 0), (1, 1, 1)), (1, 0, 0))
    tumour = Segment("tumour", mask_of(GRID, (1, 1, 1)), (0, 1, 0))
    write_segmentation(tmp_path / "out.nii.gz", [organ, tumour], GRID, PROVENANCE)
    liver, read_tumour = read_segmentation(tmp_path / "out.nii.gz")[0]
    assert np.argwhere(liver.mask).tolist() == [[0, 0, 0]]
    assert np.argwhere(read_tumour.mask).tolist() == [[1, 1, 1]]
    assert (liver.name, read_tumour.name) == ("liver", "tumour")


def test_a_label_map_without_names_and_with_whole_floats(tmp_path: Path) -> None:
    labels = np.zeros((3, 4, 5), np.float32)
    labels[0, 0, 0] = 7
    nibabel.Nifti1Image(labels, np.eye(4)).to_filename(tmp_path / "labels.nii")
    (tmp_path / "labels.labels.json").write_text("[1, 2]")  # somebody else's
    (segment,), _ = read_segmentation(tmp_path / "labels.nii")
    assert segment.name == "Label 7"
    labels[0, 0, 1] = 0.5
    nibabel.Nifti1Image(labels, np.eye(4)).to_filename(tmp_path / "image.nii")
    with pytest.raises(InputError, match=r"image\.nii is not a segmentation: its voxels are not whole"):
        read_segmentation(tmp_path / "image.nii")


@pytest.mark.parametrize("highest", [7, 255, 1000])
def test_labels_that_scaling_made_nearly_whole_are_rounded(tmp_path: Path, highest: int) -> None:
    labels = np.zeros((3, 4, 5))
    labels.ravel()[:4] = 1, 2, highest // 2, highest
    image = nibabel.Nifti1Image(labels, np.eye(4))
    image.set_data_dtype(np.int16)  # which nibabel scales floats to
    image.to_filename(tmp_path / "labels.nii.gz")
    if highest == 7:
        assert not np.array_equal(read_volume(tmp_path / "labels.nii.gz").array.T, labels)
    segments, _ = read_segmentation(tmp_path / "labels.nii.gz")
    assert [segment.name for segment in segments] == [f"Label {n}" for n in sorted({1, 2, highest // 2, highest})]
    for segment in segments:
        np.testing.assert_array_equal(segment.mask.T, labels == int(segment.name.split()[1]))


@pytest.mark.parametrize("value", [0.5, 0.97, np.nan, np.inf, 1e30])
def test_what_is_no_label_is_not_rounded(tmp_path: Path, value: float) -> None:
    labels = np.zeros((3, 4, 5), np.float32)
    labels[1, 2, 3] = value
    nibabel.Nifti1Image(labels, np.eye(4)).to_filename(tmp_path / "soft.nii.gz")
    with pytest.raises(InputError, match=r"soft\.nii\.gz is not a segmentation: its voxels are not whole"):
        read_segmentation(tmp_path / "soft.nii.gz")


@needs_shared
def test_the_masks_of_others() -> None:
    cases = SHARED / "cases"
    segments, _ = read_segmentation(cases / "mask-scaled-labels/labels-float-as-int16.nii.gz")
    assert [segment.name for segment in segments] == ["Label 1", "Label 2", "Label 7"]
    folder = cases / "mask-in-other-axis-order"
    grid = read_volume(folder / "ct.nii.gz").grid
    assert np.array_equal(mask_on(folder / "mask-in-ras-order.nii.gz", grid), mask_on(folder / "mask.nii.gz", grid))
    for twin in "AB":
        path = cases / f"nifti-twin-names/{twin}.nii.gz"
        assert {int(s.name.split()[1]) for s in read_segmentation(path)[0]} >= {740, 1190}
    with pytest.raises(InputError, match="cannot hold"):
        read_segmentation(cases / "hostile/big.nrrd")


def test_what_is_written_beside_a_twin_is_what_is_read(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.nii"):
        write_label_map(tmp_path / name, np.full(GRID.shape, len(name), np.uint8), GRID, {})
    for name in ("a.nii.gz", "a.nii"):
        (segment,), _ = read_segmentation(tmp_path / name)
        assert segment.name == f"Label {len(name)}"


def test_labels_on_a_sheared_grid_stay_labels(tmp_path: Path) -> None:
    affine = np.array([[1.0, 0, 0, 0], [0, 1, 0.5, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    labels = np.zeros((10, 12, 8), np.uint8)
    labels[2:8, 3:9, 2:6] = 9
    nibabel.Nifti1Image(labels, affine).to_filename(tmp_path / "sheared.nii")
    (segment,), grid = read_segmentation(tmp_path / "sheared.nii")
    assert not grid.is_sheared
    centre = grid.to_ras(np.argwhere(segment.mask)[:, ::-1].astype(float)).mean(axis=0)
    np.testing.assert_allclose(centre, nibabel.affines.apply_affine(affine, [4.5, 5.5, 3.5]), atol=0.5)
    assert np.count_nonzero(segment.mask) == pytest.approx(6 * 6 * 4, rel=0.1)


def test_damaged_segmentations_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.seg.nrrd"
    write_segmentation(path, [Segment("a", mask_of(GRID, (0, 0, 0)), (1, 0, 0))], GRID, {})
    whole = path.read_bytes()
    for old, new in (
        (b"Layer:=0", b"Layer:=9"),
        (b"LabelValue:=1", b"LabelValue:=x"),
        (b"Color:=1 0 0", b"Color:=red"),
    ):
        assert old in whole
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(InputError, match=r"out\.seg\.nrrd has a damaged header"):
            read_segmentation(path)
    path.write_bytes(whole[:-10])
    with pytest.raises(InputError, match=r"out\.seg\.nrrd is truncated or damaged"):
        read_segmentation(path)
    (tmp_path / "seg.dcm").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(InputError, match=r"seg\.dcm is DICOM"):
        read_segmentation(tmp_path / "seg.dcm")


def test_a_segmentation_is_not_an_image(tmp_path: Path) -> None:
    path = tmp_path / "out.seg.nrrd"
    for segments in ([Segment("a", mask_of(GRID, (0, 0, 0)), (1, 0, 0))], []):
        write_segmentation(path, segments, GRID, {})
        with pytest.raises(InputError, match=r"out\.seg\.nrrd is a segmentation, not an image"):
            read_volume(path)


# Whole or not at all


@pytest.mark.parametrize(
    "name", ["out.nrrd", "out.json", "out", "out.jpg", ".seg.nrrd", ".nii.gz", ".dcm", "out.nii.gz.txt"]
)
def test_unknown_suffixes_are_refused_before_the_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        check_output(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    for suffix in (".seg.nrrd", ".nii.gz", ".nii"):
        assert suffix in str(caught.value)
    with pytest.raises(InputError):
        write_segmentation(tmp_path / name, [Segment("a", mask_of(GRID), (1, 0, 0))], GRID, {})
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written_are_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"folder .*missing does not exist"):
        check_output(tmp_path / "missing" / "out.seg.nrrd")
    (tmp_path / "folder.nii.gz").mkdir()
    with pytest.raises(InputError, match=r"is a folder"):
        check_output(tmp_path / "folder.nii.gz")
    assert check_output(str(tmp_path / "OUT.SEG.NRRD")) == tmp_path / "OUT.SEG.NRRD"
    assert os.listdir(tmp_path) == ["folder.nii.gz"]


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """No file can grow beyond ``free`` bytes, as on a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.skipif(os.name != "posix", reason="Windows limits no file")
@pytest.mark.parametrize("free", [0, 100, 3000])
@pytest.mark.parametrize("name", ["out.seg.nrrd", "out.nii.gz", "out.nii"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, name: str, free: int) -> None:
    grid = VoxelGrid((20, 30, 40), np.eye(4))
    noise = np.random.default_rng(0).random(grid.shape) < 0.5
    path = tmp_path / name
    path.write_bytes(b"the old one")
    with full_disk(free), pytest.raises(InputError) as caught:
        write_segmentation(path, [Segment("noise", noise, (1, 0, 0))], grid, PROVENANCE)
    assert "could not be written" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert os.listdir(tmp_path) == [name]
    assert path.read_bytes() == b"the old one"


def test_a_mask_on_another_grid_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'a' has shape"):
        write_segmentation(tmp_path / "out.seg.nrrd", [Segment("a", np.zeros((2, 2, 2), bool), (1, 0, 0))], GRID, {})
    assert os.listdir(tmp_path) == []


def test_provenance_is_one_line_that_a_tag_can_hold() -> None:
    text = provenance_text(PROVENANCE)
    assert "\n" not in text
    assert "|" not in text
    assert json.loads(text) == PROVENANCE


def test_a_picture_with_numbered_colors_has_their_numbers_as_labels(tmp_path: Path) -> None:
    """As tools for labelling save them: 0 black, 1 dark red, 2 dark green."""
    numbers = np.zeros((6, 8), np.uint8)
    numbers[1:3, 1:4], numbers[4, 4:6] = 1, 2
    for suffix in (".png", ".bmp"):
        picture = Image.fromarray(numbers, "P")
        picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        picture.save(tmp_path / f"labels{suffix}")
        segments, _ = read_segmentation(tmp_path / f"labels{suffix}")
        assert [(one.name, int(one.mask.sum())) for one in segments] == [("Label 1", 6), ("Label 2", 2)]


def test_a_gray_mask_is_its_values_however_it_is_stored(tmp_path: Path) -> None:
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 1:4] = 1
    picture = Image.fromarray(mask, "P")
    picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.save(tmp_path / "numbered.png")
    Image.fromarray(np.repeat(mask[..., None] * 255, 3, axis=2)).save(tmp_path / "color.png")
    for name in ("numbered.png", "color.png"):
        (segment,), _ = read_segmentation(tmp_path / name)
        assert (segment.label, int(segment.mask.sum())) == (255, 6)


def test_a_picture_in_color_is_no_segmentation(tmp_path: Path) -> None:
    colors = np.zeros((6, 8, 3), np.uint8)
    colors[1:3, 1:4, 0] = 200
    Image.fromarray(colors).save(tmp_path / "color.png")
    with pytest.raises(InputError, match="3 values per voxel"):
        read_segmentation(tmp_path / "color.png")
