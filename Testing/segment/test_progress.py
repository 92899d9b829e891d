"""What somebody who waits is told: one progress that only rises, and a time left that can be believed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import pytest

from MedSAM3SegmentLib import progress
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.progress import (
    Progress,
    RunCallbacks,
    RunReporter,
    Stage,
    StageProgress,
)
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.phantom import make_phantom

#: Seconds a slice takes whose features are kept, and one that must be encoded.
QUICK, SLOW = 0.01, 1.0


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Callable[[StageProgress, int, float], None]:
    """Does slices of so many seconds each, by a clock of the test's own."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def work(stage: StageProgress, slices: int, seconds: float) -> None:
        for _ in range(slices):
            now[0] += seconds
            stage.advance()

    return work


Work = Callable[[StageProgress, int, float], None]


def test_parts_of_one_stage_count_on_where_the_last_one_ended(work: Work) -> None:
    reports: list[Progress] = []
    reporter = RunReporter(RunCallbacks(reports.append)).counting(Stage.SEGMENTING, 30)
    for slices in (10, 20):
        part = reporter.begin(Stage.SEGMENTING, slices)
        work(part, slices - 3, SLOW)
        part.finish()
    assert {report.total for report in reports} == {30}
    done = [report.done for report in reports]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 30)
    assert reports[-1].seconds_left == 0


def test_detection_and_tracking_share_one_count_and_assembly_has_its_own(work: Work) -> None:
    reports: list[Progress] = []
    reporter = RunReporter(RunCallbacks(reports.append)).counting(Stage.SEGMENTING, 3 + 20)
    work(reporter.begin(Stage.SEGMENTING, 3), 3, QUICK)
    with reporter.reserved(20):
        reporter.expect(4 + 3)
        work(reporter.begin(Stage.PROPAGATING, 4), 4, SLOW)
        assert reports[-1].seconds_left == pytest.approx(3 * SLOW)
        work(reporter.begin(Stage.PROPAGATING, 2), 1, SLOW)
    with reporter.reserved(0):
        pass
    reporter.begin(Stage.ASSEMBLING, 1).advance()

    assert [(report.stage, report.done, report.total) for report in reports] == [
        *((Stage.SEGMENTING, done, 23) for done in range(4)),
        (Stage.SEGMENTING, 3, 10),
        *((Stage.PROPAGATING, done, 10) for done in range(4, 9)),
        (Stage.PROPAGATING, 8, 9),
        *((Stage.ASSEMBLING, done, 1) for done in range(2)),
    ]


def test_more_slices_to_track_than_planned_raise_the_total(work: Work) -> None:
    reports: list[Progress] = []
    reporter = RunReporter(RunCallbacks(reports.append)).counting(Stage.SEGMENTING, 10)
    work(reporter.begin(Stage.SEGMENTING, 10), 10, SLOW)
    with reporter.reserved(0):
        reporter.begin(Stage.PROPAGATING, 2).finish()
    assert (reports[-1].done, reports[-1].total) == (12, 12)


def test_the_time_left_follows_the_pace_when_new_slices_follow_kept_ones(work: Work) -> None:
    reports: list[Progress] = []
    reporter = RunReporter(RunCallbacks(reports.append)).counting(Stage.SEGMENTING, 300)
    work(reporter.begin(Stage.SEGMENTING, 200), 200, QUICK)
    assert reports[-1].seconds_left == pytest.approx(100 * QUICK)
    work(reporter.begin(Stage.SEGMENTING, 100), 40, SLOW)
    assert reports[-1].seconds_left == pytest.approx(60 * SLOW)


def test_what_was_reserved_and_not_needed_is_left_out(work: Work) -> None:
    reports: list[Progress] = []
    reporter = RunReporter(RunCallbacks(reports.append)).counting(Stage.SEGMENTING, 100)
    with reporter.reserved(90):
        work(reporter.begin(Stage.SEGMENTING, 50), 50, SLOW)
    work(reporter.begin(Stage.SEGMENTING, 10), 1, SLOW)
    assert (reports[-1].done, reports[-1].total) == (51, 60)
    assert reports[-1].seconds_left == pytest.approx(9 * SLOW)


def test_what_need_not_be_done_is_no_quick_work(work: Work) -> None:
    reports: list[Progress] = []
    reporter = RunReporter(RunCallbacks(reports.append)).counting(Stage.SEGMENTING, 100)
    part = reporter.begin(Stage.SEGMENTING, 90)
    work(part, 50, SLOW)
    part.finish()
    assert reports[-1].done == 90
    assert reports[-1].seconds_left == pytest.approx(10 * SLOW)
    part.finish()
    work(reporter.begin(Stage.SEGMENTING, 10), 10, SLOW)
    assert (reports[-1].done, reports[-1].seconds_left) == (100, 0)


def test_a_run_that_is_ended_says_how_far_all_of_it_was() -> None:
    reporter = RunReporter(RunCallbacks(cancel=lambda: True)).counting(Stage.SEGMENTING, 30)
    reporter.begin(Stage.SEGMENTING, 10).advance(10)
    with pytest.raises(Cancelled, match="after 10 of 30 slices"):
        reporter.begin(Stage.SEGMENTING, 20).check()


@pytest.mark.parametrize("inside", [None, "liver"])
def test_a_run_that_tracks_objects_has_one_rising_progress_over_all_slices(inside: str | None) -> None:
    """Through two windows, and with what must lie in another concept, which is looked for and followed after it."""
    reports: list[Progress] = []
    request = SegmentRequest(("liver", "tumor", "spine"), mode=Mode.PROPAGATE, slices=(24, 34), inside=inside)
    Segmenter.load("demo", "cpu").segment(make_phantom(24).volume, request, RunCallbacks(reports.append))

    stages = [stage for stage, _ in groupby(report.stage for report in reports)]
    times = 1 if inside is None else 2
    assert stages == [*[Stage.SEGMENTING, Stage.PROPAGATING] * times, Stage.ASSEMBLING]
    shares = [report.done / report.total for report in reports if report.stage is not Stage.ASSEMBLING]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
