"""Segments to a radiotherapy structure set (PS3.3 A.19): outlines on the slices of the images.

Outlines are found by contourpy halfway between the centers of pixels that belong to a structure and of those that do
not, so that no point lies farther than half a pixel from the edge. A hole is joined to its outline by a channel without
width, as planning systems read it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.segment import MadeBy, Provenance, Segment, provenance_of

from .coded_terms import parse_terminology
from .source import SAME_PLACE_MM, DicomSource, check_packages
from .write_seg import MANUFACTURER, PRODUCT, algorithm_of, plane_geometry, save_dicom, version_of

_RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"

#: Detached Study Management, which the reference to a study names although it is retired.
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"

_LONGEST_NAME = 64

#: Ways from an outline to its hole that are tried, the shortest first.
_MOST_WAYS = 200

#: Pixels that a way keeps off the center of any.
_BESIDE_A_CENTER = 0.1

#: Vertices of an outline, ``[point, (column, row)]``; whole numbers at the centers of pixels.
Outline = NDArray[np.float64]


def outlines_of(mask: BoolMask) -> Iterator[Outline]:
    """The closed outlines of a mask ``[row, column]``, each with its holes; the first point is not repeated."""
    from contourpy import FillType, contour_generator

    padded = np.pad(mask.astype(np.float64), 1)
    made = contour_generator(z=padded, fill_type=FillType.OuterOffset).filled(0.5, np.inf)
    for points, offsets in zip(*made, strict=True):
        rings = [points[begin : end - 1] - 1.0 for begin, end in pairwise(offsets)]
        outline = rings[0]
        for hole in rings[1:]:
            outline = _joined(outline, hole)
        yield outline


def write_rtstruct(
    path: Path, segments: Sequence[Segment], grid: VoxelGrid, provenance: Provenance, source: DicomSource
) -> None:
    """Write a structure set with a region for each segment; one that is empty has no outline.

    Args:
        segments: at least one.
        grid: of all masks; outlines lie on its slices along k.
        provenance: of the run.
        source: the images.

    Raises:
        InputError: there is no segment, the images do not say where they lie, or the disk failed.
        PackageError: a package is not installed.
    """
    check_packages()
    if not segments:
        raise InputError("{path} cannot be written: a structure set needs at least one structure.", path=path)
    if source.orientation is None:
        raise InputError(
            "{path} cannot be written: the images do not say where they lie, which a structure set needs; choose "
            "another format, such as .seg.nrrd.",
            path=path,
        )
    data = _identified(source, provenance)
    frame_of_reference = str(source.images[0].FrameOfReferenceUID)
    data.ReferencedFrameOfReferenceSequence = [_reference_to_series(source, frame_of_reference)]
    data.StructureSetROISequence, data.ROIContourSequence, data.RTROIObservationsSequence = [], [], []
    _, _, planes = plane_geometry(grid, source)
    origins = [np.array(plane[0].ImagePositionPatient, float) for plane in planes]
    images = [_image_at(source, origin) for origin in origins]
    for number, segment in enumerate(segments, start=1):
        contours = [
            _contour(outline, origins[k], source, grid, images[k])
            for k in np.flatnonzero(segment.mask.any(axis=(1, 2)))
            for outline in outlines_of(segment.mask[k])
        ]
        _add_region(data, number, segment, contours, frame_of_reference, provenance)
    save_dicom(path, data)


def _joined(outline: Outline, hole: Outline) -> Outline:
    """An outline that goes to a hole where that is near, around it, and back.

    The way there and back keeps off the centers of pixels, which nobody could tell the side of.
    """
    distances = np.linalg.norm(outline[:, None] - hole[None], axis=2)
    nearest = np.argsort(distances, axis=None, kind="stable")[:_MOST_WAYS]
    ways = [np.unravel_index(place, distances.shape) for place in nearest]
    there, here = next((way for way in ways if _keeps_off_centers(outline[way[0]], hole[way[1]])), ways[0])
    around = np.concatenate([hole[here:], hole[: here + 1]])
    return np.concatenate([outline[: there + 1], around, outline[there:]])


def _keeps_off_centers(first: NDArray[np.float64], last: NDArray[np.float64]) -> bool:
    """Whether no pixel's center lies on or next to the line between two points."""
    low, high = np.floor(np.minimum(first, last)).astype(int), np.ceil(np.maximum(first, last)).astype(int)
    columns, rows = np.mgrid[low[0] : high[0] + 1, low[1] : high[1] + 1]
    centers = np.column_stack([columns.ravel(), rows.ravel()])
    along = last - first
    share = np.clip((centers - first) @ along / max(float(along @ along), 1e-12), 0, 1)
    return bool(np.linalg.norm(first + share[:, None] * along - centers, axis=1).min() > _BESIDE_A_CENTER)


