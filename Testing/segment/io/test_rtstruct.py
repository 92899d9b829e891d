"""Radiotherapy structure sets: outlines within half a pixel of the edge, whichever way the images lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Polygon
from scipy.ndimage import distance_transform_edt

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.dicom_objects.source import read_source
from MedSAM3SegmentLib.io.dicom_objects.write_rtstruct import outlines_of
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.io.segmentation import read_segmentation, write_segmentation
from support.dicom_files import AXIAL, enhanced_file, functional_group, picture, places, series_files

PROVENANCE = {"model": {"name": "a model", "sha256": "ab"}, "versions": {"medsam3": "1.2.3"}}

ORIENTATIONS: dict[str, Sequence[float]] = {
    "axial": AXIAL,
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": (0.8, 0.6, 0.0, -0.48, 0.64, 0.6),
    "flipped": (-1, 0, 0, 0, 1, 0),
}

Mask = np.ndarray[Any, np.dtype[np.bool_]]


def inside(polygons: Sequence[Any], shape: tuple[int, ...]) -> Mask:
    """Pixels whose centers lie inside of an odd number of polygons ``[point, (column, row)]``."""
    rows, columns = np.indices(shape)
    centers = np.column_stack([columns.ravel(), rows.ravel()])
    odd = np.zeros(len(centers), bool)
    for polygon in polygons:
        odd ^= Polygon(np.concatenate([polygon, polygon[:1]])).contains_points(centers)
    return odd.reshape(shape)


def edge_distance(polygon: Any, mask: Mask) -> float:
    """How far a vertex is at most from the line between a pixel of the mask and one that is none, in pixels."""
    padded = np.pad(mask, 2)
    largest = 0.0
    for column, row in polygon + 2:
        near = padded[int(np.floor(row)) : int(np.ceil(row)) + 1, int(np.floor(column)) : int(np.ceil(column)) + 1]
        assert near.any(), "between pixels of which one belongs to it"
        assert not near.all(), "and one does not"
        largest = max(largest, abs(row - round(row)), abs(column - round(column)))
    return largest


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_outlines_hold_the_pixels_of_a_mask_and_no_others(mask: Mask) -> None:
    outlines = list(outlines_of(mask))
    np.testing.assert_array_equal(inside(outlines, mask.shape), mask)
    assert all(edge_distance(outline, mask) <= 0.5 for outline in outlines)


def ring(shape: tuple[int, int, int]) -> Mask:
    """With a hole, an island in it, and no symmetry."""
    mask = np.zeros(shape, bool)
    mask[1:4, 1:5, 0:7] = True
    mask[1:3, 2:4, 2:5] = False
    mask[2, 3, 3] = True
    mask[3, 0, 7] = True
    return mask


def polygons_by_slice(contours: Sequence[Any], grid: VoxelGrid) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for contour in contours:
        assert contour.ContourGeometricType == "CLOSED_PLANAR"
        lps = np.array(contour.ContourData, float).reshape(-1, 3)
        assert len(lps) == contour.NumberOfContourPoints
        ijk = grid.to_ijk(lps * [-1, -1, 1])
        assert np.abs(ijk[:, 2] - np.round(ijk[0, 2])).max() < 0.01
        found.setdefault(round(float(ijk[0, 2])), []).append(ijk[:, :2])
    return found


@pytest.mark.parametrize("is_enhanced", [False, True], ids=["classic", "enhanced"])
@pytest.mark.parametrize("step", [4.0, -4.0])
@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=list(ORIENTATIONS))
def test_outlines_lie_where_the_voxels_are(
    tmp_path: Path, orientation: Sequence[float], step: float, is_enhanced: bool
) -> None:
    folder = tmp_path / "in"
    positions = places(5, np.cross(orientation[:3], orientation[3:]) * step)
    if is_enhanced:
        shared = functional_group(None, orientation, stack=None)
        groups = [functional_group(position, None, None, None) for position in positions]
        pictures = np.rint(np.array([picture(position, orientation) for position in positions]))
        enhanced_file(folder / "e.dcm", groups, pictures, shared, FrameOfReferenceUID="1.2.9")
    else:
        series_files(folder, positions, orientation=orientation, FrameOfReferenceUID="1.2.9")
    volume, source = read_volume(folder), read_source(folder)
    mask = ring(volume.grid.shape)
    empty = np.zeros_like(mask)
    segments = [Segment("liver", mask, (1, 0, 0.5)), Segment("nothing", empty, (0, 0, 0))]
    path = tmp_path / "o.rtstruct.dcm"
    write_segmentation(path, segments, volume.grid, PROVENANCE, source=source)

    data = pydicom.dcmread(path)
    assert data.Modality == "RTSTRUCT"
    assert [roi.ROIName for roi in data.StructureSetROISequence] == ["liver", "nothing"]
    region, nothing = data.ROIContourSequence
    assert "ContourSequence" not in nothing
    assert list(region.ROIDisplayColor) == [255, 0, 128]
    polygons = polygons_by_slice(region.ContourSequence, volume.grid)
    for k in range(5):
        np.testing.assert_array_equal(inside(polygons.get(k, []), mask.shape[1:]), mask[k])
        for polygon in polygons.get(k, []):
            assert edge_distance(np.round(polygon, 2), mask[k]) <= 0.51
    for contour in region.ContourSequence:
        (image,) = contour.ContourImageSequence
        first = np.array(contour.ContourData[:3], float)
        if is_enhanced:
            group = source.images[0].PerFrameFunctionalGroupsSequence[image.ReferencedFrameNumber - 1]
            origin = group.PlanePositionSequence[0].ImagePositionPatient
        else:
            (one,) = [one for one in source.images if one.SOPInstanceUID == image.ReferencedSOPInstanceUID]
            origin = one.ImagePositionPatient
        normal = np.cross(orientation[:3], orientation[3:])
        assert abs(normal @ (first - np.array(origin, float))) < 0.01


def test_one_set_of_outlines_has_the_area_of_its_mask_but_for_its_corners() -> None:
    rows, columns = np.indices((60, 60))
    disc = (rows - 30) ** 2 + (columns - 30) ** 2 < 24**2
    (outline,) = outlines_of(disc)
    x, y = outline.T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert area == pytest.approx(disc.sum(), rel=0.02)
    assert distance_transform_edt(disc).max() > 20


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    series_files(tmp_path / "in", places(3))
    volume, source = read_volume(tmp_path / "in"), read_source(tmp_path / "in")
    path = tmp_path / "o.rtstruct.dcm"
    with pytest.raises(InputError, match="at least one structure"):
        write_segmentation(path, [], volume.grid, PROVENANCE, source=source)
    write_segmentation(
        path, [Segment("x", np.ones(volume.grid.shape, bool), (1, 0, 0))], volume.grid, PROVENANCE, source=source
    )
    with pytest.raises(InputError, match="no segmentation"):
        read_segmentation(path)
