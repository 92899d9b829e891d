"""What the detector sees of a concept on each slice, for those who follow an object and want to check."""

from __future__ import annotations

from collections.abc import Iterable

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.assembly.assemble import CONTINUATION, slice_parts
from MedSAM3SegmentLib.geometry.mask_ops import mask_iou
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.results.tracks import StopReason
from MedSAM3SegmentLib.search_region import SearchRegion

from .stop_rules import StopCandidate


class DetectionAgreement:
    """One concept's detections.

    Args:
        evidence: of the slices that were looked at; others are not known.
        threshold: from which score a detection counts.
        search_region: cuts what lies outside of it.
    """

    def __init__(self, evidence: Iterable[SliceDetections], threshold: float, search_region: SearchRegion) -> None:
        self._evidence = {item.slice_index: item for item in evidence}
        self._threshold = threshold
        self._search_region = search_region
        self._last: tuple[int, list[BoolMask]] = (-1, [])

    def best_match(self, slice_index: int, mask: BoolMask) -> tuple[BoolMask | None, float]:
        """The detection that overlaps ``mask`` ``[row, column]`` most, and the intersection over union of both."""
        overlaps = [(mask_iou(part, mask), part) for part in self._parts(slice_index)]
        overlap, part = max(overlaps, key=lambda pair: pair[0], default=(0.0, None))
        return (part, overlap) if overlap > 0 else (None, 0.0)

    def doubt(self, slice_index: int, mask: BoolMask, agreement_iou: float) -> StopCandidate | None:
        """Whether what is detected contradicts that the object is at ``mask``.

        Slices that were not looked at, and those on which the detector is undecided, contradict nothing.
        """
        item = self._evidence.get(slice_index)
        if item is None or self._threshold * CONTINUATION <= item.score < self._threshold:
            return None
        _, overlap = self.best_match(slice_index, mask)
        if overlap >= agreement_iou:
            return None
        detail = f"score {item.score:.2f}" + (f", overlap {overlap:.2f}" if item.score >= self._threshold else "")
        return StopCandidate(StopReason.DETECTION_DISAGREES, detail)

    def reappears(self, slices: Iterable[int], mask: BoolMask, overlap: float) -> bool:
        """Whether any of ``slices`` has a detection that overlaps ``mask`` by at least ``overlap``."""
        return any(self.best_match(index, mask)[1] >= overlap for index in slices)

    def _parts(self, slice_index: int) -> list[BoolMask]:
        if self._last[0] != slice_index:
            item = self._evidence.get(slice_index)
            parts = []
            if item is not None and item.score >= self._threshold:
                cut = (
                    self._search_region.clip(slice_index, mask)
                    for _, mask in slice_parts(item, self._threshold, self._search_region.stack.slice_shape)
                )
                parts = [mask for mask in cut if mask.any()]
            self._last = (slice_index, parts)
        return self._last[1]
