"""Run files when something else happens at the same moment: an engine that just ends, a disk that is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from MedSAM3SegmentLib.engine.process.discovery import FOLDER_VARIABLE, announce_engine, find_running_engines
from MedSAM3SegmentLib.engine.process_id import ProcessId
from MedSAM3SegmentLib.errors import InputError

TOKEN = "a-token-that-nobody-must-find-...."


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "run"))
    return tmp_path / "run"


def test_an_engine_that_ends_while_it_is_looked_for_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_alive = ProcessId.is_alive.fget  # type: ignore[attr-defined]

    def is_alive_and_ends(mark: ProcessId) -> bool:
        for file in folder.glob("engine-*.json"):
            file.unlink()
        return bool(is_alive(mark))

    with announce_engine("http://127.0.0.1:1", TOKEN):
        assert [engine.address for engine in find_running_engines()] == ["http://127.0.0.1:1"]
        monkeypatch.setattr(ProcessId, "is_alive", property(is_alive_and_ends))
        find_running_engines()
        assert find_running_engines() == []


def test_the_newest_engine_comes_first(folder: Path) -> None:
    with announce_engine("http://127.0.0.1:1", TOKEN), announce_engine("http://127.0.0.1:2", TOKEN):
        for file in folder.iterdir():
            written = 1000 if "127.0.0.1:1" in file.read_text() else 2000
            os.utime(file, (written, written))
        assert [engine.address[-1] for engine in find_running_engines()] == ["2", "1"]


def test_a_run_file_that_cannot_be_written_leaves_no_token(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_full(part: Path, _: Path) -> None:
        assert TOKEN in part.read_text()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", is_full)
    with pytest.raises(InputError, match="No space left"), announce_engine("http://127.0.0.1:1", TOKEN):
        pass
    assert list(folder.iterdir()) == []
