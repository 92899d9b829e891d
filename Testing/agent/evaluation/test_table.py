"""The harness itself: bases spoil as they say, and the table counts as by hand."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3AgentLib.evaluation.bases import KeptAnswers, SpoiledBase
from MedSAM3AgentLib.evaluation.table import Case, rows_of, score_phantom, table_markdown
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.synthetic.phantom import CONCEPTS, Phantom
from support.scripted_segmenter import ScriptedSegmenter, abdomen

VOLUME, MASKS = abdomen()
EMPTY = np.zeros(VOLUME.grid.shape, bool)
TRUTHS = {name: MASKS.get(name, EMPTY) for name in CONCEPTS} | {"tumor": MASKS["kidney tumor"]}
WORDS = {"hepatic tissue": "liver", "liver tissue": "liver", "renal tissue": "kidney", "splenic tissue": "spleen"}
PRESENT = tuple(name for name in CONCEPTS if TRUTHS[name].any())


def perfect() -> ScriptedSegmenter:
    return ScriptedSegmenter({**TRUTHS, **{word: TRUTHS[name] for word, name in WORDS.items()}})


def test_answers_are_asked_of_the_model_once() -> None:
    model = perfect()
    kept = KeptAnswers(model)
    for _ in range(3):
        result = kept.segment(VOLUME, SegmentRequest(("liver", "Spleen")))
        assert [one.concept for one in result.concepts] == ["liver", "Spleen"]
    assert len(model.requests) == 1


def test_a_swapped_phrase_is_answered_as_another_structure_always_the_same() -> None:
    request = SegmentRequest(PRESENT)
    first, again = (SpoiledBase(perfect(), 3, swap=1.0, present=PRESENT).segment(VOLUME, request) for _ in range(2))
    for one, other in zip(first.concepts, again.concepts, strict=True):
        assert np.array_equal(one.mask, other.mask)
        assert not np.array_equal(one.mask, TRUTHS[one.concept])
    deaf = SpoiledBase(perfect(), 3, deaf=1.0).segment(VOLUME, request)
    assert not any(one.found or one.mask.any() for one in deaf.concepts)
    clean = SpoiledBase(perfect(), 3).segment(VOLUME, request)
    assert all(np.array_equal(one.mask, TRUTHS[one.concept]) for one in clean.concepts)


def test_rows_are_counted_as_by_hand() -> None:
    def case(seed: int, base: str, concept: str, before: float, after: float, present: bool = True) -> Case:
        found = (before < 1, after < 1)
        return Case(seed, base, "oracle", concept, present, before, after, *found, 2, 0.0, 0, 2, False)

    cases = [
        case(1, "clean", "liver", 0.9, 0.9), case(2, "clean", "liver", 0.8, 0.8),
        case(1, "swap .25", "liver", 0.1, 0.5), case(2, "swap .25", "liver", 0.8, 0.8),
        case(1, "swap .25", "spleen", 0.0, 1.0, False),
    ]  # fmt: skip
    clean, swapped = rows_of(cases)
    assert clean.won_back is None
    assert swapped.before == pytest.approx(0.45)
    assert swapped.after == pytest.approx(0.65)
    assert swapped.won_back == pytest.approx(0.5)
    assert (swapped.absent_before, swapped.absent_after, swapped.absent) == (1, 0, 1)
    assert "50 %" in table_markdown([clean, swapped])


def test_a_phantom_goes_through_every_backend_and_policy() -> None:
    agents = ["rules", "oracle", "Meta's rules"]
    cases = list(score_phantom(KeptAnswers(perfect()), Phantom(VOLUME, TRUTHS), 5, ["clean", "swap .25"], agents))
    assert len(cases) == 2 * 3 * len(CONCEPTS)
    assert not any(one.score_fell for one in cases)
    organs = [one for one in cases if one.base == "clean" and one.concept in ("liver", "left kidney", "right kidney")]
    assert all(one.after == 1 for one in organs)


def test_spoiled_slices_are_given_to_the_model_and_the_truth_stays() -> None:
    model = perfect()
    phantom = Phantom(VOLUME, TRUTHS)
    cases = list(score_phantom(KeptAnswers(model), phantom, 5, ["clean", "spoiled slices .33"], ["rules"]))
    whole, changed = {one.content_hash: one for one in model.volumes}.values()
    slices = [not np.array_equal(a, b) for a, b in zip(whole.array, changed.array, strict=True)]
    # Those without organs have no organ's contrast to lose.
    assert len(slices) / 4 < sum(slices) <= round(len(slices) / 3)
    assert all(one.after == 1 for one in cases if one.concept == "liver")
