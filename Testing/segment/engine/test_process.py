"""The engine as a process: started, found again, killed in mid-job, restarted, and gone when nobody needs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from MedSAM3SegmentLib import __version__
from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.client.job import RemoteJob
from MedSAM3SegmentLib.engine.process.discovery import (
    FOLDER_VARIABLE,
    announce_engine,
    find_running_engines,
    run_folder,
)
from MedSAM3SegmentLib.engine.process.engine_process import TOKEN_VARIABLE, EngineProcess
from MedSAM3SegmentLib.engine.process.start_lock import one_at_a_time
from MedSAM3SegmentLib.engine.process.start_process import StartedProcess, start_process
from MedSAM3SegmentLib.engine.process_id import ParentWatch, ProcessId
from MedSAM3SegmentLib.engine.protocol.events import Advanced, Failed, PartialArrived
from MedSAM3SegmentLib.errors import (
    Cancelled,
    EngineError,
    InputError,
    MedSAM3Error,
)
from MedSAM3SegmentLib.request import SegmentRequest
from support.engine_commands import Commands
from support.engine_server import LIVER, volume_of, wait_until
from support.slow_segmenter import SECRET, SLOW_COMMAND
from support.tiny_model import TINY_SCORE


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder of the test's own."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "run"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / "run"


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture
def engine_process(commands: Commands) -> Iterator[EngineProcess]:
    process = EngineProcess(start=commands, model="0")
    yield process
    process.stop()
    assert find_running_engines() == []


def answers(process: EngineProcess) -> None:
    """Fail unless the next job works, voxel by voxel."""
    volume = volume_of(7)
    result = process.segment(volume, LIVER)
    np.testing.assert_array_equal(result.concepts[0].mask, volume.array > 0)


def pid_of(process: EngineProcess) -> int:
    status = process.status()
    assert status is not None
    return status.pid


def test_it_is_started_when_needed_and_found_again(engine_process: EngineProcess, commands: Commands) -> None:
    assert engine_process.status() is None
    answers(engine_process)
    pid = pid_of(engine_process)
    assert pid != os.getpid()
    again = EngineProcess(start=commands, model="0")
    answers(again)
    assert pid_of(again) == pid
    assert len(commands.commands) == 1


def test_submitting_returns_before_the_process_has_started(engine_process: EngineProcess) -> None:
    job = engine_process.submit(volume_of(), LIVER, model="0")
    assert not job.ended
    assert job.poll() == []
    assert job.wait(60).concepts[0].found


def test_jobs_that_are_submitted_together_start_one_process(engine_process: EngineProcess, commands: Commands) -> None:
    jobs = [engine_process.submit(volume_of(seed), LIVER, model="0") for seed in range(4)]
    for job in jobs:
        job.wait(60)
    assert len(commands.commands) == 1


def test_killed_in_mid_job_the_job_fails_and_the_next_one_works(
    engine_process: EngineProcess, commands: Commands
) -> None:
    answers(engine_process)
    pid = pid_of(engine_process)
    job = engine_process.submit(volume_of(shape=(2000, 4, 4)), LIVER, model="0.02")
    seen: list[object] = []
    wait_until(lambda: bool(seen.extend(job.poll())) or any(isinstance(event, PartialArrived) for event in seen))
    ProcessId.of(pid).kill()

    with pytest.raises(EngineError) as failure:
        job.wait(20)
    assert str(failure.value).endswith(".")
    assert isinstance(job.poll()[-1], Failed)
    answers(engine_process)
    assert pid_of(engine_process) != pid
    assert len(commands.commands) == 2


def test_cancel_reaches_the_process(engine_process: EngineProcess) -> None:
    job = engine_process.submit(volume_of(shape=(2000, 4, 4)), LIVER, model="0.02")
    wait_until(lambda: any(isinstance(event, Advanced) for event in job.poll()), 60)
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait(20)
    answers(engine_process)


def test_the_token_is_in_no_command_line_and_no_log_and_no_patient_is(
    engine_process: EngineProcess, commands: Commands
) -> None:
    answers(engine_process)
    secrets = ["Jane-Q-Example", "phrase-of-a-patient"]
    with pytest.raises(MedSAM3Error):
        engine_process.segment(volume_of(), SegmentRequest(("defect", secrets[1])))
    volume = volume_of(3)
    object.__setattr__(volume, "name", secrets[0])
    engine_process.segment(volume, SegmentRequest((secrets[1],)))
    token = commands.environments[0][TOKEN_VARIABLE]
    assert len(token) >= 32
    assert not any(token in word for word in commands.commands[0])
    log = engine_process.log_path.read_text()
    assert "Done after" in log
    for word in (token, SECRET, *secrets):
        assert word not in log
    if Path("/proc").is_dir():
        children = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=False).stdout
        assert token not in children


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps others out of the home folder in another way")
def test_run_files_are_for_their_user_only(engine_process: EngineProcess, folder: Path) -> None:
    answers(engine_process)
    assert folder.stat().st_mode & 0o077 == 0
    files = list(folder.iterdir())
    assert len(files) == 3  # the run file, the log and the lock
    for file in files:
        assert file.stat().st_mode & 0o077 == 0, file


def test_run_files_of_dead_engines_are_removed_and_of_other_users_ignored(
    engine_process: EngineProcess, folder: Path
) -> None:
    folder.mkdir(mode=0o700)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = {"address": "http://127.0.0.1:9", "token": "x" * 32, "pid": ended.pid, "started": ""}
    (folder / "engine-dead.json").write_text(json.dumps(dead))
    (folder / "engine-dead.json").chmod(0o600)
    (folder / "engine-damaged.json").write_text("{")
    readable = {**dead, "pid": os.getpid()}
    (folder / "engine-readable.json").write_text(json.dumps(readable))
    (folder / "engine-readable.json").chmod(0o644)
    assert find_running_engines() == []
    assert not (folder / "engine-dead.json").exists()
    answers(engine_process)


def test_a_program_at_the_port_of_a_dead_engine_is_not_told_the_token(
    engine_process: EngineProcess, folder: Path
) -> None:
    """The process number and the port were both given to somebody else."""
    heard: list[bytes] = []
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            while True:
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                with line:
                    heard.append(line.recv(10_000))
                    line.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{"proof":"0","protocol": 1}')

        threading.Thread(target=listen, daemon=True).start()
        with announce_engine(f"http://127.0.0.1:{listener.getsockname()[1]}", "token-of-the-dead-engine-00000000"):
            answers(engine_process)
    assert heard
    assert not any(b"token-of-the-dead" in words for words in heard)
    assert run_folder() == folder


def test_a_job_can_be_cancelled_while_the_process_starts(engine_process: EngineProcess) -> None:
    job = engine_process.submit(volume_of(), LIVER, model="0")
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait(20)
    answers(engine_process)


def test_stop_ends_the_process_in_mid_job(engine_process: EngineProcess, tmp_path: Path) -> None:
    job = engine_process.submit(volume_of(shape=(2000, 4, 4)), LIVER, model="0.02")
    wait_until(lambda: any(isinstance(event, Advanced) for event in job.poll()), 60)
    process = ProcessId.of(pid_of(engine_process))
    engine_process.stop()
    assert not process.is_alive
    assert engine_process.status() is None
    with pytest.raises((Cancelled, EngineError)):
        job.wait(20)
    assert not list(tmp_path.glob("medsam3-volumes-*"))


_USER = """
import os, sys, time
sys.path[:0] = {path!r}
from MedSAM3SegmentLib.engine.process.engine_process import EngineProcess
from support.engine_commands import Commands
from support.engine_server import LIVER, volume_of
process = EngineProcess(start=Commands(), model="0")
process.segment(volume_of(), LIVER)
print(process.status().pid, flush=True)
time.sleep(60)
"""


def another_user() -> tuple[subprocess.Popen[str], ProcessId]:
    """Another Slicer with an engine, which it starts or finds."""
    user = subprocess.Popen([sys.executable, "-c", _USER.format(path=sys.path)], stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    return user, ProcessId.of(int(user.stdout.readline()))


def test_it_ends_when_its_parent_is_killed() -> None:
    user, process = another_user()
    assert process.is_alive
    user.kill()
    user.wait()
    wait_until(lambda: not process.is_alive)
    assert find_running_engines() == []


def test_two_users_share_one_which_ends_with_the_last(engine_process: EngineProcess) -> None:
    answers(engine_process)
    user, process = another_user()
    assert process.pid == pid_of(engine_process)
    engine_process.stop()  # which waits for the end of a process that ends
    assert process.is_alive
    (engine,) = find_running_engines()
    assert EngineClient(engine.address, engine.token, model="0").segment(volume_of(), LIVER).concepts[0].found
    user.kill()
    user.wait()
    wait_until(lambda: not process.is_alive)


def test_two_users_that_need_one_at_the_same_moment_start_one(commands: Commands) -> None:
    """Two windows of Slicer; a second engine would load the model a second time."""
    users = [EngineProcess(start=commands, model="0") for _ in range(2)]
    try:
        jobs = [user.submit(volume_of(), LIVER, model="0") for user in users]
        for job in jobs:
            job.wait(60)
        assert len(commands.commands) == 1
        assert pid_of(users[0]) == pid_of(users[1])
    finally:
        for user in users:
            user.stop()


def test_who_waits_for_the_start_of_another_can_be_stopped(folder: Path, commands: Commands) -> None:
    waiting = EngineProcess(start=commands)
    folder.mkdir(mode=0o700)
    with one_at_a_time(folder / "starting", lambda: False):
        job = waiting.submit(volume_of(), LIVER)
        wait_until(lambda: waiting._start_lock.locked())
        waiting.stop()
        with pytest.raises(EngineError, match="was stopped"):
            job.wait(20)
    assert commands.commands == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_one_that_a_person_started_is_used_and_left_alone(folder: Path) -> None:
    del folder
    started = subprocess.Popen(
        [sys.executable, *SLOW_COMMAND, "serve"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    address = started.stdout.readline().split()[-1]
    token = started.stdout.readline().split()[-1]
    try:
        process = EngineProcess(start=Commands(), model="0")
        answers(process)
        assert pid_of(process) == started.pid
        process.stop()
        assert EngineClient(address, token).status().finished == 1
    finally:
        started.send_signal(signal.SIGINT)
        _, log = started.communicate(timeout=120)
    assert started.returncode == 0
    assert token not in log
    assert "Traceback" not in log
    assert find_running_engines() == []


@pytest.mark.parametrize("address", ["http://127.0.0.1:99999", "http://[::1", "https://gpu.example.org:1", ""])
def test_a_run_file_with_a_bad_address_of_a_process_that_lives_stops_no_job(
    engine_process: EngineProcess, folder: Path, address: str
) -> None:
    folder.mkdir(mode=0o700)
    mark = ProcessId.of(os.getpid())
    plain = {"address": address, "token": "x" * 32, "pid": mark.pid, "started": mark.started, "version": __version__}
    (folder / "engine-bad.json").write_text(json.dumps(plain))
    (folder / "engine-bad.json").chmod(0o600)
    assert engine_process.status() is None
    answers(engine_process)


class Broken:
    """A process that ended at once."""

    def poll(self) -> int:
        return 3

    def kill(self) -> None:
        pass


def test_one_that_cannot_be_started_is_said_in_one_sentence() -> None:
    process = EngineProcess(start=lambda *_: Broken())
    job = process.submit(volume_of(), LIVER)
    with pytest.raises(EngineError, match=r"exit code 3.*engine\.log"):
        job.wait(20)
    with pytest.raises(EngineError, match="could not be started"):
        EngineProcess("/no/such/python").connect()


def test_a_full_disk_is_named_where_it_kept_the_engine_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is no room for a log that says so either."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(EngineError, match=r"no space is left in .*run; free some"):
        EngineProcess(start=lambda *_: Broken()).connect()


def test_one_of_another_version_is_left_to_those_who_use_it(engine_process: EngineProcess, folder: Path) -> None:
    answers(engine_process)
    older = pid_of(engine_process)
    (file,) = folder.glob("engine-*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": "0.0.9"}))
    another = EngineProcess(start=Commands(), model="0")
    try:
        answers(another)
        assert pid_of(another) != older
        assert pid_of(engine_process) == older
    finally:
        another.stop()
    answers(engine_process)


class Silent:
    """A process that runs and never answers."""

    def __init__(self) -> None:
        self.killed = threading.Event()

    def poll(self) -> int | None:
        return -9 if self.killed.is_set() else None

    def kill(self) -> None:
        self.killed.set()


def test_what_a_launcher_started_is_killed_with_it(tmp_path: Path) -> None:
    """Slicer's Python is a launcher, whose child is the Python that runs the engine."""
    log = tmp_path / "log"
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    launcher = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    started = start_process([sys.executable, "-c", launcher], os.environ, log)
    wait_until(lambda: log.read_text().endswith("\n"))
    real = ProcessId.of(int(log.read_text()))
    assert real.is_alive

    started.kill()

    wait_until(lambda: started.poll() is not None and not real.is_alive)


