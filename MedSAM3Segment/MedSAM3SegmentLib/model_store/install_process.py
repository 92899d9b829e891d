"""Planning and installing a model in a process of its own, for callers with a window.

Reading a model whole takes its size in memory, importing PyTorch holds up the other threads, and a network that stalls
cannot be left; but a process can be ended at any moment, and all that it took is free. It is told what to do by a line
of JSON, and tells how far it is by others.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.errors import (
    Cancelled,
    InputError,
    MedSAM3Error,
    ModelError,
)
from MedSAM3SegmentLib.messages.message import from_plain, message, to_plain
from MedSAM3SegmentLib.python_process import NO_WINDOW, child_environment, kill_process_tree

from .store import discard_draft

#: Seconds between two questions whether the model is still wanted.
_POLL_INTERVAL_S = 0.1

#: Seconds that a process which was killed may take to be gone.
_END_TIMEOUT_S = 5.0

#: Bytes of a download between two words of how far it is.
_CHUNK_BYTES = 1 << 16

_ERRORS: dict[str, type[MedSAM3Error]] = {kind.__name__: kind for kind in (InputError, ModelError)}


@dataclass(frozen=True)
class PlannedModel:
    """What is about to be installed, for people to agree to.

    Attributes:
        source: a model folder, a weight file, a hub id, or the name of a known model.
        name: that it gets.
        license: empty if it is not stated.
        license_url: where the license can be read, if known.
        size: bytes to copy or fetch.
    """

    source: str
    name: str
    description: str
    licence: str
    licence_url: str
    size: int


def plan_in_process(source: str, *, python: str = sys.executable) -> PlannedModel:
    """As ``install.plan``; takes seconds.

    Args:
        python: the interpreter to use; in Slicer that of ``PythonSlicer``.

    Raises:
        InputError: ``source`` is no model's.
        ModelError: the hub cannot be reached or refused.
    """
    said = _done_apart({"plan": source}, source, python)
    return PlannedModel(**said["planned"])


def install_in_process(
    planned: PlannedModel,
    *,
    python: str = sys.executable,
    progress: Callable[[str, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Path:
    """As ``install.install``; what was agreed to is installed, or nothing.

    Args:
        python: as for ``plan_in_process``.
        progress: told the file and how many bytes more of it are there; called in the calling thread.
        cancel: asked a few times a second; True ends the installation at once, and nothing of it is kept.

    Returns:
        Its folder.

    Raises:
        InputError: the name is taken or cannot be a folder's.
        ModelError: it is incomplete, damaged, of an unsupported kind or another one by now; nothing is installed.
        Cancelled: ``cancel`` said so.
    """
    try:
        said = _done_apart({"install": asdict(planned)}, planned.name, python, progress, cancel)
    except Cancelled:
        discard_draft(planned.name)
        raise
    return Path(said["folder"])


def _done_apart(
    order: dict[str, Any],
    what: str,
    python: str,
    progress: Callable[[str, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """What another process says in the end of an order; it has ended then."""
    try:
        process = subprocess.Popen(
            [python, "-m", __name__],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            creationflags=NO_WINDOW,
            start_new_session=os.name == "posix",
        )
    except OSError as error:
        raise ModelError(
            "{what} cannot be looked at: {python} does not start ({why}).",
            what=what,
            python=python,
            why=str(error.strerror),
        ) from None
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    listener = threading.Thread(target=_pass_on, args=(process, json.dumps(order), lines), daemon=True)
    listener.start()
    with process:
        try:
            return _followed(lines, what, progress, cancel)
        finally:
            kill_process_tree(process)
            # Nobody holds the other end of its output by then, or writes into the store.
            listener.join(_END_TIMEOUT_S)


def _pass_on(process: subprocess.Popen[str], order: str, lines: queue.SimpleQueue[str | None]) -> None:
    """Give a process its order, and take its lines until it ends."""
    assert process.stdin is not None
    assert process.stdout is not None
    # One that has ended already takes no order, but has said why. Closed here, or what was not taken is written again.
    with suppress(OSError), process.stdin:
        process.stdin.write(order + "\n")
    with suppress(OSError, ValueError):
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


def _followed(
    lines: queue.SimpleQueue[str | None],
    what: str,
    progress: Callable[[str, int], None] | None,
    cancel: Callable[[], bool] | None,
) -> dict[str, Any]:
    last: str = message("it said nothing")
    while True:
        if cancel is not None and cancel():
            raise Cancelled("The installation of {what} was cancelled; nothing of it was kept.", what=what)
        try:
            line = lines.get(timeout=_POLL_INTERVAL_S)
        except queue.Empty:
            continue
        if line is None:
            raise ModelError(
                "{what} could not be looked at: Python ended early ({last}); try again.", what=what, last=last
            )
        said = _said_in(line)
        if said is None:
            last = line.strip() or last
        elif "error" in said:
            raise _ERRORS.get(said["error"], ModelError)(from_plain(said["message"]))
        elif "more" not in said:
            return said
        elif progress is not None:
            progress(said["file"], said["more"])


def _said_in(line: str) -> dict[str, Any] | None:
    """What a line says, or None when it is one of a library's."""
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _do(order: dict[str, Any]) -> dict[str, Any]:
    """In the other process: plan or install."""
    from .install import install, plan

    agreed = PlannedModel(**order["install"]) if "install" in order else None
    source = agreed.source if agreed is not None else order["plan"]
    found = plan(source)
    card = found.card
    planned = PlannedModel(source, found.name, card.description, card.licence, found.licence_url, found.size)
    if agreed is None:
        return {"planned": asdict(planned)}
    if planned != agreed:
        raise ModelError("{model} is not what it was when you agreed to it; add it again.", model=agreed.name)
    return {"folder": str(install(found, progress=lambda file, more: _say({"file": file, "more": more})))}


def _say(words: dict[str, Any]) -> None:
    print(json.dumps(words), flush=True)


def _main() -> None:
    from huggingface_hub import constants

    # On a slow line the usual pieces would take minutes.
    constants.DOWNLOAD_CHUNK_SIZE = _CHUNK_BYTES
    try:
        _say(_do(json.loads(sys.stdin.readline())))
    except MedSAM3Error as error:
        _say({"error": type(error).__name__, "message": to_plain(error.message)})
    except MemoryError:
        words = message("There is not enough memory to read the model; close other programs.")
        _say({"error": "ModelError", "message": to_plain(words)})


if __name__ == "__main__":
    _main()
