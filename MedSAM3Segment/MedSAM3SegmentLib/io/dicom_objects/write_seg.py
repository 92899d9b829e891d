"""Segments to a DICOM Segmentation object (PS3.3 A.51), by highdicom."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import FloatMap
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.atomic_write import atomic_write
from MedSAM3SegmentLib.io.segment import MadeBy, Provenance, Segment, provenance_of

from .coded_terms import code_item, parse_terminology, to_cielab
from .source import SAME_PLACE_MM, DicomSource, check_packages, slice_planes

#: Who made it, as DICOM asks.
MANUFACTURER, PRODUCT = "MedSAM3", "MedSAM3 for 3D Slicer"

_LONGEST_NAME = 64


def write_dicom_seg(
    path: Path,
    segments: Sequence[Segment],
    grid: VoxelGrid,
    provenance: Provenance,
    source: DicomSource,
    fractions: Sequence[FloatMap] = (),
) -> None:
    """Write a DICOM segmentation that refers to the images it was made from.

    Args:
        segments: at least one; they may overlap and may be empty.
        grid: of all masks.
        provenance: of the run: model with hashes, threshold, versions.
        source: the images.
        fractions: for each segment how likely each voxel belongs to it, 0 to 1, ``[k, j, i]``; written in place of the
            masks as a fractional segmentation. Empty for a binary one.

    Raises:
        InputError: there is no segment, the source cannot be referred to, or the disk failed.
        PackageError: highdicom is not installed.
    """
    check_packages()
    import highdicom
    from pydicom.uid import ExplicitVRLittleEndian

    if not segments:
        raise InputError("{path} cannot be written: a DICOM segmentation needs at least one segment.", path=path)
    parts: Sequence[NDArray[Any]] = fractions or [segment.mask for segment in segments]
    stacked = np.stack(parts, axis=-1).astype(np.float32 if fractions else np.uint8)
    described = [_description(number, segment, provenance, source) for number, segment in enumerate(segments, start=1)]
    measures, orientation, positions = plane_geometry(grid, source)
    is_placed = source.orientation is not None
    kind: dict[str, Any] = {}
    if fractions:
        kind = {"fractional_type": highdicom.seg.SegmentationFractionalTypeValues.PROBABILITY}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = highdicom.seg.Segmentation(
                source_images=list(source.images),
                pixel_array=stacked,
                segmentation_type="FRACTIONAL" if fractions else "BINARY",
                segment_descriptions=described,
                series_instance_uid=source.make_uid("segmentation series"),
                series_number=_series_number(source),
                sop_instance_uid=source.make_uid("segmentation"),
                instance_number=1,
                manufacturer=MANUFACTURER,
                manufacturer_model_name=PRODUCT,
                software_versions=version_of(provenance),
                device_serial_number=str(provenance.get("model", {}).get("sha256", "0"))[:64],
                content_description="Segmentation by named concepts",
                content_label="MEDSAM3",
                transfer_syntax_uid=ExplicitVRLittleEndian,
                pixel_measures=measures if is_placed else None,
                plane_orientation=orientation if is_placed else None,
                plane_positions=positions if is_placed else None,
                specific_character_set="ISO_IR 192",
                series_description="MedSAM3 segmentation",
                omit_empty_frames=bool(stacked.any()),
                **kind,
            )
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(
            "{path} cannot be written as a DICOM segmentation of these images ({why}); choose another format, such as "
            ".seg.nrrd.",
            path=path,
            why=str(error),
        ) from None
    restore_classes(made, source)
    save_dicom(path, made)


def plane_geometry(grid: VoxelGrid, source: DicomSource) -> tuple[Any, Any, list[Any]]:
    """Pixel measures, orientation and the position of each slice along k, in highdicom's types.

    A slice that lies on an image of the source has the very numbers of that image.
    """
    import highdicom

    spacing = grid.spacing
    cosines, places = slice_planes(grid)
    if source.orientation is not None and np.abs(cosines - source.orientation).max() < 1e-4:
        cosines = np.asarray(source.orientation)
    for number, place in enumerate(places):
        if len(source.positions):
            distances = np.linalg.norm(source.positions - place, axis=1)
            if distances.min() < SAME_PLACE_MM:
                places[number] = source.positions[distances.argmin()]
    measures = highdicom.PixelMeasuresSequence(
        pixel_spacing=(spacing[1], spacing[0]), slice_thickness=spacing[2], spacing_between_slices=spacing[2]
    )
    orientation = highdicom.PlaneOrientationSequence("PATIENT", cosines.tolist())
    return measures, orientation, [highdicom.PlanePositionSequence("PATIENT", place.tolist()) for place in places]


def version_of(provenance: Provenance) -> str:
    """This program's version, as provenance tells it."""
    return str(provenance.get("versions", {}).get("medsam3", "unknown"))[:64]


def restore_classes(made: Any, source: DicomSource) -> None:
    """Let references name the class that each image really has."""

    def restore(data: Any, element: Any) -> None:
        if element.keyword == "ReferencedSOPClassUID":
            instance = str(data.get("ReferencedSOPInstanceUID", ""))
            if source.classes.get(instance):
                element.value = source.classes[instance]

    made.walk(restore)


def save_dicom(path: Path, data: Any) -> None:
    """Write a DICOM file, whole.

    Raises:
        InputError: the disk failed.
    """
    with atomic_write(path) as draft, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.save_as(draft, enforce_file_format=True)


def algorithm_of(provenance: Provenance) -> Any:
    """Which model, of which version and with which weights, in DICOM's words."""
    import highdicom
    from pydicom.sr.codedict import codes

    model = provenance.get("model", {})
    adapters = [adapter.get("name", "") for adapter in model.get("adapters", ())]
    parameters = {
        "sha256": str(model.get("sha256", "")),
        **{
            f"adapter {adapter.get('name', '')} sha256": str(adapter.get("sha256", ""))
            for adapter in model.get("adapters", ())
        },
        "threshold": f"{provenance.get('threshold', '')}",
        "mode": str(provenance.get("mode", "")),
        "demo": str(bool(model.get("demo"))).lower(),
    }
    return highdicom.AlgorithmIdentificationSequence(
        name=" + ".join([str(model.get("name") or PRODUCT), *adapters])[:_LONGEST_NAME],
        family=codes.DCM.ArtificialIntelligence,
        version=version_of(provenance),
        source=PRODUCT,
        parameters=parameters,
    )


def _description(number: int, segment: Segment, provenance: Provenance, source: DicomSource) -> Any:
    import highdicom

    told = provenance_of(segment, provenance)
    terms = parse_terminology(segment.terminology)
    label = " ".join(segment.name.split())[:_LONGEST_NAME] or f"Segment {number}"
    described = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=code_item(terms.category),
        segmented_property_type=code_item(terms.type),
        algorithm_type=segment.made_by.value,
        algorithm_identification=None if segment.made_by is MadeBy.PERSON else algorithm_of(told),
        tracking_uid=source.make_uid(f"segment {number} {label}"),
        tracking_id=label,
        anatomic_regions=[code_item(terms.region)] if terms.region else None,
        display_color=highdicom.color.CIELabColor(*to_cielab(segment.color)),
    )
    if terms.type_modifier:
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            code_item(terms.type_modifier)
        ]
    if terms.region and terms.region_modifier:
        described.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [code_item(terms.region_modifier)]
    return described


def _series_number(source: DicomSource) -> int:
    """Far from the scanner's own numbers, and told from it."""
    try:
        return 1000 + int(source.images[0].get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        return 1000
