"""What the detector sees of a concept on each slice, for those who follow an object and want to check."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.assembly.assemble import CONTINUATION, slice_parts
from MedSAM3SegmentLib.results.slice_detections import SliceEvidence
from MedSAM3SegmentLib.results.tracks import StopReason
from MedSAM3SegmentLib.search_region import Gate

from .stop_rules import Doubt, iou

Mask = NDArray[np.bool_]


class FreshDetections:
    """One concept's detections.

    Args:
        evidence: of the slices that were looked at; others are not known.
        threshold: from which score a detection counts.
        gate: cuts what lies outside of it.
    """

    def __init__(self, evidence: Iterable[SliceEvidence], threshold: float, gate: Gate) -> None:
        self._evidence = {item.slice_index: item for item in evidence}
        self._threshold = threshold
        self._gate = gate
        self._last: tuple[int, list[Mask]] = (-1, [])

    def best_match(self, slice_index: int, mask: Mask) -> tuple[Mask | None, float]:
        """The detection that overlaps ``mask`` ``[row, column]`` most, and the intersection over union of both."""
        overlaps = [(iou(part, mask), part) for part in self._parts(slice_index)]
        overlap, part = max(overlaps, key=lambda pair: pair[0], default=(0.0, None))
        return (part, overlap) if overlap > 0 else (None, 0.0)

    def doubt(self, slice_index: int, mask: Mask, agreement: float) -> Doubt | None:
        """Whether what is detected contradicts that the object is at ``mask``.

        Slices that were not looked at, and those on which the detector is undecided, contradict nothing.
        """
        item = self._evidence.get(slice_index)
        if item is None or self._threshold * CONTINUATION <= item.score < self._threshold:
            return None
        _, overlap = self.best_match(slice_index, mask)
        if overlap >= agreement:
            return None
        detail = f"score {item.score:.2f}" + (f", overlap {overlap:.2f}" if item.score >= self._threshold else "")
        return Doubt(StopReason.DETECTION_DISAGREES, detail)

    def comes_back(self, slices: Iterable[int], mask: Mask, overlap: float) -> bool:
        """Whether any of ``slices`` has a detection that overlaps ``mask`` by at least ``overlap``."""
        return any(self.best_match(index, mask)[1] >= overlap for index in slices)

    def _parts(self, slice_index: int) -> list[Mask]:
        if self._last[0] != slice_index:
            item = self._evidence.get(slice_index)
            parts = []
            if item is not None and item.score >= self._threshold:
                cut = (
                    self._gate.cut(slice_index, mask)
                    for _, mask in slice_parts(item, self._threshold, self._gate.stack.slice_shape)
                )
                parts = [mask for mask in cut if mask.any()]
            self._last = (slice_index, parts)
        return self._last[1]
