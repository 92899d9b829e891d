"""Several clients of one service: turns, cancelling, clients that vanish, and two hundred jobs in a row."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from MedSAM3SegmentLib.engine.client import volume_upload
from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.client.http import HttpConnection
from MedSAM3SegmentLib.engine.client.job import RemoteJob
from MedSAM3SegmentLib.engine.protocol.events import Queued, WasCancelled
from MedSAM3SegmentLib.engine.server import event_stream, job_queue
from MedSAM3SegmentLib.engine.server.model_cache import LoadedModel
from MedSAM3SegmentLib.errors import Cancelled, EngineError, InputError
from MedSAM3SegmentLib.progress import RunCallbacks
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.result import SegmentResult
from support.engine_server import LIVER, TOKEN, Engine, volume_of, wait_until, works


def hold(engine: Engine) -> tuple[RemoteJob, Callable[[], None]]:
    """Keep the worker busy with a job, until the second value is called."""
    go = threading.Event()
    segment = engine.slow.segment

    def wait_first(*given, **named):
        engine.slow.segment = segment
        assert go.wait(120)
        return segment(*given, **named)

    engine.slow.segment = wait_first
    job = engine.client().submit(volume_of(), SegmentRequest(("first",)))
    wait_until(lambda: engine.client().status().running == 1)
    return job, go.set


def submit_in_order(engine: Engine, client: EngineClient, phrase: str) -> RemoteJob:
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


def test_the_service_keeps_no_result_and_no_masks_of_an_ended_job(engine: Engine) -> None:
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


def test_a_large_volume_is_waited_for_while_the_service_checks_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checking it is one answer without a sign of life, which took longer than any other answer may."""
    patience, ask = {}, requests.Session.request

    def note(session: requests.Session, method: str, url: str, **options: Any) -> requests.Response:
        patience[url.rpartition("/")[2]] = options["timeout"][1]
        return ask(session, method, url, **options)

    monkeypatch.setattr(requests.Session, "request", note)
    monkeypatch.setattr(volume_upload, "SLOWEST_DISK_BYTES_PER_S", 1e6)

    engine.client().segment(volume_of(shape=(1000, 100, 50)), LIVER)  # 10 MB

    assert patience["complete"] == patience["volumes"] + 10.0


def test_cancel_ends_the_running_job_before_the_next_slice_but_one(engine: Engine) -> None:
    engine.slow.free = 2
    job = engine.client().submit(volume_of(shape=(500, 4, 4)), LIVER)
    wait_until(engine.slow.held.is_set)
    engine.client()._connection.send("DELETE", f"/jobs/{job.id}")
    with pytest.raises(Cancelled):
        job.wait(20)
    is_idle(engine)
    assert engine.slow.slices == 3, "the one that was worked on is the last"
    assert isinstance(job.poll()[-1], WasCancelled)
    engine.slow.free = None
    works(engine)


def is_idle(engine: Engine) -> None:
    """Wait until nothing runs or waits."""
    wait_until(lambda: (engine.client().status().running, engine.client().status().queued) == (0, 0))


@pytest.mark.parametrize("free", [0, 1, 5])
def test_cancel_does_not_wait_for_the_slice_that_is_worked_on(engine: Engine, free: int) -> None:
    engine.slow.free = free
    job = engine.client().submit(volume_of(free, (200, 4, 4)), LIVER)
    wait_until(engine.slow.held.is_set)
    job.cancel()
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait(20)
    is_idle(engine)
    assert engine.slow.slices == free + 1


