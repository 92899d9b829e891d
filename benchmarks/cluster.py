"""How long a cohort takes on a cluster, and what limits it: a simulation with the program's own scheduler.

    python benchmarks/cluster.py
    python benchmarks/cluster.py --cases 2000 --workers 16 --slice-seconds 0.3 --price 1.2

Nothing is segmented: a clock runs in place of the work. Cases, reading, GPUs and disk are assumptions, which
``docs/cluster.md`` names with their sources; give your own.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from MedSAM3SegmentLib.cohort import schedule_cases
from MedSAM3SegmentLib.cohort.case import Case
from MedSAM3SegmentLib.cohort.schedule_cases import Answered, Began, CaseScheduler, Event, Lost


@dataclass(frozen=True)
class Assumptions:
    """What a cluster is like.

    Attributes:
        slices: median of a CT; they are spread by a factor of 1.5 (one standard deviation of the logarithm).
        slice_seconds: of a GPU for a slice with its phrases.
        read_seconds, write_seconds: of a core, for 300 slices.
        slice_bytes: on the disk.
        disk: bytes a second that the shared disk gives all workers together.
        start_seconds, model_bytes: of a worker before its first case.
        lost_after_hours: how long a worker lives on average.
        killers: cases that kill their worker.
        ahead: cases that a worker has at once.
        price: of a GPU hour.
    """

    cases: int = 10_000
    workers: int = 100
    slices: float = 300.0
    slice_seconds: float = 0.1
    read_seconds: float = 4.0
    write_seconds: float = 3.0
    slice_bytes: float = 524_288.0
    disk: float = 2e9
    start_seconds: float = 60.0
    model_bytes: float = 3.4e9
    lost_after_hours: float = 1000.0
    killers: int = 3
    ahead: int = 2
    price: float = 2.0


class SimulatedPool:
    """Workers whose work takes time on a clock of its own.

    Attributes:
        now: seconds since the beginning.
        busy: seconds that GPUs computed what was used.
        started: workers in all.
    """

    def __init__(self, assumptions: Assumptions, seed: int = 1) -> None:
        self._is, self._random = assumptions, random.Random(seed)
        self._slices = [assumptions.slices * self._random.lognormvariate(0, 0.405) for _ in range(assumptions.cases)]
        self._killers = set(self._random.sample(range(assumptions.cases), min(assumptions.killers, assumptions.cases)))
        self._events: list[tuple[float, int, Event[float]]] = []
        self._count = 0
        self._gpu_free: dict[int, float] = {}
        self._gone: set[int] = set()
        self._disk_free = 0.0
        self.now = self.busy = 0.0
        self.started = 0

    def start(self) -> int:
        self.started += 1
        begins = max(self.now + self._is.start_seconds, self._read(self._is.model_bytes))
        self._gpu_free[self.started] = begins
        self._add(begins, Began(self.started))
        self._add(begins + self._random.expovariate(1 / (3600 * self._is.lost_after_hours)), Lost(self.started))
        return self.started

    def submit(self, worker: int, case: Case) -> None:
        number = int(case.id)
        slices = self._slices[number]
        share = slices / 300
        read = max(self.now + self._is.read_seconds * share, self._read(slices * self._is.slice_bytes))
        computed = slices * self._is.slice_seconds
        segmented = max(read, self._gpu_free[worker]) + computed
        self._gpu_free[worker] = segmented
        if number in self._killers:
            self._add(segmented, Lost(worker))
        else:
            self._add(segmented + self._is.write_seconds * share, Answered(worker, case, computed, computed))

    def wait(self, seconds: float) -> Sequence[Event[float]]:
        del seconds
        while True:
            self.now, _, event = heapq.heappop(self._events)
            if event.worker in self._gone:
                continue
            if isinstance(event, Lost):
                self._gone.add(event.worker)
            elif isinstance(event, Answered):
                self.busy += event.seconds
            return [event]

    def stop(self) -> None:
        """Nobody stops a simulation."""

    def _read(self, size: float) -> float:
        """When the disk, which serves one after another, has given so much."""
        self._disk_free = max(self.now, self._disk_free) + size / self._is.disk
        return self._disk_free

    def _add(self, when: float, event: Event[float]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, event))


@dataclass(frozen=True)
class Outcome:
    """What came out.

    Attributes:
        hours: from the first to the last.
        used: share of the GPUs' time in which they computed what was used.
        replaced: workers that were lost while there was something left for another.
        given_up: cases whose worker was lost twice.
        cost: of all GPUs until the last case is done.
    """

    hours: float
    used: float
    replaced: int
    given_up: int
    cost: float


def simulate(assumptions: Assumptions) -> Outcome:
    """Run a cohort through the scheduler on a simulated cluster."""
    schedule_cases.PER_WORKER = assumptions.ahead
    pool = SimulatedPool(assumptions)
    scheduler: CaseScheduler[float] = CaseScheduler(pool, assumptions.workers, lambda _: None, lambda _: -1.0)
    scheduler.begin(assumptions.cases)
    cases = [Case(Path("."), Path("."), id=str(number)) for number in range(assumptions.cases)]
    done = [seconds for _, seconds, _ in scheduler.run(cases, lambda: False)]
    if len(done) != assumptions.cases:
        raise SystemExit(f"{len(done)} of {assumptions.cases} cases came out; the scheduler is broken.")
    gpu_seconds = pool.now * assumptions.workers
    return Outcome(
        pool.now / 3600,
        pool.busy / gpu_seconds,
        pool.started - min(assumptions.workers, assumptions.cases),
        sum(seconds < 0 for seconds in done),
        gpu_seconds / 3600 * assumptions.price,
    )


def main() -> None:
    """Print a table of what happens where one assumption is another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = Assumptions()
    for name, value in vars(defaults).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    base = Assumptions(**vars(parser.parse_args()))
    rows = {
        "as assumed": base,
        "half the GPUs": replace(base, workers=max(1, base.workers // 2)),
        "twice the GPUs": replace(base, workers=base.workers * 2),
        "GPUs three times as fast": replace(base, slice_seconds=base.slice_seconds / 3),
        "GPUs three times as slow": replace(base, slice_seconds=base.slice_seconds * 3),
        "disk of a tenth": replace(base, disk=base.disk / 10),
        "one case at a time for each worker": replace(base, ahead=1),
        "workers live 5 hours (spot)": replace(base, lost_after_hours=5.0),
        "workers live 1 hour": replace(base, lost_after_hours=1.0),
        "1 % of the cases kill their worker": replace(base, killers=base.cases // 100),
    }
    print("| | hours | GPUs computing | workers replaced | cases given up | cost |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, assumptions in rows.items():
        out = simulate(assumptions)
        print(f"| {name} | {out.hours:.2f} | {out.used:.0%} | {out.replaced} | {out.given_up} | {out.cost:.0f} |")


if __name__ == "__main__":
    main()