def test_stop_does_not_wait_for_a_process_that_is_just_starting(commands: Commands) -> None:
    """Slicer is quit during the first start, which may take minutes on a slow disk."""
    silent, starts = Silent(), threading.Event()

    def start(command: Sequence[str], environment: Mapping[str, str], log: Path) -> StartedProcess:
        if starts.is_set():
            return commands(command, environment, log)
        starts.set()
        return silent

    process = EngineProcess(start=start, model="0")
    jobs = [process.submit(volume_of(seed), LIVER, model="0") for seed in range(2)]
    wait_until(starts.is_set)
    assert process.status() is None, "the window may ask meanwhile"

    stopping = threading.Thread(target=process.stop)
    stopping.start()
    wait_until(lambda: not stopping.is_alive())

    assert silent.killed.is_set()
    for job in jobs:
        with pytest.raises(EngineError, match="stopped while it was starting"):
            job.wait(20)
    assert commands.commands == [], "nobody starts another one for the job that waited"
    try:
        answers(process)
    finally:
        process.stop()


def test_a_job_whose_thread_is_late_starts_nothing_after_the_stop(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slicer is quit right after a click, on a busy computer."""
    process = EngineProcess(start=commands, model="0")
    with monkeypatch.context() as patch:
        patch.setattr(RemoteJob, "start", lambda job: job)
        job = process.submit(volume_of(), LIVER, model="0")
    process.stop()
    job.start()
    with pytest.raises(EngineError, match="stopped while it was starting"):
        job.wait(60)
    assert commands.commands == []


def test_a_process_number_that_was_given_away_is_another_process() -> None:
    mark = ProcessId.of(os.getpid())
    assert mark.is_alive
    assert not ProcessId(0).is_alive
    assert not ProcessId(2**40).is_alive
    if mark.started:
        assert not ProcessId(mark.pid, "1").is_alive
    assert not ParentWatch().are_gone
    parents = ParentWatch(mark)
    assert not parents.are_gone
    parents.remove(mark.pid)
    assert parents.are_gone


def test_the_run_folder_must_be_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "file" / "run"))
    with pytest.raises(InputError, match=FOLDER_VARIABLE):
        run_folder()


def test_the_real_service_segments_and_info_shows_what_it_holds(
    tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No stand-in anywhere: Python, the command, the network, a model."""
    process = EngineProcess(model=str(tiny_model_folder), device="cpu")
    try:
        result = process.segment(volume_of(), SegmentRequest(("liver",), threshold=TINY_SCORE - 0.1))
        assert result.concepts[0].mask.all()
        assert main(["info"]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert f"process {pid_of(process)}: tiny test model without a tracker on cpu" in shown
        assert "features in RAM" in shown
        assert process.unload()
        wait_until(lambda: "no model loaded" in (process.status().in_words() if process.status() else ""))
    finally:
        process.stop()
    assert not process.unload()
    assert main(["info"]) == 0
    assert "none runs" in capsys.readouterr().out
