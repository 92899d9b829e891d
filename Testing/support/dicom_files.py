"""DICOM files whose every voxel says where it lies, written by pydicom; for tests.

A voxel has the value 1000 + 2 R + 3 A + 5 S at its place in RAS millimeters, as in the shared cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

from MedSAM3SegmentLib.volume import Volume

Array = np.ndarray[Any, Any]

#: A small picture that is not symmetric in anything.
ROWS, COLUMNS = 6, 8
SPACING = (2.0, 1.5)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def value_at(ras: Array) -> Array:
    """The value that a voxel at RAS millimeters ``[..., 3]`` has."""
    return 1000 + ras @ np.array([2.0, 3.0, 5.0])


def misplaced(volume: Volume) -> float:
    """How far the value of any voxel is from the one that belongs to its place."""
    k, j, i = np.indices(volume.array.shape[:3])
    ijk = np.stack([i, j, k, np.ones_like(i)], axis=-1).astype(float)
    return float(np.abs(value_at((ijk @ volume.grid.ijk_to_ras.T)[..., :3]) - volume.array).max())


def picture(
    position: Sequence[float],
    orientation: Sequence[float] = AXIAL,
    spacing: Sequence[float] = SPACING,
    shape: tuple[int, int] = (ROWS, COLUMNS),
) -> Array:
    """The exact values of a slice with this place, ``[row, column]``."""
    row, column = np.indices(shape)
    lps = (
        np.asarray(position, float)
        + column[..., None] * spacing[1] * np.asarray(orientation[:3], float)
        + row[..., None] * spacing[0] * np.asarray(orientation[3:], float)
    )
    return value_at(lps * [-1, -1, 1])


def places(
    count: int, step: Sequence[float] = (0.0, 0.0, 4.0), first: Sequence[float] = (-30.0, -20.0, -10.0)
) -> list[tuple[float, ...]]:
    """LPS positions of ``count`` slices."""
    return [tuple(float(x) for x in np.asarray(first) + n * np.asarray(step)) for n in range(count)]


def data_set(sop_class: str, modality: str, **tags: Any) -> Dataset:
    """A patient, a study and a series, without pixels; ``tags`` by pydicom's keywords, None to leave one out."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = sop_class, generate_uid()
    data.PatientName, data.PatientID = "Doe^Jane", "4711"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.SeriesNumber = "1.2", "1.2.3", 7
    data.Modality, data.ImageType = modality, ["ORIGINAL", "PRIMARY", "M", "ND"]
    set_tags(data, tags)
    return data


def set_tags(data: Dataset, tags: dict[str, Any]) -> None:
    """Set tags by pydicom's keywords; None takes one out."""
    for keyword, value in tags.items():
        if value is not None:
            setattr(data, keyword, value)
        elif keyword in data:
            delattr(data, keyword)


def set_pixels(data: Dataset, stored: Array, bits: int = 16, signed: bool = False) -> None:
    """``stored`` ``[row, column]``, ``[frame, row, column]`` or with three components as the plain pixels."""
    color = stored.shape[-1] == 3 and stored.ndim >= 3
    grey = stored[..., 0] if color else stored
    data.Rows, data.Columns = grey.shape[-2:]
    if grey.ndim == 3:
        data.NumberOfFrames = grey.shape[0]
    data.SamplesPerPixel, data.PhotometricInterpretation = (3, "RGB") if color else (1, "MONOCHROME2")
    if color:
        data.PlanarConfiguration = 0
    allocated = 8 if bits <= 8 else 16 if bits <= 16 else 32
    data.BitsAllocated, data.BitsStored, data.HighBit = allocated, bits, bits - 1
    data.PixelRepresentation = int(signed)
    content = stored.astype(f"<{'i' if signed else 'u'}{allocated // 8}").tobytes()
    data.PixelData = content + b"\0" * (len(content) % 2)
    data["PixelData"].VR = "OB" if allocated == 8 else "OW"


