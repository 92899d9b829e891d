"""How a running service is found again: a file that only its user can read, with its address, process and token."""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from MedSAM3SegmentLib import __version__
from MedSAM3SegmentLib.engine.client.http import HttpConnection
from MedSAM3SegmentLib.engine.process_id import ProcessId
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.atomic_write import atomic_draft

#: Environment variable that moves the folder.
FOLDER_VARIABLE = "MEDSAM3_RUN"

_PATTERN = "engine-*.json"

#: Most bytes of a run file that is read.
_MAX_BYTES = 2**16


@dataclass(frozen=True)
class RunningEngine:
    """What a run file says.

    Attributes:
        started: of ``ProcessId``.
        version: of MedSAM3SegmentLib there.
    """

    address: str
    token: str
    pid: int
    started: str
    version: str = __version__

    @cached_property
    def process(self) -> ProcessId:
        return ProcessId(self.pid, self.started)


def run_folder() -> Path:
    """Where run files and logs lie: ``$MEDSAM3_RUN``, else ``.medsam3/run`` in the home folder; made for its user only.

    Raises:
        InputError: it cannot be made, or others can enter it.
    """
    folder = _chosen_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_own(folder.lstat()) and folder.lstat().st_mode & 0o077 and os.name == "posix":
            folder.chmod(0o700)
    except OSError as error:
        raise InputError(
            "The folder {folder} cannot be made ({why}); set {variable}.",
            folder=folder,
            why=str(error.strerror),
            variable=FOLDER_VARIABLE,
        ) from None
    if not _is_own(folder.lstat()):
        raise InputError(
            "The folder {folder} is somebody else's; set {variable} to one of your own.",
            folder=folder,
            variable=FOLDER_VARIABLE,
        )
    return folder


def _chosen_folder() -> Path:
    chosen = os.environ.get(FOLDER_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path.home() / ".medsam3" / "run"


@contextmanager
def announce_engine(address: str, token: str) -> Iterator[None]:
    """Keep a run file of this process until the end of the block; raises as ``run_folder`` does."""
    mark = ProcessId.of(os.getpid())
    path = run_folder() / f"engine-{secrets.token_hex(8)}.json"
    text = json.dumps(asdict(RunningEngine(address, token, mark.pid, mark.started)))
    try:
        with (
            atomic_draft(path) as draft,
            os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file,
        ):
            file.write(text)
    except OSError as error:
        raise InputError(
            "The file {path} could not be written ({why}); free some space.", path=path, why=str(error.strerror)
        ) from None
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


def find_running_engines() -> list[RunningEngine]:
    """All engines of this user whose process lives, newest first; files of those that died are removed.

    None where psutil cannot be imported: the panel asks before it has installed any package.
    """
    try:
        import psutil  # noqa: F401  what tells whether a process lives
    except ImportError:
        return []
    if not _chosen_folder().is_dir():
        return []
    found = []
    for path in run_folder().glob(_PATTERN):
        read = _read(path)
        if read is None:
            continue
        if read[1].process.is_alive:
            found.append(read)
        else:
            with suppress(OSError):
                path.unlink()
    return [engine for _, engine in sorted(found, key=lambda pair: pair[0], reverse=True)]


def _read(path: Path) -> tuple[float, RunningEngine] | None:
    """When a run file was written and what it says.

    None if it is damaged or gone, may be another user's, or names nothing that can be called on this machine.
    """
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or not _is_own(status) or (os.name == "posix" and status.st_mode & 0o077):
            return None
        with path.open("rb") as file:
            plain = json.loads(file.read(_MAX_BYTES))
        text = {name: str(plain[name]) for name in ("address", "token", "started")}
        engine = RunningEngine(**text, pid=int(plain["pid"]), version=str(plain.get("version", "")))
        is_here = HttpConnection(engine.address, engine.token).is_loopback
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError, InputError):
        return None
    return (status.st_mtime, engine) if is_here else None


def _is_own(status: os.stat_result) -> bool:
    return not hasattr(os, "getuid") or status.st_uid == os.getuid()
