"""Run files when something else happens at the same moment: an engine that just ends, a disk that is full."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from MedSAM3SegmentLib.engine.client.http import HttpConnection, knows_token
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


_DAMAGED = [
    {"address": "http://127.0.0.1:99999"},
    {"address": "http://[::1"},
    {"address": "https://gpu.example.org:8765"},
    {"address": "http://gpu.example.org:8765"},
    {"address": "127.0.0.1:8765"},
    {"address": ""},
    {"address": None},
    {"address": "http://127.0.0.1:1\r\nX: y"},
    {"token": ""},
    {"token": "\u00e9" * 32},
    {"pid": 1e999},
    {"pid": float("nan")},
    {"pid": "x"},
    {"pid": None},
    {"pid": -1},
    {"pid": 10**30},
]


@pytest.mark.parametrize("change", _DAMAGED, ids=range(len(_DAMAGED)))
def test_a_run_file_that_names_no_engine_of_this_machine_stops_nobody(folder: Path, change: dict[str, object]) -> None:
    with announce_engine("http://127.0.0.1:1", TOKEN):
        (file,) = folder.iterdir()
        _write(folder / "engine-0.json", json.dumps({**json.loads(file.read_text()), **change}))
        found = find_running_engines()
        assert "http://127.0.0.1:1" in [engine.address for engine in found]
        for engine in found:  # whatever is told can be called
            assert not knows_token(HttpConnection(engine.address, engine.token))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", "[" * 60_000, "{" * 100_000, '{"pid": 1}', "\ufeff{}"])
def test_a_damaged_run_file_stops_nobody(folder: Path, text: str) -> None:
    with announce_engine("http://127.0.0.1:1", TOKEN):
        _write(folder / "engine-0.json", text)
        _write(folder / "engine-1.json", b"\xff\xfe\x00")
        (folder / "engine-2.json").mkdir()
        assert [engine.address for engine in find_running_engines()] == ["http://127.0.0.1:1"]


def _write(file: Path, text: str | bytes) -> None:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(0o600)


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
