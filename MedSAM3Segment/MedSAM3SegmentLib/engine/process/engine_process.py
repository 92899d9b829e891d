"""The engine's process as Slicer sees it: started when it is needed, found again, restarted after a crash, ended."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from MedSAM3SegmentLib import __version__
from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.client.http import HttpConnection, knows_token
from MedSAM3SegmentLib.engine.client.remote_segmenter import RemoteSegmenter
from MedSAM3SegmentLib.engine.protocol.status import EngineStatus
from MedSAM3SegmentLib.errors import EngineError, MedSAM3Error
from MedSAM3SegmentLib.exit_codes import BAD_PACKAGE
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.python_process import child_environment

from .discovery import RunningEngine, find_running_engines, run_folder
from .start_lock import one_at_a_time
from .start_process import MAX_LOG_BYTES, StartedProcess, Starter, last_line, start_process

#: Environment variable that a started service takes its token from; a command line is seen by everybody.
TOKEN_VARIABLE = "MEDSAM3_ENGINE_TOKEN"

#: Seconds for the service to answer after its start; Python packages may come from a slow disk.
_START_TIMEOUT_S = 120.0

#: Seconds for a service to end by itself.
_STOP_TIMEOUT_S = 10.0

_STOPPED = message("The engine was stopped while it was starting; try again.")


@dataclass(frozen=True, eq=False)
class _Started:
    """A service that this process has started, whether it answers yet or not."""

    token: str
    process: StartedProcess


class EngineProcess(RemoteSegmenter):
    """The engine of this user on this machine.

    ``submit`` never blocks: what takes time happens in the job's thread. All methods may be called from any thread.

    Args:
        python: the interpreter to start the service with; in Slicer that of ``PythonSlicer``.
        options: more options of ``medsam3 serve``.
        start: starts a command.
        model, device: what ``segment`` uses.
    """

    def __init__(
        self,
        python: str = sys.executable,
        *,
        options: Sequence[str] = (),
        start: Starter | None = None,
        model: str = "demo",
        device: str = "auto",
    ) -> None:
        super().__init__(model, device)
        self._python = python
        self._options = tuple(options)
        self._start = start or start_process
        #: Held while a service is started, which may take minutes; ``stop`` and ``status`` never wait for it.
        self._start_lock = threading.Lock()
        self._lock = threading.Lock()
        self._engine: RunningEngine | None = None
        self._started: _Started | None = None
        self._stops = 0

    @property
    def log_path(self) -> Path:
        """What the service wrote; it names no patient, phrase or token."""
        return run_folder() / "engine.log"

    def connect(self) -> HttpConnection:
        """The way to a running service; starts one if there is none, which takes seconds.

        Raises:
            EngineError: it could not be started.
        """
        return self._connect(self._stops)

    def _way(self) -> Callable[[], HttpConnection]:
        # What is stopped meanwhile is not started by a thread that was late.
        return partial(self._connect, self._stops)

    def _connect(self, stops: int) -> HttpConnection:
        """As ``connect``, for what was asked for when it had been stopped ``stops`` times."""

        def answering() -> RunningEngine | None:
            if self._stops != stops:
                raise EngineError(_STOPPED)
            return self._answering()

        with self._start_lock:
            with self._lock:
                engine = answering()
            if engine is not None:
                return _connection(engine)
            with one_at_a_time(run_folder() / "starting", lambda: self._stops != stops):
                with self._lock:
                    # Another process may have started one meanwhile.
                    engine = answering()
                    if engine is None:
                        started = self._started = self._start_one()
                return _connection(engine or self._answer_of(started))

    def status(self) -> EngineStatus | None:
        """What the service holds and does, or None when none runs; starts none. Call it from a thread in a GUI."""
        with self._lock:
            engine = self._answering()
        if engine is None:
            return None
        try:
            return EngineClient(engine.address, engine.token).status()
        except EngineError:
            return None

    def unload(self) -> bool:
        """Let go of models and features, if a service runs; whether one does."""
        with self._lock:
            engine = self._answering()
        if engine is None:
            return False
        EngineClient(engine.address, engine.token).unload()
        return True

    def stop(self) -> None:
        """Leave the service, which ends unless others use it or a person started it; GPU memory is free afterwards.

        Blocks for as long as the service takes to end; by force after a while.
        """
        with self._lock:
            self._stops += 1
            engine = self._answering(join=False)
            started, self._engine, self._started = self._started, None, None
        was_left = engine is None or _leave(engine)
        if started is None or (engine is not None and engine.token == started.token and not was_left):
            return
        process = started.process
        if process.poll() is None:
            process.kill()
            _wait_for(lambda: process.poll() is not None)

    def _answering(self, join: bool = True) -> RunningEngine | None:
        """A service that runs and knows its token: the one from before, or another of this user, which is joined.

        One of another version is left to those who use it: it would not do what this one promises.
        """
        known = [self._engine] if self._engine is not None else []
        others = [engine for engine in find_running_engines() if engine.version == __version__]
        for engine in (*known, *others):
            if not engine.process.is_alive or not knows_token(_connection(engine)):
                continue
            try:
                if engine != self._engine and join:
                    _connection(engine).send("POST", f"/parents/{os.getpid()}")
            except MedSAM3Error:
                continue  # it is just ending
            self._engine = engine
            return engine
        self._engine = None
        return None

    def _start_one(self) -> _Started:
        token = secrets.token_urlsafe(32)
        log = self.log_path
        environment = {**child_environment(), TOKEN_VARIABLE: token}
        command = [self._python, "-m", "MedSAM3SegmentLib", "serve", "--parent", str(os.getpid()), *self._options]
        try:
            return _Started(token, self._start(command, environment, log))
        except OSError as error:
            raise EngineError(
                "The engine could not be started with {python} ({why}).", python=self._python, why=str(error.strerror)
            ) from None

    def _answer_of(self, started: _Started) -> RunningEngine:
        """Wait until a service that was started answers.

        Raises:
            EngineError: it ended, takes too long, or was stopped.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            answering = [
                engine
                for engine in find_running_engines()
                if engine.token == started.token and knows_token(_connection(engine))
            ]
            with self._lock:
                if self._started is not started:
                    raise EngineError(_STOPPED)
                if answering:
                    self._engine = answering[0]
                    return answering[0]
            code = started.process.poll()
            if code is not None:
                if code == BAD_PACKAGE and (why := last_line(self.log_path)):
                    raise EngineError("The engine could not be started: {why}", why=why)
                folder = run_folder()
                if shutil.disk_usage(folder).free < MAX_LOG_BYTES:
                    raise EngineError(
                        "The engine could not be started: no space is left in {folder}; free some.", folder=folder
                    )
                raise EngineError(
                    "The engine could not be started (exit code {code}); {log} says more.", code=code, log=self.log_path
                )
            time.sleep(0.05)
        started.process.kill()
        raise EngineError(
            "The engine did not answer within {seconds:.0f} seconds; {log} says more.",
            seconds=_START_TIMEOUT_S,
            log=self.log_path,
        )


def _connection(engine: RunningEngine) -> HttpConnection:
    return HttpConnection(engine.address, engine.token)


def _leave(engine: RunningEngine) -> bool:
    """Tell a service that this process does not need it; returns whether it ended, which it is seen to if it should."""
    try:
        if not _connection(engine).send("DELETE", f"/parents/{os.getpid()}").get("ending"):
            return False
    except MedSAM3Error:
        pass  # it does not answer, and is of no use to anybody
    if not _wait_for(lambda: not engine.process.is_alive):
        engine.process.kill()
    return True


def _wait_for(happened: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.02)
    return happened()
