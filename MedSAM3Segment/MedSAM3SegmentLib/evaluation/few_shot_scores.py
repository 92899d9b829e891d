"""How well a model segments by examples instead of words, on phantoms it has never seen.

Numbers speak of synthetic pictures only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..examples import Example
from ..grid import Plane
from ..request import Mode, SegmentRequest
from ..segmenter import Segmenter
from ..training.phantom import Contrast
from .metrics import dice
from .stack_scores import organs_of, phantom_with_slices


@dataclass(frozen=True)
class FewShotScore:
    """3D Dice of one organ of one phantom that others showed."""

    seed: int
    organ: str
    dice: float


def segment_by_examples(
    segmenter: Segmenter,
    seed: int,
    example_seeds: Sequence[int],
    spacing_mm: float,
    mode: Mode,
    contrast: Contrast = Contrast.CT,
) -> list[FewShotScore]:
    """Segment the organs of a phantom that all of the example phantoms have too, whole and without a word."""
    phantom, _ = phantom_with_slices(seed, spacing_mm, contrast)
    shown = [phantom_with_slices(other, spacing_mm, contrast)[0] for other in example_seeds]
    organs = [name for name in organs_of(phantom) if all(other.masks[name].any() for other in shown)]
    examples = {name: [Example(other.volume, other.masks[name]) for other in shown] for name in organs}
    request = SegmentRequest(tuple(organs), plane=Plane.AXIAL, mode=mode)
    result = segmenter.segment_like(phantom.volume, examples, request)
    return [
        FewShotScore(seed, concept.concept, dice(concept.mask, phantom.masks[concept.concept]))
        for concept in result.concepts
    ]
