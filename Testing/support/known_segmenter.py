"""A model that knows the truth, whole or moved, by the name of the image; for tests of what scores models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.progress import NO_CALLBACKS, RunCallbacks
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.volume import Volume

from .results import result_of

#: Its identity, as of a real one.
IDENTITY = {"name": "a model that knows", "sha256": "1" * 64, "demo": False, "adapters": []}


class KnownSegmenter:
    """Gives the object maps ``[k, j, i]`` that it was told, by phrase; a phrase it does not know finds nothing.

    Attributes:
        answers: by name of the image, then by phrase.
        moved: by how many columns they are moved.
        requests: that were made.
    """

    def __init__(self, answers: Mapping[str, Mapping[str, NDArray[Any]]], moved: int = 0) -> None:
        self.answers = answers
        self.moved = moved
        self.requests: list[SegmentRequest] = []

    def segment(self, volume: Volume, request: SegmentRequest, callbacks: RunCallbacks = NO_CALLBACKS) -> SegmentResult:
        """The answer, with objects as it was told."""
        callbacks.check()
        self.requests.append(request)
        nothing = np.zeros(volume.grid.shape, np.int32)
        known = self.answers[volume.name]
        maps = {name: np.roll(known.get(name, nothing), self.moved, axis=2) for name in request.concepts}
        result = result_of(volume, {name: objects != 0 for name, objects in maps.items()})
        for concept in result.concepts:
            object.__setattr__(concept, "instance_map", maps[concept.concept].astype(np.uint16))
        return result
