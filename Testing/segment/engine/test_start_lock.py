"""The lock that one start of an engine holds: for one process at a time, and never in the way of a start."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from MedSAM3SegmentLib.engine.process.start_lock import one_at_a_time
from support.engine_server import wait_until

_HOLDER = """
import sys, time
sys.path[:0] = {path!r}
from pathlib import Path
from MedSAM3SegmentLib.engine.process.start_lock import one_at_a_time
with one_at_a_time(Path({file!r}), lambda: False):
    print("held", flush=True)
    time.sleep(600)
"""


def test_another_process_holds_it_until_it_dies(tmp_path: Path) -> None:
    file = tmp_path / "starting"
    program = _HOLDER.format(path=sys.path, file=str(file))
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    entered, asked = threading.Event(), threading.Event()

    def wait() -> None:
        with one_at_a_time(file, lambda: bool(asked.set())):
            entered.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_until(asked.is_set)
    assert not entered.is_set()

    holder.kill()
    holder.communicate()

    wait_until(entered.is_set)
    waiting.join()
    assert file.read_bytes() == b"", "it stays, or a third process could hold another file of the same name"


def test_who_gives_up_begins_without_it(tmp_path: Path) -> None:
    entered = threading.Event()

    def give_up() -> None:
        with one_at_a_time(tmp_path / "starting", lambda: True):
            entered.set()

    with one_at_a_time(tmp_path / "starting", lambda: False):
        thread = threading.Thread(target=give_up)
        thread.start()
        thread.join(20)
        assert entered.is_set()


def test_an_error_in_the_block_passes_and_frees_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), one_at_a_time(tmp_path / "starting", lambda: False):
        raise ZeroDivisionError
    with one_at_a_time(tmp_path / "starting", lambda: pytest.fail("it is held")):
        pass


def test_where_its_file_cannot_be_made_the_block_begins(tmp_path: Path) -> None:
    entered = False
    with one_at_a_time(tmp_path, lambda: pytest.fail("nobody holds a folder")):
        entered = True
    assert entered


@pytest.mark.skipif(os.name != "posix", reason="Windows locks in another way")
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_on_a_disk_that_knows_no_locks_the_block_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    entered = False
    with one_at_a_time(tmp_path / "starting", lambda: pytest.fail("nobody holds it")):
        entered = True
    assert entered
    assert (tmp_path / "starting").read_bytes() == b"", "a marker would be taken for a start that never ends"
