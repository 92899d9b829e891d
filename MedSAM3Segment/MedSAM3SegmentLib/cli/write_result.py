"""A result as a segmentation file: which segments it becomes, what they are called, and what each says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MedSAM3SegmentLib.geometry.label_map import CoveredPart, LabelMap, Overlap, merge_masks
from MedSAM3SegmentLib.io.labelmap_nifti import LABEL_MAP_SUFFIXES, check_overlap, write_label_map
from MedSAM3SegmentLib.io.segment import PROVENANCE_TAG, Segment, provenance_text
from MedSAM3SegmentLib.io.segmentation import write_segmentation
from MedSAM3SegmentLib.io.segmentation_paths import SEG_NRRD_SUFFIX, suffix_of
from MedSAM3SegmentLib.io.written_slices import WRITTEN_TAG, WrittenSlices, format_written, slice_checksums
from MedSAM3SegmentLib.reporting.report import segment_provenance
from MedSAM3SegmentLib.request import Grouping
from MedSAM3SegmentLib.results.soft_volume import soft_volume
from MedSAM3SegmentLib.vocabulary.terminology import terminology_entry
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    from MedSAM3SegmentLib.io.dicom_objects.source import DicomSource
    from MedSAM3SegmentLib.results.result import ConceptResult, SegmentResult
    from MedSAM3SegmentLib.volume import Volume


@dataclass(frozen=True)
class Covered:
    """What a written label map hides.

    Attributes:
        parts: by structure that lost voxels; none where a format keeps all.
        names: of the labels.
        concepts: of the request, by label.
    """

    parts: tuple[CoveredPart, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    concepts: Mapping[int, str] = field(default_factory=dict)

    def of_concept(self, concept: str) -> dict[str, int]:
        """Voxels of a concept that a label map shows as other structures, by the name of those."""
        counts: dict[str, int] = {}
        for part in self.parts:
            if self.concepts[part.label] == concept:
                by = self.names[part.by]
                counts[by] = counts.get(by, 0) + part.voxels
        return counts


def write_result(
    path: Path,
    result: SegmentResult,
    grouping: Grouping = Grouping.CONCEPT,
    overlap: Overlap = Overlap.SMALLER,
    source: DicomSource | None = None,
    is_fractional: bool = False,
) -> Covered:
    """Write what was found: to ``.seg.nrrd`` as segments with all that Slicer shows of them, else as a label map.

    Of one segment per concept there is one for each that was found, and in a label map concept ``n`` has the value
    ``n`` (from 1) whether the others were found or not, so that a label means the same in every volume that was asked
    for the same concepts. Of one segment per instance each is called by the concept and its number, largest first,
    and the label map counts through all of them.

    Args:
        overlap: which label a voxel of several structures gets in a label map.
        source: the images that a DICOM segmentation refers to. One in which nothing was found names the concepts, as
            it needs a segment.
        is_fractional: write how likely each voxel belongs to a segment, which a DICOM segmentation alone can hold.

    Returns:
        What the label map hides.

    Raises:
        InputError: ``overlap`` refuses and a label map would hide something; the disk failed.
    """
    provenance = result.provenance.as_dict()
    if suffix_of(path) in LABEL_MAP_SUFFIXES:
        merged, covered = _label_map(result, grouping, overlap)
        write_label_map(path, merged.labels, result.stack.grid, covered.names, provenance, covered.parts)
        return covered
    vocabulary = Vocabulary.load()
    segments = []
    for name, concept, label in _parts(result, grouping, source is not None):
        mask = concept.mask if label is None else concept.instance_map == label
        tags = {PROVENANCE_TAG: provenance_text(segment_provenance(result, concept, label))}
        # What was drawn for it is in it too, and nobody would know on which slices.
        if suffix_of(path) == SEG_NRRD_SUFFIX and not result.provenance.prompts.get(concept.concept):
            stack = result.stack
            tags[WRITTEN_TAG] = format_written(WrittenSlices(stack.plane, stack.count, slice_checksums(mask, stack)))
        color, entry = vocabulary.color_for(concept.concept), terminology_entry(vocabulary.find(concept.concept))
        segments.append(Segment(name, mask, color, entry, tags))
    fractions = []
    if is_fractional:
        for segment, (_, concept, _) in zip(segments, _parts(result, grouping, source is not None), strict=True):
            fractions.append(soft_volume(concept, result.stack, result.provenance.threshold, segment.mask))
    write_segmentation(path, segments, result.stack.grid, provenance, source=source, fractions=fractions)
    return Covered()


def write_dicom_measurements(
    path: Path, segmentation: Path, volume: Volume, result: SegmentResult, grouping: Grouping, source: DicomSource
) -> None:
    """Write a DICOM report with volume and, of CT, mean of each segment of a DICOM segmentation.

    Args:
        segmentation: what ``write_result`` wrote of ``result``.

    Raises:
        InputError: the report cannot be made of these images, or the disk failed.
    """
    from MedSAM3SegmentLib.io.dicom_objects.write_report import SegmentMeasurement, write_dicom_report

    measured = []
    for _, concept, label in _parts(result, grouping, needs_one=True):
        mask = concept.mask if label is None else concept.instance_map == label
        voxels = int(np.count_nonzero(mask))
        is_ct = volume.modality == "CT" and voxels
        measured.append(
            SegmentMeasurement(
                voxels * result.stack.grid.voxel_volume_mm3 / 1000, float(volume.array[mask].mean()) if is_ct else None
            )
        )
    write_dicom_report(path, segmentation, measured, result.provenance.as_dict(), source)


def _parts(
    result: SegmentResult, grouping: Grouping, needs_one: bool = False
) -> Iterator[tuple[str, ConceptResult, int | None]]:
    """Name, concept and instance (None for all of it) of each segment that ``result`` becomes."""
    is_empty = not any(concept.found for concept in result.concepts)
    for concept in result.concepts:
        if needs_one and is_empty:
            yield concept.concept, concept, None
        if not concept.found:
            continue
        if grouping is Grouping.CONCEPT:
            yield concept.concept, concept, None
            continue
        for instance in concept.instances:
            yield f"{concept.concept} {instance.label}", concept, instance.label


def _label_map(result: SegmentResult, grouping: Grouping, overlap: Overlap) -> tuple[LabelMap, Covered]:
    """The labels, and what each is called."""
    if grouping is Grouping.CONCEPT:
        merged = result.merged(overlap)
        return merged, Covered(merged.covered, result.label_names, result.label_names)
    parts = dict(enumerate(_parts(result, grouping), start=1))
    masks = {number: concept.instance_map == label for number, (_, concept, label) in parts.items()}
    merged = merge_masks(masks, result.stack.grid.shape, overlap)
    names = {number: name for number, (name, _, _) in parts.items()}
    check_overlap(merged, names, overlap, result.stack.grid.voxel_volume_mm3)
    concepts = {number: concept.concept for number, (_, concept, _) in parts.items()}
    return merged, Covered(merged.covered, names, concepts)
