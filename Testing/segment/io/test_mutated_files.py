"""Damaged files of every format: read, or refused in one sentence, in little time and memory; nothing is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.python_process import child_environment
from support import mutated_files
from support.mutated_files import HONEST_BYTES, read_file, write_mutated
from support.tiny_model import TINY_SCORE

#: Numbers that the project promises.
MOST_SECONDS = 60
MOST_BYTES = 3 * HONEST_BYTES + (1 << 30)


@pytest.mark.usefixtures("nothing_on_the_terminal")
def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    whole.mkdir()
    damaged.mkdir()
    write_mutated(whole, damaged, 160)
    outcomes = [read_file(path) for path in sorted(damaged.iterdir())]
    assert {read_file(path) for path in whole.iterdir()} == {"read"}
    assert 0 < outcomes.count("read") < len(outcomes)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures resident memory as Linux tells it")
def test_a_thousand_damaged_files_take_little_time_and_memory(tmp_path: Path) -> None:
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    whole.mkdir()
    damaged.mkdir()
    write_mutated(whole, damaged, 1000, seed=1)
    environment = child_environment()
    testing = str(Path(mutated_files.__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join([testing, environment["PYTHONPATH"]])
    command = [sys.executable, "-m", mutated_files.__name__, str(damaged)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(found) == 1000
    assert max(one["seconds"] for one in found) <= MOST_SECONDS
    assert max(one["peak_bytes"] for one in found) <= MOST_BYTES
    read = sum(one["outcome"] == "read" for one in found)
    print(
        f"{read} read, {len(found) - read} refused; at most {max(one['seconds'] for one in found):.1f} s and "
        f"{max(one['peak_bytes'] for one in found) / 1e6:.0f} MB"
    )


@pytest.mark.slow
def test_the_shell_ends_with_0_or_2_and_leaves_nothing(
    tmp_path: Path, tiny_model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, damaged, out = tmp_path / "whole", tmp_path / "damaged", tmp_path / "out"
    for folder in (whole, damaged, out):
        folder.mkdir()
    write_mutated(whole, damaged, 90, seed=2)
    for number, path in enumerate(sorted(damaged.iterdir())):
        words = ["--model", str(tiny_model_folder), "--device", "cpu", "--threshold", str(TINY_SCORE), "--quiet"]
        words = ["segment", str(path), *words, "--concept", "liver", "--output", str(out / "out.seg.nrrd")]
        if number % 10:
            code = main(words)
        else:
            command = [sys.executable, "-m", "MedSAM3SegmentLib", *words]
            code = subprocess.run(command, env=child_environment(), check=False).returncode
        heard = capfd.readouterr()
        assert code in (0, 2), (path.name, heard.err)
        if code == 2:
            assert len(heard.err.strip().splitlines()) == 1, heard.err
            assert list(out.iterdir()) == []
        for file in out.iterdir():
            file.unlink()
