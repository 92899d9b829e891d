"""What one call of the segmenter works with, whichever way concepts are found."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from MedSAM3SegmentLib.detection.detect_slices import Question
from MedSAM3SegmentLib.features.slice_encoder import SliceFeatures
from MedSAM3SegmentLib.messages.message import Message, as_message
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.results.slice_detections import SliceEvidence
from MedSAM3SegmentLib.tracking.track_concepts import follow_concepts, follows, most_steps_to_follow

from .progress import Watch
from .request import SegmentRequest, Stage
from .search_region import Gate
from .volume import Volume


@dataclass(frozen=True, eq=False)
class OneRun:
    """A request on its way to a result.

    Attributes:
        gate: of the request, before any of its concepts cuts another.
        features: of the volume, cut as the gate's stack is.
        threshold: lowest score that counts.
        said: sentences for the user, as they come.
        seconds: by stage, as they pass.
    """

    volume: Volume
    request: SegmentRequest
    gate: Gate
    features: SliceFeatures
    threshold: float
    watch: Watch
    said: list[Message] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "watch", replace(self.watch, say=self.said.append))

    def over(self, steps: int, parts: Iterable[SegmentRequest], windows: Mapping[str, Window]) -> OneRun:
        """The same with one progress from the first slice to the last.

        Args:
            steps: slices that will be looked at.
            parts: of the request, whose objects may be followed.
            windows: by concept.
        """
        steps += sum(most_steps_to_follow(part, windows, self.gate) for part in parts)
        return replace(self, watch=self.watch.over(Stage.SEGMENTING, steps))

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the time that passes in a stage, in which the run may be several times."""
        started = time.monotonic()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - started

    def unassembled(self, question: Question, evidence: Sequence[SliceEvidence]) -> ConceptResult:
        """A concept with its evidence, and nothing made of it yet."""
        shape = self.volume.grid.shape
        return ConceptResult(
            concept=question.concept,
            prompt=question.prompt,
            window=question.window,
            evidence=tuple(evidence),
            found=False,
            reason=as_message(""),
            mask=np.zeros(shape, bool),
            instance_map=np.zeros(shape, np.uint16),
            instances=(),
            messages=question.messages,
        )

    def followed(self, concepts: list[ConceptResult], part: SegmentRequest, gate: Gate) -> list[ConceptResult]:
        """The concepts of a part of the request with tracks, where they are followed and may be anywhere at all.

        Raises:
            InputError: what was drawn does not fit the volume.
            Cancelled: between two slices.
        """
        windows = {concept.concept: concept.window for concept in concepts}
        kept = most_steps_to_follow(part, windows, self.gate)
        if not gate.slices or not any(follows(part, concept) for concept in part.concepts):
            self.watch.settle(kept, 0)
            return concepts
        with self.timed("propagating"):
            return follow_concepts(concepts, part, self.features, gate, self.threshold, self.watch, kept)
