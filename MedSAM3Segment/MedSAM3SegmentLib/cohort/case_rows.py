"""What the table says of one case, out of its result."""

from __future__ import annotations

import numpy as np

from MedSAM3SegmentLib.reporting.sentences import describe_cut_off
from MedSAM3SegmentLib.results.result import ConceptResult, SegmentResult
from MedSAM3SegmentLib.units import is_plain_picture
from MedSAM3SegmentLib.volume import Volume

from .records import ConceptRow


def rows_of(volume: Volume, result: SegmentResult) -> tuple[ConceptRow, ...]:
    """One row for each concept, in the order of the request."""
    return tuple(_row(volume, result, concept) for concept in result.concepts)


def _row(volume: Volume, result: SegmentResult, concept: ConceptResult) -> ConceptRow:
    voxels = concept.voxels
    size = None if is_plain_picture(volume) else voxels * volume.grid.voxel_volume_mm3 / 1000
    score = float(max(concept.score_by_slice.values(), default=0.0))
    on = np.flatnonzero(result.stack.extract(concept.mask).any(axis=(1, 2)))
    said = () if concept.found else (concept.reason,)
    return ConceptRow(
        concept=concept.concept,
        found=concept.found,
        # A broken model may give NaN, which is no number in JSON.
        score=score if np.isfinite(score) else 0.0,
        threshold=result.provenance.threshold,
        volume_ml=size,
        voxels=voxels,
        objects=len(concept.instances),
        slices=(int(on[0]), int(on[-1])) if len(on) else None,
        mean_intensity=float(volume.array[concept.mask].mean()) if voxels and not volume.is_color else None,
        is_cut_off=bool(concept.cut_off),
        messages=tuple(map(str, (*said, *concept.messages, *describe_cut_off(concept)))),
    )
