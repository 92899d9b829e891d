"""Who does which case, with workers that do and die as a script says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MedSAM3SegmentLib.cohort.case import Case
from MedSAM3SegmentLib.cohort.schedule_cases import PER_WORKER, Answered, Began, CaseScheduler, Event, Lost
from MedSAM3SegmentLib.errors import Cancelled, EngineError


def cases(count: int) -> list[Case]:
    return [Case(Path(f"{number}.nii"), Path("."), id=f"c{number}") for number in range(count)]


class ScriptedPool:
    """Workers that end one case each time they are waited for.

    Args:
        killers: ids of cases whose worker dies.
        die_at: numbers of events, counted from 0, at which a worker dies of something else.
        lost_starts: how many of the first workers die before they begin.

    Attributes:
        done: each answer, in order.
        deaths: ids of the cases that each worker had when it died of one.
        most_of_one, most: cases that any worker had at once, and that all of them had.
    """

    def __init__(self, killers: Sequence[str] = (), die_at: Sequence[int] = (), lost_starts: int = 0) -> None:
        self.killers, self.die_at, self.lost_starts = set(killers), set(die_at), lost_starts
        self.started = self.events = 0
        self.starting: list[int] = []
        self.alive: dict[int, list[Case]] = {}
        self.done: list[str] = []
        self.deaths: list[list[str]] = []
        self.most_of_one = self.most = 0
        self.stopped = False

    def start(self) -> int:
        self.started += 1
        self.starting.append(self.started)
        return self.started

    def submit(self, worker: int, case: Case) -> None:
        self.alive[worker].append(case)
        self.most_of_one = max(self.most_of_one, len(self.alive[worker]))
        self.most = max(self.most, sum(map(len, self.alive.values())))

    def wait(self, seconds: float) -> Sequence[Event[str]]:
        del seconds
        happened: list[Event[str]] = []
        for worker in self.starting:
            if self.lost_starts:
                self.lost_starts -= 1
                happened.append(Lost(worker))
            else:
                self.alive[worker] = []
                happened.append(Began(worker))
        self.starting = []
        for worker, given_ in list(self.alive.items()):
            if not given_:
                continue
            if self.stopped:
                happened += [Answered(worker, case, None) for case in given_]
                given_.clear()
                continue
            event, self.events = self.events, self.events + 1
            if event in self.die_at or given_[0].id in self.killers:
                self.deaths.append([case.id for case in given_])
                del self.alive[worker]
                happened.append(Lost(worker))
            else:
                case = given_.pop(0)
                self.done.append(case.id)
                happened.append(Answered(worker, case, case.id, 1.0))
        return happened

    def stop(self) -> None:
        self.stopped = True


def run(
    pool: ScriptedPool, count: int, workers: int, written: Sequence[str] = (), stop_after: int | None = None
) -> tuple[dict[str, str], list[str]]:
    said: list[str] = []
    scheduler = CaseScheduler(
        pool, workers, lambda case: "written" if case.id in written else None, lambda _: "lost twice", said.append
    )
    scheduler.begin(count)
    given_: list[tuple[str, str]] = []
    for case, done, _ in scheduler.run(cases(count), lambda: stop_after is not None and len(given_) >= stop_after):
        given_.append((case.id, done))
    assert len({name for name, _ in given_}) == len(given_), "no case is given twice"
    return dict(given_), said


def test_each_case_is_done_once_and_workers_have_few_at_once() -> None:
    pool = ScriptedPool()
    given_, said = run(pool, 20, 3)
    assert sorted(given_) == sorted(case.id for case in cases(20))
    assert sorted(pool.done) == sorted(given_)
    assert pool.most_of_one == PER_WORKER
    assert pool.most <= 3 * PER_WORKER
    assert pool.started == 3
    assert said == []


def test_no_more_workers_than_cases_are_asked_for() -> None:
    pool = ScriptedPool()
    run(pool, 2, 8)
    assert pool.started == 2


def test_what_a_lost_worker_had_is_done_by_another_once() -> None:
    pool = ScriptedPool(die_at=[3])
    given_, said = run(pool, 8, 2)
    assert set(given_.values()) == set(given_) == set(pool.done)
    assert pool.started == 3
    assert len(said) == 1


def test_a_case_that_kills_its_worker_twice_is_given_up_and_the_rest_is_done() -> None:
    pool = ScriptedPool(killers=["c1"])
    given_, _ = run(pool, 9, 2)
    assert given_.pop("c1") == "lost twice"
    assert sorted(given_) == sorted(pool.done)
    assert len(pool.deaths) == 2
    # The second time nothing else could have been the reason.
    assert pool.deaths[1] == ["c1"]


def test_a_case_that_shares_its_worker_with_a_killer_is_done() -> None:
    pool = ScriptedPool(killers=["c0", "c2", "c4"])
    given_, _ = run(pool, 6, 1)
    assert {name for name, done in given_.items() if done == "lost twice"} == {"c0", "c2", "c4"}
    assert sorted(pool.done) == ["c1", "c3", "c5"]


def test_all_cases_kill_and_it_ends() -> None:
    pool = ScriptedPool(killers=[case.id for case in cases(5)])
    given_, _ = run(pool, 5, 2)
    assert set(given_.values()) == {"lost twice"}


def test_what_was_written_before_its_worker_was_lost_is_not_done_again() -> None:
    pool = ScriptedPool(killers=["c1"])
    given_, _ = run(pool, 4, 1, written=["c1"])
    assert given_["c1"] == "written"
    assert pool.done.count("c1") == 0
    assert len(pool.deaths) == 1


def test_workers_that_never_begin_end_it_with_a_sentence() -> None:
    with pytest.raises(EngineError, match="3 times"):
        run(ScriptedPool(lost_starts=99), 5, 1)


def test_fewer_workers_than_wanted_do_all() -> None:
    pool = ScriptedPool(lost_starts=3)
    given_, _ = run(pool, 6, 4)
    assert len(given_) == 6


def test_a_stop_ends_what_is_at_work_and_gives_what_was_done() -> None:
    pool = ScriptedPool()
    with pytest.raises(Cancelled):
        run(pool, 20, 2, stop_after=4)
    assert pool.stopped
    assert 4 <= len(pool.done) < 8


@given(st.integers(1, 25), st.integers(1, 6), st.sets(st.integers(0, 24)), st.sets(st.integers(0, 40), max_size=3))
def test_whatever_dies_each_case_is_done_or_given_up_once(
    count: int, workers: int, killers: set[int], die_at: set[int]
) -> None:
    pool = ScriptedPool(killers=[f"c{number}" for number in killers], die_at=sorted(die_at))
    given_, _ = run(pool, count, workers)
    assert set(given_) == {case.id for case in cases(count)}
    assert max(Counter(pool.done).values(), default=0) <= 1, "none is done twice"
    given_up = {name for name, done in given_.items() if done == "lost twice"}
    assert set(given_) & pool.killers <= given_up
    # Those that kill nobody are given up only where workers died of something else, too.
    assert len(given_up - pool.killers) <= len(die_at)
    assert pool.most_of_one <= PER_WORKER