def test_cancel_does_not_wait_for_a_line_that_was_cut(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes over it any more, and nothing goes."""
    monkeypatch.setattr(event_stream, "_KEEP_ALIVE_S", 1000.0)
    engine.slow.free = 0
    job = engine.client().submit(volume_of(), LIVER)
    wait_until(engine.slow.held.is_set)

    def cut(*_: object, **__: object) -> None:
        raise EngineError("The engine does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(HttpConnection, "send", cut)
        job.cancel()
        with pytest.raises(Cancelled):
            job.wait(20)
    engine.client()._connection.send("DELETE", f"/jobs/{job.id}")
    engine.slow.free = None
    works(engine)


def test_cancel_does_not_wait_for_the_model_that_is_being_loaded(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading takes a minute where the model is large; it goes on, and the next job finds it loaded."""
    begun, go_on = threading.Event(), threading.Event()
    load = engine.shelf._load

    def held(*names: Any) -> LoadedModel:
        begun.set()
        assert go_on.wait(20)
        return load(*names)

    monkeypatch.setattr(engine.shelf, "_load", held)
    job = engine.client().submit(volume_of(), LIVER)
    assert begun.wait(20)
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait(20)
    assert not go_on.is_set()
    go_on.set()
    works(engine)
    assert engine.loaded == ["demo"]
    assert engine.slow.concepts == ["liver"], "the job that was cancelled never ran"


def test_cancel_may_come_before_the_service_knows_of_the_job(engine: Engine) -> None:
    engine.slow.free = 0
    for seed in range(5):
        job = engine.client().submit(volume_of(seed, (200, 4, 4)), LIVER)
        job.cancel()
        with pytest.raises(Cancelled):
            job.wait(20)
    is_idle(engine)
    assert engine.slow.slices <= 5


def test_a_client_that_vanishes_takes_its_jobs_with_it(engine: Engine) -> None:
    engine.slow.free = 1
    code = f"""
import sys, time
sys.path[:0] = {sys.path!r}
from support.engine_server import EngineClient, LIVER, volume_of
client = EngineClient({engine.address!r}, {TOKEN!r})
jobs = [client.submit(volume_of(n, (1000, 4, 4)), LIVER) for n in range(2)]
while not all(job.poll() for job in jobs): time.sleep(0.01)
print("running", flush=True)
time.sleep(60)
"""
    vanishing = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert vanishing.stdout is not None
    assert vanishing.stdout.readline() == "running\n"
    wait_until(engine.slow.held.is_set)
    vanishing.kill()
    vanishing.wait()
    is_idle(engine)
    assert engine.slow.slices <= 4, "two of each job at most, if the second one's turn came"
    engine.slow.free = None
    works(engine)


def run_jobs(engine: Engine, count: int) -> None:
    """Jobs one after the other, with four volumes in turn and with partial results."""
    client = engine.client()
    volumes = [volume_of(seed, (8, 64, 64)) for seed in range(4)]
    for number in range(count):
        client.segment(volumes[number % 4], LIVER, RunCallbacks(partial=lambda _: None))
    gc.collect()


def kept_jobs() -> int:
    return len([item for item in gc.get_objects() if type(item) is RemoteJob])


def test_two_hundred_jobs_in_a_row_leave_nothing_behind(engine: Engine) -> None:
    run_jobs(engine, 20)
    jobs, threads = kept_jobs(), threading.active_count()
    run_jobs(engine, 200)
    wait_until(lambda: kept_jobs() <= jobs)  # the last one's thread may just be ending
    wait_until(lambda: threading.active_count() <= threads + 2)
    status = engine.client().status()
    assert (status.running, status.queued, status.finished) == (0, 0, 220)
    assert status.caches[-1].items == 4
    assert status.caches[-1].bytes_held == 4 * volume_of(0, (8, 64, 64)).array.nbytes


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory and open files are read from Linux's /proc")
def test_two_hundred_jobs_in_a_row_take_no_memory_and_no_files(engine: Engine) -> None:
    run_jobs(engine, 20)
    memory, files = resident_bytes(), open_files()
    run_jobs(engine, 200)
    wait_until(lambda: open_files() <= files + 4)
    # One job's result alone is 100 kB and its volume 64 kB: 200 of them kept would be 30 MB.
    assert resident_bytes() - memory < 15e6


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
