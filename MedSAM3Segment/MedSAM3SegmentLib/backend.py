"""What everything that segments can be asked: a model in this process, an engine in another one, a stand-in."""

from __future__ import annotations

from typing import Protocol

from MedSAM3SegmentLib.results.result import SegmentResult

from .progress import NO_CALLBACKS, RunCallbacks
from .request import SegmentRequest
from .volume import Volume


class SegmenterProtocol(Protocol):
    """What turns a request into a result, by words or by examples; errors are those of ``segmenter.Segmenter``."""

    def segment(
        self, volume: Volume, request: SegmentRequest, callbacks: RunCallbacks = NO_CALLBACKS
    ) -> SegmentResult: ...