def save(data: Dataset, path: Path, preamble: bool = True) -> Path:
    """Write the file; without preamble there is no file meta information either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    syntax = data.file_meta.TransferSyntaxUID
    data.file_meta.MediaStorageSOPClassUID = data.get("SOPClassUID", "") or CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.get("SOPInstanceUID", "") or generate_uid()
    if preamble:
        data.save_as(path, enforce_file_format=True)
        return path
    bare = Dataset(data)
    bare.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    return path


def slice_file(
    path: Path,
    position: Sequence[float],
    orientation: Sequence[float] = AXIAL,
    modality: str = "CT",
    change: Callable[[Dataset], None] | None = None,
    preamble: bool = True,
    **tags: Any,
) -> Path:
    """A classic slice that lies where its values say: CT with an intercept of -1024, or MR."""
    data = data_set(CTImageStorage if modality == "CT" else MRImageStorage, modality)
    data.PixelSpacing, data.SliceThickness = list(SPACING), 4
    data.ImagePositionPatient = [f"{x:.8g}" for x in position]
    data.ImageOrientationPatient = [f"{x:.9g}" for x in orientation]
    intercept = -1024 if modality == "CT" else 0
    data.RescaleSlope, data.RescaleIntercept = 1, intercept
    set_pixels(data, np.rint(picture(position, orientation)) - intercept)
    set_tags(data, tags)
    if change is not None:
        change(data)
    return save(data, path, preamble)


def series_files(folder: Path, positions: Iterable[Sequence[float]], **options: Any) -> list[Path]:
    """A series of classic slices, files in no order of their places."""
    positions = list(positions)
    order = [(n * 5 + 3) % len(positions) for n in range(len(positions))]
    if len(set(order)) < len(order):
        order = list(range(len(positions)))[::-1]
    return [slice_file(folder / f"{n:03d}.dcm", positions[m], **options) for n, m in enumerate(order)]


def item(**tags: Any) -> Items:
    """A sequence of one item."""
    made = Dataset()
    set_tags(made, tags)
    return Items([made])


def functional_group(
    position: Sequence[float] | None,
    orientation: Sequence[float] | None = AXIAL,
    spacing: Sequence[float] | None = SPACING,
    slope: float | None = 1.0,
    intercept: float = 0.0,
    stack: str | None = "1",
    **sequences: Items,
) -> Dataset:
    """What is said of one frame; None leaves something out."""
    group = Dataset()
    if stack is not None:
        group.FrameContentSequence = item(StackID=stack, InStackPositionNumber=1)
    if position is not None:
        group.PlanePositionSequence = item(ImagePositionPatient=[f"{x:.8g}" for x in position])
    if orientation is not None:
        group.PlaneOrientationSequence = item(ImageOrientationPatient=[f"{x:.9g}" for x in orientation])
    if spacing is not None:
        group.PixelMeasuresSequence = item(PixelSpacing=list(spacing), SliceThickness=4)
    if slope is not None:
        group.PixelValueTransformationSequence = item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US")
    set_tags(group, sequences)
    return group


def enhanced_file(
    path: Path,
    groups: Sequence[Dataset],
    stored: Array,
    shared: Dataset | None = None,
    modality: str = "MR",
    **tags: Any,
) -> Path:
    """An enhanced multi-frame file of ``stored`` ``[frame, row, column]``."""
    data = data_set(EnhancedCTImageStorage if modality == "CT" else EnhancedMRImageStorage, modality)
    data.SharedFunctionalGroupsSequence = Items([shared if shared is not None else Dataset()])
    data.PerFrameFunctionalGroupsSequence = Items(groups)
    set_pixels(data, np.asarray(stored))
    set_tags(data, tags)
    return save(data, path)


def read_back(path: Path) -> Dataset:
    """The file as pydicom reads it."""
    return pydicom.dcmread(path, force=True)
