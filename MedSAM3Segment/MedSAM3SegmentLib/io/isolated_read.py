"""Read a file in a process of its own, where a crash of native code is a sentence and not the end of this process.

ITK, GDCM and their codecs are C and C++: a damaged file may end the process that they run in, take all memory, or never
come to an end. ``read_isolated`` runs one function in a child, and gives what it returned, or one sentence.

Nothing is unpickled: arguments and plain results travel as JSON, arrays as ``.npy`` files in a private folder.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import from_plain, message, to_plain
from MedSAM3SegmentLib.python_process import NO_WINDOW, child_environment, kill_process_tree

#: What the function in the child gives back: anything that JSON has, and arrays.
IsolatedResult = tuple[Any, Sequence[NDArray[Any]]]

#: What native libraries map beside what they read.
_SPARE_BYTES = 1 << 29

_ANSWER = "answer.json"

_logger = logging.getLogger(__name__)


def read_isolated(
    function: Callable[..., IsolatedResult | None],
    path: Path,
    *arguments: Any,
    timeout_s: float = 600.0,
    memory_bytes: int | None = None,
) -> tuple[Any, list[NDArray[Any]]]:
    """Call ``function(path, *arguments)`` in a process of its own.

    Args:
        function: of a module, not within another function; it may raise ``InputError``, which is raised here again.
        path: the file or folder that is read; it is named in every sentence.
        arguments: what JSON has.
        timeout_s: how long it may take, the start of the process included (half a second, and what it imports).
        memory_bytes: how much more memory it may take than it has at its start; None for any amount. Held on Linux.

    Returns:
        What it returned: plain values, and arrays, which are read into memory.

    Raises:
        InputError: what the function raised; or it crashed, ran out of memory or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="medsam3-read-") as folder:
        task = {
            "function": [function.__module__, function.__qualname__],
            "arguments": [os.fspath(path), *arguments],
            "memory_bytes": memory_bytes,
        }
        code, said = _run_child(folder, json.dumps(task), path, timeout_s)
        if said:
            _logger.debug("The reader of a file said: %s", said)
        try:
            answer = json.loads((Path(folder) / _ANSWER).read_text(encoding="ascii"))
        except (OSError, ValueError):
            _logger.debug("reader ended with code %s", code)
            raise InputError(
                "{path} made its reader crash, so it is damaged or not what it says it is; export it again.", path=path
            ) from None
        if "error" in answer:
            raise InputError(from_plain(answer["error"]))
        arrays = [np.load(Path(folder) / f"{n}.npy", allow_pickle=False) for n in range(answer["arrays"])]
        return answer["values"], arrays


def _run_child(folder: str, task: str, path: Path, timeout_s: float) -> tuple[int, str]:
    """The child's exit code and the end of what it wrote to standard error."""
    with tempfile.TemporaryFile() as heard:
        child = subprocess.Popen(
            [sys.executable, "-m", __name__, folder],
            stdin=subprocess.PIPE,
            stdout=heard,
            stderr=heard,
            env=child_environment(),
            start_new_session=True,
            creationflags=NO_WINDOW,
        )
        try:
            child.communicate(task.encode("ascii"), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise InputError(
                "Reading {path} was stopped after {seconds:.0f} s; check that it is complete, or export it again.",
                path=path,
                seconds=timeout_s,
            ) from None
        finally:
            # Whatever came in between, Ctrl-C too.
            if child.poll() is None:
                kill_process_tree(child)
                child.wait()
        heard.seek(max(0, heard.tell() - 4000))
        return child.returncode, heard.read().decode(errors="replace").strip()


def _serve(folder: Path) -> None:
    """The child's part: do the one task on standard input and leave the answer in ``folder``."""
    task = json.loads(sys.stdin.buffer.read())
    path, *arguments = task["arguments"]
    answer: dict[str, Any]
    try:
        # Only this library's own caller writes the task; no file has a say in it.
        module, name = task["function"]
        function = getattr(import_module(module), name)
        _limit_memory(task["memory_bytes"])
        values, arrays = function(Path(path), *arguments) or (None, ())
        for number, array in enumerate(arrays):
            np.save(folder / f"{number}.npy", np.ascontiguousarray(array), allow_pickle=False)
        answer = {"values": values, "arrays": len(arrays)}
        text = json.dumps(answer)
    except InputError as error:
        text = json.dumps({"error": to_plain(error.message)})
    except MemoryError:
        text = json.dumps({"error": to_plain(too_large(Path(path)))})
    except Exception:
        traceback.print_exc()
        text = json.dumps({"error": to_plain(unreadable(Path(path)))})
    # Under another name first, so that half an answer is none.
    draft = folder / "draft.json"
    draft.write_text(text, encoding="ascii")
    draft.replace(folder / _ANSWER)
    sys.stdout.flush()
    sys.stderr.flush()
    # What a damaged file did to a library's memory need not be cleaned up.
    os._exit(0)


def too_large(path: Path) -> str:
    """The sentence for a file that does not fit into the memory."""
    return message("{path} does not fit into the free memory; close other programs or give a smaller image.", path=path)


def unreadable(path: Path) -> str:
    """The sentence for a file that no reader understands."""
    return message(
        "{path} cannot be read as an image; check that it is complete and is DICOM, NIfTI, NRRD, MHA, PNG or JPEG.",
        path=path,
    )


def _limit_memory(memory_bytes: int | None) -> None:
    if memory_bytes is None or not sys.platform.startswith("linux"):
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + memory_bytes + _SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