def _identified(source: DicomSource, provenance: Provenance) -> Any:
    """The patient and study of the images, and a new series."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    image, now = source.images[0], datetime.datetime.now()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, UID(_RTSTRUCT_CLASS)
    meta.MediaStorageSOPInstanceUID = UID(source.make_uid("structure set"))
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (
        *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"),
        *("StudyTime", "ReferringPhysicianName", "StudyInstanceUID"),
    ):
        setattr(data, keyword, image.get(keyword, ""))
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = image.FrameOfReferenceUID, ""
    data.SOPClassUID, data.SOPInstanceUID = _RTSTRUCT_CLASS, meta.MediaStorageSOPInstanceUID
    data.Modality, data.SeriesInstanceUID, data.SeriesNumber = "RTSTRUCT", source.make_uid("structures"), 1001
    data.SeriesDescription, data.OperatorsName = "MedSAM3 structures", ""
    data.Manufacturer, data.ManufacturerModelName = MANUFACTURER, PRODUCT
    data.SoftwareVersions = version_of(provenance)
    data.StructureSetLabel, data.StructureSetName = "MEDSAM3", "Segmentation by named concepts"
    data.StructureSetDate, data.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    data.InstanceNumber, data.ApprovalStatus = 1, "UNAPPROVED"
    return data


def _reference_to_series(source: DicomSource, frame_of_reference: str) -> Any:
    series = _item(
        SeriesInstanceUID=source.images[0].SeriesInstanceUID,
        ContourImageSequence=[_reference(source, str(image.SOPInstanceUID)) for image in source.images],
    )
    study = _item(
        ReferencedSOPClassUID=_STUDY_CLASS,
        ReferencedSOPInstanceUID=source.images[0].StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=frame_of_reference, RTReferencedStudySequence=[study])


def _reference(source: DicomSource, instance: str, frame: int | None = None) -> Any:
    made = _item(ReferencedSOPClassUID=source.classes[instance], ReferencedSOPInstanceUID=instance)
    if frame is not None:
        made.ReferencedFrameNumber = frame
    return made


def _image_at(source: DicomSource, origin: NDArray[np.float64]) -> Any | None:
    """A reference to the image that a slice lies on; None where it lies on none, as after a tilted gantry."""
    distances = np.linalg.norm(source.positions - origin, axis=1)
    place = int(distances.argmin())
    if distances[place] > SAME_PLACE_MM:
        return None
    if source.is_enhanced:
        return _reference(source, str(source.images[0].SOPInstanceUID), source.frame_numbers[place])
    if len(source.images) != len(source.positions):
        return None
    return _reference(source, str(source.images[place].SOPInstanceUID))


def _contour(
    outline: Outline, origin: NDArray[np.float64], source: DicomSource, grid: VoxelGrid, image: Any | None
) -> Any:
    cosines = np.asarray(source.orientation, float)
    lps = grid.ijk_to_ras[:3, :2] * np.array([[-1.0], [-1.0], [1.0]])
    directions = lps / np.linalg.norm(lps, axis=0)
    across, down = directions.T
    if np.abs(np.concatenate([across, down]) - cosines).max() < 1e-4:
        across, down = cosines[:3], cosines[3:]
    places = origin + outline[:, :1] * grid.spacing[0] * across + outline[:, 1:] * grid.spacing[1] * down
    made = _item(
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(places),
        ContourData=[f"{value:.4f}" for value in places.ravel()],
    )
    if image is not None:
        made.ContourImageSequence = [image]
    return made


def _add_region(
    data: Any, number: int, segment: Segment, contours: Sequence[Any], frame_of_reference: str, provenance: Provenance
) -> None:
    name = " ".join(segment.name.split())[:_LONGEST_NAME] or f"Structure {number}"
    data.StructureSetROISequence.append(
        _item(
            ROINumber=number,
            ReferencedFrameOfReferenceUID=frame_of_reference,
            ROIName=name,
            ROIGenerationAlgorithm=segment.made_by.value,
            ROIGenerationDescription="" if segment.made_by is MadeBy.PERSON else _model_name(segment, provenance),
        )
    )
    region = _item(ROIDisplayColor=[round(255 * part) for part in segment.color], ReferencedROINumber=number)
    if contours:
        region.ContourSequence = list(contours)
    data.ROIContourSequence.append(region)
    scheme, value, meaning = parse_terminology(segment.terminology).type
    code = _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning[:64])
    data.RTROIObservationsSequence.append(
        _item(
            ObservationNumber=number,
            ReferencedROINumber=number,
            RTROIIdentificationCodeSequence=[code],
            RTROIInterpretedType="",
            ROIInterpreter="",
        )
    )


def _model_name(segment: Segment, provenance: Provenance) -> str:
    return str(algorithm_of(provenance_of(segment, provenance))[0].AlgorithmName)[:64]


def _item(**elements: Any) -> Any:
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made
