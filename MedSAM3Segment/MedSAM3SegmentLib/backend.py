"""What everything that segments can be asked: a model in this process, an engine in another one, a stand-in."""

from __future__ import annotations

from typing import Protocol

from MedSAM3SegmentLib.few_shot.examples import Examples
from MedSAM3SegmentLib.results.result import SegmentResult

from .request import (
    CancelCheck,
    PartialCallback,
    ProgressCallback,
    SegmentRequest,
)
from .volume import Volume


class AnySegmenter(Protocol):
    """What turns a request into a result, by words and by examples; errors are those of ``segmenter.Segmenter``."""

    def segment(
        self,
        volume: Volume,
        request: SegmentRequest,
        progress: ProgressCallback | None = None,
        cancel: CancelCheck | None = None,
        partial: PartialCallback | None = None,
    ) -> SegmentResult: ...

    def segment_like(
        self,
        volume: Volume,
        examples: Examples,
        request: SegmentRequest,
        progress: ProgressCallback | None = None,
        cancel: CancelCheck | None = None,
        partial: PartialCallback | None = None,
    ) -> SegmentResult: ...
