"""Several clients of one service: turns, cancelling, clients that vanish, and two hundred jobs in a row."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from engine_on_socket import LIVER, TOKEN, Engine, volume_of, wait_until, works
from MedSAM3SegmentLib.engine import job_queue
from MedSAM3SegmentLib.engine.client import EngineClient
from MedSAM3SegmentLib.engine.events import Queued, WasCancelled
from MedSAM3SegmentLib.engine.job import EngineJob
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.result import SegmentResult


def hold(engine: Engine) -> tuple[EngineJob, Callable[[], None]]:
    """Keep the worker busy with a job, until the second value is called."""
    go = threading.Event()
    segment = engine.slow.segment

    def wait_first(*given, **named):
        engine.slow.segment = segment
        go.wait(20)
        return segment(*given, **named)

    engine.slow.segment = wait_first
    job = engine.client().submit(volume_of(), SegmentRequest(("first",)))
    wait_until(lambda: engine.client().status().running == 1)
    return job, go.set


def submit_in_order(engine: Engine, client: EngineClient, phrase: str) -> EngineJob:
    waiting = client.status().queued
    job = client.submit(volume_of(), SegmentRequest((phrase,)))
    wait_until(lambda: engine.client().status().queued == waiting + 1)
    return job


def test_clients_take_turns(engine: Engine) -> None:
    first, go_on = hold(engine)
    one, two = engine.client(), engine.client()
    jobs = [submit_in_order(engine, one, f"one {n}") for n in range(4)]
    jobs += [submit_in_order(engine, two, f"two {n}") for n in range(2)]
    go_on()
    for job in (first, *jobs):
        job.wait(20)

    assert engine.slow.concepts == ["first", "one 0", "two 0", "one 1", "two 1", "one 2", "one 3"]
    positions = [event.position for event in jobs[-1].poll() if isinstance(event, Queued)]
    # Behind the running job and three others; a step nearer each time, and last when nothing runs.
    assert positions == sorted(positions, reverse=True)
    assert (positions[0], positions[-1]) == (4, 0)


def test_a_waiting_job_can_be_cancelled(engine: Engine) -> None:
    first, go_on = hold(engine)
    job = submit_in_order(engine, engine.client(), "second")
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait(20)
    go_on()
    first.wait(20)
    assert engine.slow.concepts == ["first"]


def test_the_service_keeps_neither_result_nor_masks_of_a_job_that_has_ended(engine: Engine) -> None:
    results: list[weakref.ref[SegmentResult]] = []
    segment = engine.slow.segment

    def remember(*given: object, **named: object) -> SegmentResult:
        result = segment(*given, **named)
        results.append(weakref.ref(result))
        return result

    engine.slow.segment = remember
    engine.client().segment(volume_of(), LIVER)
    wait_until(lambda: gc.collect() >= 0 and results[0]() is None)


def test_one_client_cannot_fill_the_queue(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_queue, "MOST_OF_ONE_CLIENT", 2)
    first, go_on = hold(engine)
    one, two = engine.client(), engine.client()
    jobs = [submit_in_order(engine, one, f"one {n}") for n in range(2)]
    with pytest.raises(InputError, match="2 of your jobs wait"):
        one.segment(volume_of(), LIVER)
    jobs.append(submit_in_order(engine, two, "two"))
    go_on()
    for job in (first, *jobs):
        job.wait(20)


def test_cancel_ends_the_running_job_before_the_next_slice_but_one(engine: Engine) -> None:
    engine.slow.seconds = 0.2
    job = engine.client().submit(volume_of(shape=(500, 4, 4)), LIVER)
    wait_until(lambda: engine.slow.slices >= 2)
    at = engine.slow.slices
    engine.client()._connection.send("DELETE", f"/jobs/{job.id}")
    # The answer is back: what runs now is the last slice.
    with pytest.raises(Cancelled):
        job.wait(20)
    assert engine.slow.slices <= at + 2
    assert isinstance(job.poll()[-1], WasCancelled)
    engine.slow.seconds = 0.0
    works(engine)


def test_cancel_does_not_block_and_may_come_at_any_time(engine: Engine) -> None:
    engine.slow.seconds = 0.02
    for delay in (0.0, 0.01, 0.03, 0.06, 0.12):
        job = engine.client().submit(volume_of(int(delay * 1000), (200, 4, 4)), LIVER)
        time.sleep(delay)
        job.cancel()
        job.cancel()
        with pytest.raises(Cancelled):
            job.wait(20)
    wait_until(lambda: (engine.client().status().running, engine.client().status().queued) == (0, 0))
    assert engine.slow.slices < 100


def test_a_client_that_vanishes_takes_its_jobs_with_it(engine: Engine) -> None:
    engine.slow.seconds = 0.1
    code = f"""
import sys, time
sys.path[:0] = {sys.path!r}
from engine_on_socket import EngineClient, LIVER, volume_of
client = EngineClient({engine.address!r}, {TOKEN!r})
jobs = [client.submit(volume_of(n, (1000, 4, 4)), LIVER) for n in range(2)]
while not all(job.poll() for job in jobs): time.sleep(0.01)
print("running", flush=True)
time.sleep(60)
"""
    vanishing = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert vanishing.stdout is not None
    assert vanishing.stdout.readline() == "running\n"
    wait_until(lambda: engine.slow.slices > 0)
    vanishing.kill()
    vanishing.wait()
    wait_until(lambda: (engine.client().status().running, engine.client().status().queued) == (0, 0))
    assert engine.slow.slices < 500
    engine.slow.seconds = 0.0
    works(engine)


def test_two_hundred_jobs_in_a_row_leave_nothing_behind(engine: Engine) -> None:
    client = engine.client()
    volumes = [volume_of(seed, (8, 64, 64)) for seed in range(4)]

    def run(count: int) -> tuple[int, int, int]:
        for number in range(count):
            client.segment(volumes[number % 4], LIVER, partial=lambda _: None)
        gc.collect()
        kept = [item for item in gc.get_objects() if type(item) is EngineJob]
        return (
            len(kept),
            threading.active_count(),
            len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0,
        )

    run(20)
    memory = resident_bytes()
    jobs, threads, files = run(0)
    assert run(200)[0] <= jobs
    wait_until(lambda: threading.active_count() <= threads + 2)
    wait_until(lambda: run(0)[2] <= files + 4)
    status = client.status()
    assert (status.running, status.queued, status.finished) == (0, 0, 220)
    assert status.caches[-1].items == 4
    assert status.caches[-1].bytes_held == sum(volume.array.nbytes for volume in volumes)
    # One job's result alone is 100 kB and its volume 64 kB: 200 of them kept would be 30 MB.
    assert resident_bytes() - memory < 15e6


def resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
