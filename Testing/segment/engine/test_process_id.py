"""Processes told apart: by number and start, also after the clock was set, and killed with what they started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from MedSAM3SegmentLib.engine.process.discovery import FOLDER_VARIABLE, announce_engine, find_running_engines
from MedSAM3SegmentLib.engine.process_id import ParentWatch, ProcessId
from MedSAM3SegmentLib.python_process import kill_children
from support.engine_server import wait_until

_ENDLESS = "import time; print('runs', flush=True); time.sleep(600)"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """A process that runs until the test ends."""
    process = subprocess.Popen([sys.executable, "-c", _ENDLESS], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "runs\n"
    yield process
    process.kill()
    process.communicate()


def test_a_process_lives_until_it_ends_even_if_nobody_looks(process: subprocess.Popen[str]) -> None:
    mark, later = ProcessId.of(process.pid), ProcessId.of(process.pid)
    assert mark.started
    assert mark.is_alive
    process.kill()
    wait_until(lambda: not mark.is_alive)  # on POSIX it is a zombie
    assert not later.is_alive
    process.wait()
    assert not mark.is_alive
    assert not ProcessId(process.pid).is_alive
    assert ProcessId.of(process.pid) == ProcessId(process.pid)


@pytest.mark.parametrize("number", [0, -1, 2**31, 2**64, 10**40])
def test_a_number_that_no_process_can_have_is_nobodys(number: int) -> None:
    assert ProcessId.of(number) == ProcessId(number)
    assert not ProcessId(number).is_alive
    ProcessId(number).kill()


def test_whoever_asks_is_told_the_same_start(process: subprocess.Popen[str]) -> None:
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}; from MedSAM3SegmentLib.engine.process_id import ProcessId; "
        f"print(ProcessId.of({process.pid}).started)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.strip() == ProcessId.of(process.pid).started


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the system itself keeps when it was")
def test_a_clock_that_is_set_makes_no_process_another(
    process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop wakes up, or a virtual machine goes on after days."""
    mark, created = ProcessId.of(process.pid), psutil.Process(process.pid).create_time()
    parents = ParentWatch(mark)
    assert not parents.are_gone
    booted = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: booted + 86_400.0)
    assert psutil.Process(process.pid).create_time() == pytest.approx(created + 86_400.0)

    assert ProcessId.of(process.pid) == mark
    assert ProcessId(mark.pid, mark.started).is_alive
    assert not parents.are_gone


def test_a_later_process_of_the_same_number_is_not_killed(process: subprocess.Popen[str]) -> None:
    mark = ProcessId.of(process.pid)
    earlier = ProcessId(mark.pid, "1")
    assert not earlier.is_alive
    earlier.kill()
    assert mark.is_alive
    mark.kill()
    wait_until(lambda: not mark.is_alive)
    mark.kill()


def test_what_a_process_started_is_killed_child_by_child() -> None:
    """As on Windows, where a process cannot be killed with its session."""
    launcher = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_ENDLESS!r}])"
    above = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {launcher!r}])"
    with subprocess.Popen([sys.executable, "-c", above], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        below = [ProcessId.of(child.pid) for child in psutil.Process(process.pid).children(recursive=True)]
        assert len(below) >= 2

        kill_children(process.pid)

        wait_until(lambda: not any(mark.is_alive for mark in below))
    kill_children(process.pid)  # there is nothing left, which is no error


# --- run files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "run"))
    (tmp_path / "run").mkdir(mode=0o700)
    return tmp_path / "run"


def _write(folder: Path, pid: int, started: str) -> Path:
    file = folder / "engine-0.json"
    file.write_text(json.dumps({"address": "http://127.0.0.1:1", "token": "t" * 32, "pid": pid, "started": started}))
    file.chmod(0o600)
    return file


def test_a_run_file_that_tells_no_start_is_read_as_before(folder: Path, process: subprocess.Popen[str]) -> None:
    """What was written on Windows and macOS before psutil told it there."""
    _write(folder, process.pid, "")
    assert [engine.pid for engine in find_running_engines()] == [process.pid]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux's /proc was read")
def test_a_run_file_with_the_start_from_proc_is_read_as_before(folder: Path, process: subprocess.Popen[str]) -> None:
    ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    _write(folder, process.pid, ticks)
    assert [engine.pid for engine in find_running_engines()] == [process.pid]
    file = _write(folder, process.pid, str(int(ticks) + 1))
    assert find_running_engines() == []
    assert not file.exists()


def test_before_psutil_is_installed_no_engine_is_known_and_no_run_file_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The panel asks for one while it says what is still to be installed."""
    with announce_engine("http://127.0.0.1:1", "t" * 32):
        monkeypatch.setitem(sys.modules, "psutil", None)
        assert find_running_engines() == []
        assert len(list(folder.iterdir())) == 1
        kill_children(os.getpid())
        monkeypatch.undo()
        monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
        assert [engine.pid for engine in find_running_engines()] == [os.getpid()]
