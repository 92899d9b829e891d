"""The shell itself: help at once, wrong usage, what it says of the installation, and streams of every kind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from MedSAM3SegmentLib.cli.main import main
from support.cli_runs import LIBRARY, files_in, start


def test_help_is_there_at_once() -> None:
    code = (
        "import sys; from MedSAM3SegmentLib.cli.main import main; assert main(['segment', '--help']) == 0; "
        "assert not {'torch', 'transformers', 'SimpleITK', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(LIBRARY)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "--concept" in done.stdout


@pytest.mark.parametrize("words", [[], ["segmentt"], ["segment"], ["--colour"]])
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "--help" in err


def test_info_says_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "torch" in out
    assert "cpu" in out
    assert "demo model" in out
    command = re.search(r"'(medsam3 [^']*)' installs more", " ".join(out.split()))
    assert command is not None
    assert main([*command[1].split()[1:], "--help"]) == 0
    assert "HUB_ID" in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_error(here: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = start("info", cwd=here, stdout=write_end)
    os.close(write_end)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert err == ""


def test_a_terminal_that_lacks_characters_gets_escapes_and_exit_code_zero(
    here: Path, image: Path, tiny_model_folder: Path
) -> None:
    words = ("segment", str(image), "--model", str(tiny_model_folder), "--concept", "Öl", "--output", "größe.seg.nrrd")
    process = start(*words, cwd=here, PYTHONIOENCODING="ascii")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "gr\\xf6\\xdfe.seg.nrrd" in out
    assert files_in(here) == ["größe.seg.nrrd"]


def test_a_program_without_standard_streams_can_run_it() -> None:
    code = (
        "import sys; sys.stdout = sys.stderr = None; from MedSAM3SegmentLib.cli.main import main; "
        "sys.exit(main(['models', 'list']) + 10 * main(['segment', '--colour']))"
    )
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(LIBRARY)}).returncode == 20
