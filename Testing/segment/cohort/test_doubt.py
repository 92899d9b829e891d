"""Doubt sorts what a person should look at first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from MedSAM3SegmentLib.cohort.doubt import doubts_of
from MedSAM3SegmentLib.cohort.records import CaseRecord, ConceptRow


def row(concept: str = "liver", score: float = 0.95, volume: float = 1500.0, cut_off: bool = False) -> ConceptRow:
    found = score >= 0.5
    return ConceptRow(concept, found, score, 0.5, volume if found else 0.0, 1000 if found else 0, is_cut_off=cut_off)


def cases(*rows: ConceptRow) -> list[CaseRecord]:
    return [CaseRecord(f"case-{n}", "", (one,)) for n, one in enumerate(rows)]


def values(*rows: ConceptRow) -> list[float]:
    doubts = doubts_of(cases(*rows))
    return [doubts[f"case-{n}", "liver"].value for n in range(len(rows))]


def test_scores_near_the_threshold_are_doubted_on_both_sides() -> None:
    sure, near, just_not, absent = values(row(score=0.99), row(score=0.55), row(score=0.45), row(score=0.02))
    assert sure < 0.1 < near
    assert absent < 0.1 < just_not


def test_an_unusual_volume_is_doubted_among_others_only() -> None:
    usual = [row(volume=1400.0 + 40 * n) for n in range(6)]
    *others, unusual = values(*usual, row(volume=90.0))
    assert max(others) < 0.3
    assert unusual > 0.8
    assert values(row(volume=1500.0), row(volume=90.0))[1] < 0.3, "two say nothing of what is usual"
    reasons = doubts_of(cases(*usual, row(volume=90.0)))["case-6", ""].reasons
    assert any("of the median" in reason for reason in reasons)


def test_what_nearly_all_show_is_missed() -> None:
    *_, missed = values(*[row() for _ in range(9)], row(score=0.01))
    assert missed >= 0.6
    assert values(row(), row(score=0.01))[1] < 0.1


def test_cut_off_is_doubted_and_a_failure_most() -> None:
    assert values(row(cut_off=True))[0] >= 0.3
    assert doubts_of([CaseRecord("a", "", failure="No.")])["a", ""].value == 1.0


@given(
    st.lists(
        st.builds(
            row,
            st.sampled_from(["liver", "spleen"]),
            st.floats(0, 1),
            st.floats(0, 1e9),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_doubt_is_between_0_and_1_and_that_of_a_case_is_the_most_of_its_concepts(rows: list[ConceptRow]) -> None:
    doubts = doubts_of([CaseRecord("one", "", tuple(rows)), *cases(*rows)])
    assert all(0 <= doubt.value <= 1 for doubt in doubts.values())
    for number, one in enumerate(rows):
        assert doubts[f"case-{number}", ""].value == doubts[f"case-{number}", one.concept].value
