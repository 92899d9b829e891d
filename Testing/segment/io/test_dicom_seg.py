"""DICOM segmentations: voxels in place, whichever way the images lie, and what is said of each segment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest

from MedSAM3SegmentLib.errors import InputError, PackageError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.dicom_objects import source as source_module
from MedSAM3SegmentLib.io.dicom_objects.source import DicomSource, read_source
from MedSAM3SegmentLib.io.dicom_objects.write_seg import write_dicom_seg
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.io.segmentation import read_segmentation, write_segmentation
from MedSAM3SegmentLib.prompts.slice_prompts import placed_on
from MedSAM3SegmentLib.vocabulary.terminology import terminology_entry
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary
from MedSAM3SegmentLib.volume import Volume
from support.dicom_files import AXIAL, enhanced_file, functional_group, picture, places, series_files, slice_file
from support.external_data import DATA, needs_shared

PROVENANCE = {
    "model": {"name": "a model", "sha256": "ab" * 32, "demo": False, "adapters": [{"name": "x", "sha256": "cd" * 32}]},
    "threshold": 0.5,
    "mode": "slices",
    "created": "2026-01-01T00:00:00+00:00",
    "versions": {"medsam3": "1.2.3"},
}


def rotated() -> tuple[float, ...]:
    from scipy.spatial.transform import Rotation

    axes = Rotation.from_euler("xyz", (25, -12, 33), degrees=True).as_matrix()
    return (*axes[:, 0], *axes[:, 1])


ORIENTATIONS: dict[str, Sequence[float]] = {
    "axial": AXIAL,
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": rotated(),
    "rows from left to right": (-1, 0, 0, 0, 1, 0),
    "columns from below": (1, 0, 0, 0, -1, 0),
    "both": (-1, 0, 0, 0, -1, 0),
}


def classic(folder: Path, orientation: Sequence[float], forward: bool, **tags: Any) -> Path:
    normal = np.cross(orientation[:3], orientation[3:]) * (4.0 if forward else -4.0)
    tags = {"FrameOfReferenceUID": "1.2.9", "StudyID": "1", **tags}
    series_files(folder, places(5, normal), orientation=orientation, **tags)
    return folder


def enhanced(folder: Path, orientation: Sequence[float], forward: bool, shares: bool = True) -> Path:
    normal = np.cross(orientation[:3], orientation[3:]) * (4.0 if forward else -4.0)
    positions = places(5, normal)
    shared = None
    if shares:
        shared = functional_group(None, orientation, stack=None)
        groups = [functional_group(position, None, None, None) for position in positions]
    else:
        groups = [functional_group(position, orientation) for position in positions]
    pictures = np.rint(np.array([picture(position, orientation) for position in positions]))
    enhanced_file(folder / "e.dcm", groups, pictures, shared, FrameOfReferenceUID="1.2.9", StudyID="1")
    return folder


def masks_of(volume: Volume) -> list[np.ndarray[Any, np.dtype[np.bool_]]]:
    """Two that overlap, and that no turn or flip makes alike."""
    first, second = np.zeros(volume.grid.shape, bool), np.zeros(volume.grid.shape, bool)
    first[1:3, 1:4, 2:7] = True
    first[3, 2, 1] = True
    second[2:4, 3:6, 5:8] = True
    return [first, second]


def segments_of(volume: Volume, names: Sequence[str] = ("left kidney", "liver")) -> list[Segment]:
    vocabulary = Vocabulary.load()
    return [
        Segment(name, mask, vocabulary.color_for(name), terminology_entry(vocabulary.find(name)))
        for name, mask in zip(names, masks_of(volume), strict=True)
    ]


def positions_of(mask: np.ndarray[Any, Any], grid: VoxelGrid) -> set[tuple[float, ...]]:
    """Places of voxels in RAS millimeters, to a hundredth."""
    k, j, i = np.nonzero(mask)
    return {tuple(place) for place in np.round(grid.to_ras(np.column_stack([i, j, k]).astype(float)), 2) + 0.0}


def positions_by_pydicom(data: pydicom.Dataset, number: int) -> set[tuple[float, ...]]:
    """The same of a segment, out of the frames' own headers."""
    found = set()
    shared = data.SharedFunctionalGroupsSequence[0]
    row_step, column_step = (float(x) for x in shared.PixelMeasuresSequence[0].PixelSpacing)
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    pixels = data.pixel_array.reshape(-1, data.Rows, data.Columns)
    for frame, group in zip(pixels, data.PerFrameFunctionalGroupsSequence, strict=True):
        identified = group.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence")
        if identified[0].ReferencedSegmentNumber != number:
            continue
        origin = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.argwhere(frame):
            lps = origin + cosines[:3] * column_step * column + cosines[3:] * row_step * row
            found.add(tuple(np.round(lps * [-1, -1, 1], 2) + 0.0))
    return found


