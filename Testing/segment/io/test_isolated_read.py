"""Reading in a process of its own: what comes back, and what a crash, a hang and too little memory become."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.isolated_read import read_isolated
from support import isolated_functions

PATH = Path("scan.dcm")


@pytest.fixture(autouse=True)
def found_by_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child finds the functions of these tests."""
    testing = str(Path(isolated_functions.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [testing, os.environ.get("PYTHONPATH")])))


def test_values_and_arrays_come_back() -> None:
    name = os.fsdecode(b"M\xfcller.dcm")
    values, (first, second) = read_isolated(isolated_functions.give_back, Path(name), 3, {"deep": [1, None, "é"]})
    assert values == [name, 3, {"deep": [1, None, "é"]}]
    np.testing.assert_array_equal(first, np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    assert (first.dtype, second.dtype, second.shape) == (np.int16, np.float32, (0, 2))


@pytest.mark.parametrize("function", [isolated_functions.crash, isolated_functions.leave])
def test_a_crash_is_a_sentence(function: object) -> None:
    with pytest.raises(InputError, match=r"^scan\.dcm made its reader crash.*\.$"):
        read_isolated(function, PATH)


def test_a_hang_is_a_sentence() -> None:
    with pytest.raises(InputError, match=r"Reading scan\.dcm was stopped after 2 s"):
        read_isolated(isolated_functions.hang, PATH, timeout_s=2)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures resident memory as Linux tells it")
def test_too_much_memory_is_a_sentence() -> None:
    with pytest.raises(InputError, match=r"scan\.dcm does not fit into the free memory"):
        read_isolated(isolated_functions.take_memory, PATH, 4 << 30, memory_bytes=1 << 30)


def test_errors_are_raised_again_with_their_facts() -> None:
    with pytest.raises(InputError, match=r"scan\.dcm holds 3 things; give one\.") as caught:
        read_isolated(isolated_functions.refuse, PATH, 3)
    assert caught.value.message.facts == {"path": "scan.dcm", "count": 3}
    with pytest.raises(InputError, match=r"scan\.dcm cannot be read as an image"):
        read_isolated(isolated_functions.fail, PATH)


def test_nothing_is_said_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    read_isolated(isolated_functions.chatter, PATH)
    assert capfd.readouterr() == ("", "")
