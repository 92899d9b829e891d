"""A result as a segmentation file: which segments it becomes, what they are called, and what each says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedSAM3SegmentLib.io.labelmap_nifti import write_label_map
from MedSAM3SegmentLib.io.segment import PROVENANCE_TAG, Segment, provenance_text
from MedSAM3SegmentLib.io.segmentation import write_segmentation
from MedSAM3SegmentLib.reporting.report import segment_provenance
from MedSAM3SegmentLib.request import Grouping
from MedSAM3SegmentLib.vocabulary.terminology import terminology_entry
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from MedSAM3SegmentLib.results.result import ConceptResult, SegmentResult


def write_result(path: Path, result: SegmentResult, grouping: Grouping = Grouping.CONCEPT) -> None:
    """Write what was found: to ``.seg.nrrd`` as segments with all that Slicer shows of them, else as a label map.

    Of one segment per concept there is one for each that was found, and in a label map concept ``n`` has the value
    ``n`` (from 1) whether the others were found or not, so that a label means the same in every volume that was asked
    for the same concepts. Of one segment per instance each is called by the concept and its number, largest first,
    and the label map counts through all of them.
    """
    provenance = result.provenance.as_dict()
    if path.name.lower().endswith((".nii", ".nii.gz")):
        labels, names = _label_map(result, grouping)
        write_label_map(path, labels, result.stack.grid, names, provenance)
        return
    vocabulary = Vocabulary.load()
    segments = [
        Segment(
            name,
            concept.mask if label is None else concept.instance_map == label,
            vocabulary.color_for(concept.concept),
            terminology_entry(vocabulary.find(concept.concept)),
            {PROVENANCE_TAG: provenance_text(_provenance(result, concept, label))},
        )
        for name, concept, label in _parts(result, grouping)
    ]
    write_segmentation(path, segments, result.stack.grid, provenance)


def _parts(result: SegmentResult, grouping: Grouping) -> Iterator[tuple[str, ConceptResult, int | None]]:
    """Name, concept and instance (None for all of it) of each segment that ``result`` becomes."""
    for concept in result.concepts:
        if not concept.found:
            continue
        if grouping is Grouping.CONCEPT:
            yield concept.concept, concept, None
            continue
        for instance in concept.instances:
            yield f"{concept.concept} {instance.label}", concept, instance.label


def _provenance(result: SegmentResult, concept: ConceptResult, label: int | None) -> Mapping[str, Any]:
    provenance = segment_provenance(result, concept)
    return provenance if label is None else provenance | {"instance": label}


def _label_map(result: SegmentResult, grouping: Grouping) -> tuple[NDArray[np.uint16], dict[int, str]]:
    """Labels ``[k, j, i]`` and what each is called."""
    if grouping is Grouping.CONCEPT:
        return result.label_map(), {n: concept.concept for n, concept in enumerate(result.concepts, start=1)}
    labels = np.zeros(result.stack.grid.shape, np.uint16)
    names = {}
    for number, (name, concept, label) in enumerate(_parts(result, grouping), start=1):
        labels[concept.instance_map == label] = number
        names[number] = name
    return labels, names
