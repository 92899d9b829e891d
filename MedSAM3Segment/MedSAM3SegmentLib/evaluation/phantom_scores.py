"""How well a model does on phantoms it has never seen: Dice where a concept is, false alarms where it is not.

The demo model's numbers come from here; they speak of synthetic pictures only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.phantom import CONCEPTS, make_phantom

from .metrics import dice


@dataclass(frozen=True)
class ConceptScore:
    """One concept in one phantom.

    Attributes:
        dice: 3D Dice where the concept is present, None where it is absent.
        found: whether it was reported found.
        best_score: highest slice score.
    """

    seed: int
    concept: str
    dice: float | None
    found: bool
    best_score: float


@dataclass(frozen=True)
class PhantomScores:
    """All scores of one evaluation."""

    scores: tuple[ConceptScore, ...]

    def mean_dice(self, concepts: Iterable[str]) -> float:
        """Mean over every present case of ``concepts``."""
        wanted = set(concepts)
        values = [s.dice for s in self.scores if s.concept in wanted and s.dice is not None]
        return sum(values) / len(values) if values else float("nan")

    def false_alarm_rate(self, concepts: Iterable[str] | None = None) -> float:
        """Share of absent cases reported found."""
        wanted = None if concepts is None else set(concepts)
        absent = [s for s in self.scores if s.dice is None and (wanted is None or s.concept in wanted)]
        return sum(s.found for s in absent) / len(absent) if absent else float("nan")


def score_phantoms(segmenter: Segmenter, seeds: Sequence[int], unknown_words: Sequence[str] = ()) -> PhantomScores:
    """Ask for every phantom concept, and for words that mean nothing there, in the phantoms of ``seeds``."""
    scores = []
    for seed in seeds:
        phantom = make_phantom(seed)
        request = SegmentRequest((*CONCEPTS, *unknown_words), plane=Plane.AXIAL)
        result = segmenter.segment(phantom.volume, request)
        for concept in result.concepts:
            truth = phantom.masks.get(concept.concept)
            present = truth is not None and bool(truth.any())
            scores.append(
                ConceptScore(
                    seed,
                    concept.concept,
                    dice(concept.mask, truth) if present and truth is not None else None,
                    concept.found,
                    max(concept.score_by_slice.values()),
                )
            )
    return PhantomScores(tuple(scores))
