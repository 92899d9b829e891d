"""An engine after thousands of volumes, strangers, crashes and many clients: the next job is right to the voxel.

Each is tried with few in the usual tests and with as many as a busy year has in the slow ones, which print what they
measured.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.process.discovery import FOLDER_VARIABLE, RunningEngine, find_running_engines
from MedSAM3SegmentLib.engine.process.engine_process import EngineProcess
from MedSAM3SegmentLib.engine.process_id import ProcessId
from MedSAM3SegmentLib.errors import MedSAM3Error
from support.engine_commands import Commands
from support.engine_server import LIVER, volume_of, wait_until

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="memory and open files are read from Linux's /proc"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder and a temporary folder of the test's own."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "run"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def engine_process() -> Iterator[EngineProcess]:
    """An engine in a process of its own, whose segmenter finds what is above zero."""
    process = EngineProcess(start=Commands(), model="0")
    yield process
    process.stop()


def is_right(segment: Callable[..., object], seed: int, shape: tuple[int, int, int] = (3, 8, 10)) -> None:
    """Fail unless a job is right to the voxel."""
    volume = volume_of(seed, shape)
    result = segment(volume, LIVER)
    np.testing.assert_array_equal(result.concepts[0].mask, volume.array > 0)  # type: ignore[attr-defined]


class Measured:
    """What a process takes: descriptors and megabytes of memory."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)

    def __call__(self) -> tuple[int, float]:
        return self._process.num_fds(), self._process.memory_info().rss / 1e6


def running(process: EngineProcess) -> tuple[RunningEngine, Measured]:
    is_right(process.segment, 0)
    (engine,) = find_running_engines()
    return engine, Measured(engine.pid)


@pytest.mark.parametrize(
    ("count", "before"), [(300, 100), pytest.param(10_000, 1_500, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_small_volumes_in_a_row_take_no_descriptors_and_no_memory(
    engine_process: EngineProcess, count: int, before: int, folder: Path
) -> None:
    engine, measure = running(engine_process)
    client = EngineClient(engine.address, engine.token, model="0")
    started = time.monotonic()
    at_first = (0, 0.0)
    for seed in range(1, count + 1):
        is_right(client.segment, seed)
        if seed == before:
            at_first = measure()
    wait_until(lambda: measure()[0] <= at_first[0] + 4, 30)
    at_last = measure()
    print(f"\n{count} volumes in {time.monotonic() - started:.0f} s: {at_first} after {before}, {at_last} after all")
    # Those kept are counted: a thousand of them take a few megabytes.
    assert at_last[1] - at_first[1] < 30.0
    is_right(client.segment, count + 1, (12, 300, 300))
    assert [file.name for file in folder.glob("medsam3-volumes-*/*")] == ["proof"]


@pytest.mark.parametrize("count", [600, pytest.param(3_000, marks=pytest.mark.slow)])
def test_idle_strangers_lock_nobody_out(engine_process: EngineProcess, count: int) -> None:
    engine, measure = running(engine_process)
    host, port = engine.address.removeprefix("http://").split(":")
    client = EngineClient(engine.address, engine.token, model="0")
    before = measure()
    with ExitStack() as stack:
        for number in range(count):
            stack.enter_context(socket.create_connection((host, int(port)), 30))
            if number % 300 == 0:
                is_right(client.segment, number)
        # Those beyond the limit are closed a moment after they came.
        wait_until(lambda: measure()[0] < before[0] + 500, 30)
        among_them = measure()
        started = time.monotonic()
        is_right(client.segment, count)
        took = time.monotonic() - started
    wait_until(lambda: measure()[0] <= before[0] + 4, 60)
    print(f"\n{count} strangers: {before} before, {among_them} among them, {measure()} after; a job took {took:.2f} s")
    assert measure()[1] - before[1] < 30.0
    is_right(client.segment, count + 1)


@pytest.mark.parametrize("count", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_an_engine_that_is_killed_at_any_moment_is_followed_by_one_that_works(
    engine_process: EngineProcess, count: int, folder: Path
) -> None:
    rng = random.Random(count)
    seen = {"start": 0, "job": 0, "idle": 0}
    for number in range(count):
        job = engine_process.submit(volume_of(number, (40, 64, 64)), LIVER, model="0.01")
        if rng.random() < 0.7:
            wait_until(lambda: bool(find_running_engines()), 120)
        time.sleep(rng.random() * 0.8)
        living = find_running_engines()
        started = engine_process._started
        seen["idle" if job.ended else "job" if living else "start"] += 1
        for engine in living:
            ProcessId.of(engine.pid).kill()
        if not living and started is not None:
            started.process.kill()
        with suppress(MedSAM3Error):
            job.wait(120)
        assert job.ended
        is_right(engine_process.segment, number)
    (engine,) = find_running_engines()
    print(f"\n{count} kills: {seen}; {Measured(engine.pid)()} at the end")
    # The last one has removed what the others left, but for what was killed while it removed.
    wait_until(lambda: len(list(folder.glob("medsam3-volumes-*"))) == 1, 10)
    assert len(list((folder / "run").glob("engine-*.json"))) == 1


@pytest.mark.parametrize("jobs", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_twenty_clients_each_get_their_own_answers(engine_process: EngineProcess, jobs: int) -> None:
    engine, measure = running(engine_process)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        client = EngineClient(engine.address, engine.token, model="0")
        try:
            for turn in range(jobs):
                is_right(client.segment, 1000 * number + turn, (4 + number % 3, 8, 10))
        except BaseException as error:
            failures.append(error)

    def run_all() -> None:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(600)

    run_all()
    before, started = measure(), time.monotonic()
    run_all()
    assert not failures
    wait_until(lambda: measure()[0] <= before[0] + 4, 30)
    print(f"\n20 clients, {jobs} jobs each, in {time.monotonic() - started:.1f} s: {before} before, {measure()} after")
    assert measure()[1] - before[1] < 30.0
    is_right(engine_process.segment, 1)
