"""What somebody who waits is told: one progress that only rises, and a time left that can be believed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from MedSAM3SegmentLib import watching
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.request import Progress, Stage
from MedSAM3SegmentLib.watching import StageWatch, Watch

#: Seconds a slice takes whose features are kept, and one that must be encoded.
QUICK, SLOW = 0.01, 1.0


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Callable[[StageWatch, int, float], None]:
    """Does slices of so many seconds each, by a clock of the test's own."""
    now = [0.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: now[0])

    def work(stage: StageWatch, slices: int, seconds: float) -> None:
        for _ in range(slices):
            now[0] += seconds
            stage.advance()

    return work


Work = Callable[[StageWatch, int, float], None]


def test_parts_of_one_stage_count_on_where_the_last_one_ended(work: Work) -> None:
    reports: list[Progress] = []
    watch = Watch(reports.append).over(Stage.SEGMENTING, 30)
    for slices in (10, 20):
        part = watch.begin(Stage.SEGMENTING, slices)
        work(part, slices - 3, SLOW)
        part.finish()
    assert {report.total for report in reports} == {30}
    done = [report.done for report in reports]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 30)
    assert reports[-1].seconds_left == 0


def test_another_stage_counts_for_itself(work: Work) -> None:
    reports: list[Progress] = []
    watch = Watch(reports.append).over(Stage.SEGMENTING, 30)
    work(watch.begin(Stage.PROPAGATING, 4), 4, SLOW)
    assert [(report.stage, report.done, report.total) for report in reports[1:]] == [
        (Stage.PROPAGATING, done, 4) for done in range(5)
    ]


def test_the_time_left_follows_the_pace_when_kept_slices_are_followed_by_new_ones(work: Work) -> None:
    reports: list[Progress] = []
    watch = Watch(reports.append).over(Stage.SEGMENTING, 300)
    work(watch.begin(Stage.SEGMENTING, 200), 200, QUICK)
    assert reports[-1].seconds_left == pytest.approx(100 * QUICK)
    work(watch.begin(Stage.SEGMENTING, 100), 40, SLOW)
    assert reports[-1].seconds_left == pytest.approx(60 * SLOW)


def test_what_need_not_be_done_is_no_quick_work(work: Work) -> None:
    reports: list[Progress] = []
    watch = Watch(reports.append).over(Stage.SEGMENTING, 100)
    work(watch.begin(Stage.SEGMENTING, 50), 50, SLOW)
    watch.skip(40)
    assert reports[-1].done == 90
    assert reports[-1].seconds_left == pytest.approx(10 * SLOW)
    watch.skip(0)
    work(watch.begin(Stage.SEGMENTING, 10), 10, SLOW)
    assert (reports[-1].done, reports[-1].seconds_left) == (100, 0)


def test_a_run_that_is_ended_says_how_far_all_of_it_was() -> None:
    watch = Watch(cancel=lambda: True).over(Stage.SEGMENTING, 30)
    watch.begin(Stage.SEGMENTING, 10).advance(10)
    with pytest.raises(Cancelled, match="after 10 of 30 slices"):
        watch.begin(Stage.SEGMENTING, 20).check()
