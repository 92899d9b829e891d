"""Measurements of the segments of a DICOM segmentation as a structured report (TID 1500), by highdicom."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.segment import Provenance

from .coded_terms import code_item, code_of
from .source import DicomSource, check_packages
from .write_seg import MANUFACTURER, PRODUCT, restore_classes, save_dicom, version_of


@dataclass(frozen=True)
class SegmentMeasurement:
    """What was measured of one segment.

    Attributes:
        volume_ml: milliliters.
        mean_hu: mean in Hounsfield units; None where the image is no CT.
    """

    volume_ml: float
    mean_hu: float | None = None


def write_dicom_report(
    path: Path,
    segmentation: Path,
    measurements: Sequence[SegmentMeasurement],
    provenance: Provenance,
    source: DicomSource,
) -> None:
    """Write a report that refers to a segmentation and the images.

    Args:
        segmentation: a file of ``write_seg.write_dicom_seg``.
        measurements: of each segment, in the order of the file.
        provenance: of the run.
        source: the images.

    Raises:
        InputError: the report cannot be made of these images, or the disk failed.
        PackageError: highdicom is not installed.
    """
    check_packages()
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    observer = highdicom.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=highdicom.sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=[PRODUCT]), name=PRODUCT, manufacturer_name=MANUFACTURER
        ),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = highdicom.seg.segread(segmentation)
            groups = [
                _group(stored, number, measured, provenance) for number, measured in enumerate(measurements, start=1)
            ]
            content = highdicom.sr.MeasurementReport(
                observation_context=highdicom.sr.ObservationContext(observer_device_context=observer),
                procedure_reported=codes.SCT.ImagingProcedure,
                imaging_measurements=groups,
            )
            made = highdicom.sr.Comprehensive3DSR(
                evidence=[stored, *source.images],
                content=content,
                series_instance_uid=source.make_uid("report series"),
                series_number=1002,
                sop_instance_uid=source.make_uid("report"),
                instance_number=1,
                manufacturer=MANUFACTURER,
                is_complete=True,
                is_final=False,
                is_verified=False,
                series_description="MedSAM3 measurements",
                manufacturer_model_name=PRODUCT,
                software_versions=version_of(provenance),
                record_evidence=True,
            )
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise InputError(
            "{path} cannot be written as a DICOM report on these images ({why}); leave it out.",
            path=path,
            why=str(error),
        ) from None
    made.SpecificCharacterSet = "ISO_IR 192"
    restore_classes(made, source)
    save_dicom(path, made)


def _group(stored: Any, number: int, measured: SegmentMeasurement, provenance: Provenance) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    description = stored.get_segment_description(number)
    algorithm = highdicom.sr.AlgorithmIdentification(
        name=str(description.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName),
        version=version_of(provenance),
    )
    found = [
        highdicom.sr.Measurement(
            name=codes.SCT.Volume,
            value=round(measured.volume_ml, 6),
            unit=code_item(("UCUM", "mL", "milliliter")),
            algorithm_id=algorithm,
        )
    ]
    if measured.mean_hu is not None:
        found.append(
            highdicom.sr.Measurement(
                name=codes.DCM.AttenuationCoefficient,
                value=round(measured.mean_hu, 6),
                unit=code_item(("UCUM", "[hnsf'U]", "Hounsfield unit")),
                derivation=codes.SCT.Mean,
                algorithm_id=algorithm,
            )
        )
    return highdicom.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        # Not ``from_segmentation``, which looks for a segmentation's only segment where highdicom does not write it.
        referenced_segment=highdicom.sr.ReferencedSegment(
            sop_class_uid=str(stored.SOPClassUID),
            sop_instance_uid=str(stored.SOPInstanceUID),
            segment_number=number,
            source_series=highdicom.sr.SourceSeriesForSegmentation(
                str(stored.ReferencedSeriesSequence[0].SeriesInstanceUID)
            ),
        ),
        tracking_identifier=highdicom.sr.TrackingIdentifier(
            uid=str(description.TrackingUID), identifier=str(description.TrackingID)
        ),
        finding_type=code_item(code_of(description.SegmentedPropertyTypeCodeSequence[0])),
        measurements=found,
    )