@pytest.mark.parametrize("forward", [True, False], ids=["forward", "backward"])
@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=list(ORIENTATIONS))
@pytest.mark.parametrize("make", [classic, enhanced])
def test_voxels_lie_where_they_are(tmp_path: Path, make: Any, orientation: Sequence[float], forward: bool) -> None:
    folder = make(tmp_path / "in", orientation, forward)
    volume = read_volume(folder)
    segments = segments_of(volume)
    path = tmp_path / "out.dcm"
    source = read_source(folder)
    write_segmentation(path, segments, volume.grid, PROVENANCE, source=source)

    data = pydicom.dcmread(path)
    for number, segment in enumerate(segments, start=1):
        assert positions_by_pydicom(data, number) == positions_of(segment.mask, volume.grid)
    stored = highdicom.seg.segread(path)
    assert [stored.get_segment_description(n).SegmentLabel for n in (1, 2)] == ["left kidney", "liver"]
    assert data.SegmentsOverlap == "YES"

    back, grid = read_segmentation(path)
    assert [segment.name for segment in back] == ["left kidney", "liver"]
    for segment, was in zip(back, segments, strict=True):
        placed = placed_on(volume.grid, segment.mask, grid)
        assert placed is not None
        np.testing.assert_array_equal(placed, was.mask)
        assert segment.terminology == was.terminology
        assert np.abs(np.subtract(segment.color, was.color)).max() < 0.01

    # Each frame is derived from the very image that it lies on.
    names = {str(image.SOPInstanceUID) for image in source.images}
    for group in data.PerFrameFunctionalGroupsSequence:
        (derived,) = group.DerivationImageSequence[0].SourceImageSequence
        assert derived.ReferencedSOPInstanceUID in names
        if make is classic:
            (image,) = [one for one in source.images if one.SOPInstanceUID == derived.ReferencedSOPInstanceUID]
            placed_at = group.PlanePositionSequence[0].ImagePositionPatient
            assert np.allclose(np.array(placed_at, float), np.array(image.ImagePositionPatient, float), atol=1e-4)


def written(tmp_path: Path, source: DicomSource, volume: Volume, **more: Any) -> pydicom.Dataset:
    write_dicom_seg(tmp_path / "out.dcm", segments_of(volume), volume.grid, PROVENANCE, source, **more)
    return pydicom.dcmread(tmp_path / "out.dcm")


def test_what_is_said_of_patient_segments_and_algorithm(tmp_path: Path) -> None:
    folder = classic(tmp_path / "in", AXIAL, True, PatientName="Müller^Jürgen", SpecificCharacterSet="ISO_IR 100")
    volume, source = read_volume(folder), read_source(folder)
    data = written(tmp_path, source, volume)
    image = pydicom.dcmread(next(folder.iterdir()))
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert data[keyword].value == image[keyword].value
    assert str(data.PatientName) == "Müller^Jürgen"
    assert data.Modality == "SEG"
    assert data.SeriesInstanceUID != image.SeriesInstanceUID
    assert data.SegmentationType == "BINARY"
    kidney, liver = data.SegmentSequence
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodingSchemeDesignator, kind.CodeValue) == ("SCT", "64033007")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    algorithm = kidney.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "a model + x"
    assert algorithm.AlgorithmVersion == "1.2.3"
    assert "sha256=" + "ab" * 32 in algorithm.AlgorithmParameters
    assert "cd" * 32 in algorithm.AlgorithmParameters
    assert kidney.TrackingUID != liver.TrackingUID
    assert kidney.TrackingID == "left kidney"
    (series,) = data.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == image.SeriesInstanceUID
    assert {one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence} == {
        pydicom.dcmread(file).SOPInstanceUID for file in folder.iterdir()
    }
    assert {one.ReferencedSOPClassUID for one in series.ReferencedInstanceSequence} == {image.SOPClassUID}


def test_fractions_come_back_as_they_are(tmp_path: Path) -> None:
    folder = classic(tmp_path / "in", rotated(), True)
    volume, source = read_volume(folder), read_source(folder)
    fractions = [np.where(mask, 0.8, 0.2).astype(np.float32) for mask in masks_of(volume)]
    data = written(tmp_path, source, volume, fractions=fractions)
    assert data.SegmentationType == "FRACTIONAL"
    assert data.SegmentationFractionalType == "PROBABILITY"
    stored = highdicom.seg.segread(tmp_path / "out.dcm").get_volume()
    np.testing.assert_allclose(sorted(np.unique(stored.array)), [0.2, 0.8], atol=1 / 255)
    back, grid = read_segmentation(tmp_path / "out.dcm")
    for segment, mask in zip(back, masks_of(volume), strict=True):
        placed = placed_on(volume.grid, segment.mask, grid)
        assert placed is not None
        np.testing.assert_array_equal(placed, mask)


