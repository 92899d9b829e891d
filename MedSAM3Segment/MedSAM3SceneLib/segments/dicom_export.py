"""Segments of a scene as a DICOM segmentation or structure set of the images that a volume was loaded from.

What is read from nodes is copied at once; voxels are brought together, and files read and written, on another thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

from MedSAM3SceneLib.mrml.labelmaps import content_of
from MedSAM3SceneLib.mrml.nodes import require_node
from MedSAM3SceneLib.mrml.segment_masks import labelmap_mask
from MedSAM3SceneLib.mrml.transforms import array_of, node_to_node
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, VoxelGrid
from MedSAM3SegmentLib.io.segment import PROVENANCE_TAG, TERMINOLOGY_TAG, MadeBy, Segment, provenance_text
from MedSAM3SegmentLib.io.written_slices import WrittenSlices, changed_slices

from .edited_slices import read_written
from .provenance import read_provenance

#: Where Slicer's DICOM reader says which images a volume was loaded from.
_INSTANCES = "DICOM.instanceUIDs"


@dataclass(frozen=True, eq=False)
class _Copied:
    """What a segment holds and says of itself."""

    name: str
    color: tuple[float, float, float]
    terminology: str
    provenance: dict[str, Any] | None
    written: WrittenSlices | None
    labelmap: Any | None


@dataclass(frozen=True, eq=False)
class DicomExport:
    """What becomes a DICOM object.

    Attributes:
        files: the images.
        grid: the volume's own voxels in the patient, whatever transforms show it elsewhere.
        to_segmentation: 4x4 from voxel index of ``grid`` to RAS millimeters of the segmentation's own frame.
    """

    volume: str
    files: tuple[Path, ...]
    grid: VoxelGrid
    to_segmentation: Matrix
    segments: tuple[_Copied, ...]


def dicom_files(volume_node: Any) -> tuple[Path, ...]:
    """The DICOM images that a volume was loaded from.

    Raises:
        InputError: it was loaded from something else, or they are not there any more.
    """
    uids = (volume_node.GetAttribute(_INSTANCES) or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if uids and database is not None:
        names = [str(database.fileForInstance(uid) or "") for uid in uids]
        if not all(name and Path(name).is_file() for name in names):
            raise InputError(
                "Some DICOM images of '{volume}' are not in Slicer's DICOM database any more; import them again.",
                volume=volume_node.GetName(),
            )
        return tuple(map(Path, dict.fromkeys(names)))
    raise InputError(
        "'{volume}' was not loaded from Slicer's DICOM database, and a DICOM object must refer to DICOM images; load "
        "it from there, or save the segmentation in another format.",
        volume=volume_node.GetName(),
    )


def copy_for_dicom(segmentation_node: Any, volume_node: Any) -> DicomExport:
    """Copy what is needed of a segmentation; call it on the thread of the window.

    Raises:
        InputError: there is nothing to write, or the volume is not from DICOM.
    """
    require_node(volume_node)
    require_node(segmentation_node)
    files = dicom_files(volume_node)
    ijk_to_ras = _ijk_to_ras(volume_node)
    shape = volume_node.GetImageData().GetDimensions()[::-1]
    segmentation = segmentation_node.GetSegmentation()
    copied = tuple(_copy(segmentation.GetSegment(one)) for one in segmentation.GetSegmentIDs())
    if not any(one.labelmap is not None for one in copied):
        raise InputError("'{name}' holds no voxel; segment something first.", name=segmentation_node.GetName())
    grid = VoxelGrid(shape, ijk_to_ras)
    to_segmentation = np.asarray(node_to_node(volume_node, segmentation_node) @ ijk_to_ras)
    return DicomExport(volume_node.GetName(), files, grid, to_segmentation, copied)


def write_dicom(path: Path, export: DicomExport) -> None:
    """Write a ``.dcm`` or ``.rtstruct.dcm``, whole; touches no scene.

    Raises:
        InputError: the volume does not lie where its images do, they cannot be referred to, or the disk failed.
        PackageError: highdicom is not installed.
    """
    from MedSAM3SegmentLib.io.dicom_objects.source import read_source
    from MedSAM3SegmentLib.io.segmentation import write_segmentation

    source = read_source(export.files[0].parent, None, export.files)
    # One that was moved, cropped or sampled anew would put its segments elsewhere in the patient.
    if not source.has_slices_of(export.grid):
        raise InputError(
            "'{volume}' does not lie where its DICOM images do, since it was moved, cropped or sampled anew; load the "
            "images again and segment them, or save the segmentation in another format.",
            volume=export.volume,
        )
    segments = [_segment(one, export) for one in export.segments if one.labelmap is not None]
    write_segmentation(path, segments, export.grid, {}, source=source)


def _ijk_to_ras(volume_node: Any) -> Matrix:
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return array_of(matrix)


def _copy(segment: Any) -> _Copied:
    text = vtk.reference("")
    has_terminology = segment.GetTag(TERMINOLOGY_TAG, text)
    red, green, blue = segment.GetColor()
    return _Copied(
        segment.GetName(),
        (red, green, blue),
        str(text) if has_terminology else "",
        read_provenance(segment),
        read_written(segment),
        content_of(segment),
    )


def _segment(copied: _Copied, export: DicomExport) -> Segment:
    mask = labelmap_mask(copied.labelmap, export.grid, export.to_segmentation)
    made_by = MadeBy.PERSON
    if copied.provenance is not None:
        made_by = MadeBy.BOTH
        if copied.written is not None:
            stack = SliceStack.along(export.grid, copied.written.plane)
            made_by = MadeBy.BOTH if changed_slices(copied.written, mask, stack) else MadeBy.PROGRAM
    tags = {} if copied.provenance is None else {PROVENANCE_TAG: provenance_text(copied.provenance)}
    return Segment(copied.name, mask, copied.color, copied.terminology, tags, made_by=made_by)
