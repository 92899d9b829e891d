"""Ctrl-C in the shell, and writing several files: what is left is whole, or nothing is."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from MedSAM3SegmentLib.cli import train_run
from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.cli.output_files import written_together
from MedSAM3SegmentLib.cli.signals import Interruption
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.synthetic.phantom import tilted_grid
from support.cli_runs import LIBRARY, files_in, start
from support.images import image_on_grid


def interrupt_when(process: subprocess.Popen[str], line: str) -> tuple[int, str]:
    """Press Ctrl-C once a line like ``line`` is in the log; the exit code, and the rest of the log."""
    assert process.stderr is not None
    seen = ""
    for text in process.stderr:
        seen += text
        if re.search(line, text):
            break
    else:
        pytest.fail(f"The log ended without '{line}': {seen}")
    time.sleep(0.3)  # so that it is at work on what the line announced
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=120)
    return process.returncode, rest


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("line", ["voxels of", "Model: "], ids=["loading", "segmenting"])
def test_ctrl_c_leaves_nothing(tmp_path: Path, here: Path, tiny_model_folder: Path, line: str) -> None:
    long = tmp_path / "long.nrrd"
    array = np.random.default_rng(0).integers(-1000, 1000, (20000, 8, 8)).astype(np.int16)
    SimpleITK.WriteImage(image_on_grid(array, tilted_grid(array.shape, (1.0, 1.0, 2.0))), str(long))
    outputs = ("--output", "o.nii.gz", "--report", "r.json", "--preview", "p.png")
    process = start("segment", str(long), "--concept", "liver", "--model", str(tiny_model_folder), *outputs, cwd=here)
    code, log = interrupt_when(process, line)
    assert code == 130
    assert "Traceback" not in log
    assert len(log.splitlines()) == 1
    assert files_in(here) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_while_a_string_is_executed_keeps_the_exit_code(here: Path) -> None:
    """As where a library that is being imported makes its classes from strings (dataclasses, named tuples)."""
    lines = [
        "import sys",
        "from MedSAM3SegmentLib.cli.signals import Interruption",
        "try:",
        "    with Interruption().handled():",
        "        exec('import os, signal; os.kill(os.getpid(), signal.SIGINT)')",
        "except KeyboardInterrupt:",
        "    sys.exit(130)",
    ]
    (here / "interrupted_import.py").write_text("\n".join(lines))
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY)}
    assert subprocess.run([sys.executable, "-m", "interrupted_import"], cwd=here, env=environment).returncode == 130


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_in_training_says_that_there_is_no_snapshot_yet(here: Path) -> None:
    code, log = interrupt_when(start("train", "--output", "model", "--phantoms", "400", cwd=here), "Training")
    assert code == 130
    assert len(log.splitlines()) == 1
    assert "nothing was written" in log
    assert files_in(here) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_in_training_keeps_the_last_snapshot(
    here: Path, architecture: Path, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from MedSAM3SegmentLib.training.loop import Schedule

    monkeypatch.setattr(train_run, "_schedule", lambda *_: Schedule(100_000, save_every=2))

    def press_after_the_first_snapshot() -> None:
        while not Path("model/model.safetensors").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press_after_the_first_snapshot, daemon=True)
    finger.start()
    assert main(["train", "--output", "model", "--phantoms", "1", "--architecture", str(architecture)]) == 130
    assert "snapshot is in model" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["model"]
    assert main(["segment", str(image), "--concept", "liver", "--model", "model", "--output", "o.seg.nrrd"]) == 0


def test_files_that_belong_together_are_all_written_or_none(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "one.txt", tmp_path / "b" / "two.txt"
    for path in (first, second):
        path.parent.mkdir()
        path.write_text("old")
    both = [first, second]

    def fail_half_way() -> None:
        with written_together(both, Interruption()) as drafts:
            drafts[first].write_text("new")
            raise InputError(f"{drafts[second]} could not be written.")

    with pytest.raises(InputError, match=re.escape(str(second))):
        fail_half_way()
    assert files_in(tmp_path) == ["a", "a/one.txt", "b", "b/two.txt"]
    assert first.read_text() == second.read_text() == "old"
    with written_together(both, Interruption()) as drafts:
        drafts[first].write_text("new")
        drafts[second].write_text("new")
        assert first.read_text() == "old"
    assert files_in(tmp_path) == ["a", "a/one.txt", "b", "b/two.txt"]
    assert first.read_text() == second.read_text() == "new"
