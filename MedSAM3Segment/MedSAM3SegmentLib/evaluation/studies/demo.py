"""The study of the demo model: everything that a phantom may show by words, and words that mean nothing there."""

from __future__ import annotations

from collections.abc import Iterator

from MedSAM3SegmentLib.evaluation.prediction import Prediction, Prompt
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.synthetic.phantom import CONCEPTS, ORGANS

from .study import Study, StudyQuestion

#: Words that neither the vocabulary nor training knows, besides the phrases held back from training.
MADE_UP_WORDS = ("zebra", "submarine", "pocket watch", "quasar", "blorptid")

_WORDS = "T"


def unknown_words() -> tuple[str, ...]:
    """Words that were never trained."""
    from MedSAM3SegmentLib.training.demo_recipe import held_back_phrases  # needs PyTorch

    return (*held_back_phrases()[::40], *MADE_UP_WORDS)


def demo_study() -> Study:
    """The study, on phantoms that neither training nor any choice of settings saw."""
    words = unknown_words()
    groups = {
        "organs": (*ORGANS, "kidney"),
        "tumor": ("tumor",),
        "all that training knows": CONCEPTS,
        "words never trained": words,
    }
    return Study("demo", _predict, (_WORDS,), concepts=(*CONCEPTS, *words), with_absent=True, groups=groups)


def _predict(asked: StudyQuestion) -> Iterator[Prediction]:
    for one in asked.segment(SegmentRequest(tuple(asked.references), plane=Plane.AXIAL)).concepts:
        yield Prediction(one.concept, Prompt(_WORDS), one.mask, one.instance_map)