@pytest.mark.parametrize(
    "kind", ["per frame orientation", "one frame per file", "jitter", "tilted gantry", "one slice"]
)
def test_odd_sources(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "in"
    if kind == "per frame orientation":
        enhanced(folder, rotated(), True, shares=False)
    elif kind == "one frame per file":
        for n, position in enumerate(places(5)):
            stored = np.rint(picture(position))[None]
            group = functional_group(position, AXIAL)
            enhanced_file(
                folder / f"{n}.dcm", [group], stored, FrameOfReferenceUID="1.2.9", SOPInstanceUID=f"1.2.3.{n}"
            )
    elif kind == "jitter":
        for n, position in enumerate(places(5)):
            cosines = (1, 0.0001 * n, 0, -0.0001 * n, 1, 0)
            slice_file(folder / f"{n}.dcm", position, cosines, FrameOfReferenceUID="1.2.9")
    elif kind == "tilted gantry":
        series_files(folder, places(5, (0.0, 1.0, 4.0)), FrameOfReferenceUID="1.2.9")
    else:
        slice_file(folder / "1.dcm", (0, 0, 0), FrameOfReferenceUID="1.2.9")
    volume, source = read_volume(folder), read_source(folder)
    mask = np.zeros(volume.grid.shape, bool)
    mask[volume.grid.shape[0] // 2, 1:4, 2:7] = True
    segment = Segment("liver", mask, (1, 0, 0))
    write_segmentation(tmp_path / "o.dcm", [segment], volume.grid, PROVENANCE, source=source)
    data = pydicom.dcmread(tmp_path / "o.dcm")
    was, now = positions_of(mask, volume.grid), positions_by_pydicom(data, 1)
    assert len(was) == len(now)
    distances = [min(np.linalg.norm(np.subtract(one, other)) for other in was) for one in now]
    assert max(distances) < 0.15
    (back,), grid = read_segmentation(tmp_path / "o.dcm")
    if kind != "one slice":
        placed = placed_on(volume.grid, back.mask, grid)
        assert placed is not None
        np.testing.assert_array_equal(placed, mask)
    (series,) = data.ReferencedSeriesSequence
    classes = {str(one.ReferencedSOPClassUID) for one in series.ReferencedInstanceSequence}
    assert classes == set(source.classes.values())


def test_a_frame_of_reference_that_is_missing_is_made_up_and_that_is_said(tmp_path: Path) -> None:
    folder = classic(tmp_path / "in", AXIAL, True, FrameOfReferenceUID=None)
    source = read_source(folder)
    assert "frame of reference" in source.messages[0]
    assert written(tmp_path, source, read_volume(folder)).FrameOfReferenceUID


def test_an_empty_segmentation_says_what_was_looked_for(tmp_path: Path) -> None:
    folder = classic(tmp_path / "in", AXIAL, True)
    volume, source = read_volume(folder), read_source(folder)
    empty = Segment("liver", np.zeros(volume.grid.shape, bool), (1, 0, 0))
    write_segmentation(tmp_path / "o.dcm", [empty], volume.grid, PROVENANCE, source=source)
    assert pydicom.dcmread(tmp_path / "o.dcm").SegmentSequence[0].SegmentLabel == "liver"
    assert read_segmentation(tmp_path / "o.dcm")[0] == []


def test_what_cannot_be_written_or_read_is_one_sentence(tmp_path: Path) -> None:
    folder = classic(tmp_path / "in", AXIAL, True)
    volume, source = read_volume(folder), read_source(folder)
    with pytest.raises(InputError, match="must refer to DICOM images"):
        write_segmentation(tmp_path / "o.dcm", segments_of(volume), volume.grid, PROVENANCE)
    with pytest.raises(InputError, match="at least one segment"):
        write_segmentation(tmp_path / "o.dcm", [], volume.grid, PROVENANCE, source=source)
    assert not list(tmp_path.glob("*.dcm"))
    with pytest.raises(InputError, match="no segmentation;"):
        read_segmentation(folder)
    written(tmp_path, source, volume)
    whole = (tmp_path / "out.dcm").read_bytes()
    (tmp_path / "out.dcm").write_bytes(whole[:-40])
    with pytest.raises(InputError, match="cannot be read"):
        read_segmentation(tmp_path / "out.dcm")
    with pytest.raises(InputError, match="is a DICOM segmentation, not an image"):
        read_volume(tmp_path / "out.dcm")


def test_without_highdicom_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = classic(tmp_path / "in", AXIAL, True)
    volume, source = read_volume(folder), read_source(folder)
    monkeypatch.setattr(source_module, "find_spec", lambda _: None)
    with pytest.raises(PackageError, match=r"pip install 'medsam3-slicer\[dicom\]'"):
        write_segmentation(tmp_path / "o.dcm", segments_of(volume), volume.grid, PROVENANCE, source=source)


@needs_shared
def test_a_segmentation_of_another_program_is_read() -> None:
    files = [file for file in (DATA / "ct_dicom_seg").rglob("*") if file.is_file()]
    read = []
    for file in files:
        try:
            read.append(read_segmentation(file))
        except InputError:
            continue
    assert any(segment.mask.any() for segments, _ in read for segment in segments)
