"""A run with processes beside it that is killed in the middle goes on and gives the same files, byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.evaluation.run_folder import ROWS
from support.evaluation_files import square, write_picture
from support.paths import ROOT, TESTING

#: Enough that the run is in the middle when some are done.
CASES = 60

#: What a user runs, and the same with a model that knows the truth, which takes a moment for each picture.
COMMAND = """
from MedSAM3SegmentLib.cli.main import main
if __name__ == "__main__":
    words = ["--references", "truth", "--predictions", "mine", "--jobs", "2", "--output", sys.argv[1]]
    sys.exit(main(["evaluate", *words]))
"""
MODEL = """
import time
from pathlib import Path
import numpy as np
from MedSAM3SegmentLib.evaluation.cases.manifest_cases import manifest_cases
from MedSAM3SegmentLib.evaluation.evaluate_cases import Evaluation, evaluate
from MedSAM3SegmentLib.evaluation.model_prediction import ModelPredictions, PromptKind
from support.evaluation_files import square
from support.known_segmenter import IDENTITY, KnownSegmenter
class Slow(KnownSegmenter):
    def segment(self, *given):
        time.sleep(0.01)
        return super().segment(*given)
if __name__ == "__main__":
    output = Path(sys.argv[1])
    cases = manifest_cases(Path("manifest.json"))
    answers = {case.image.name: {"polyp": square().astype(np.int32)[None]} for case in cases.cases}
    model = ModelPredictions(Slow(answers, 3), IDENTITY, {"polyp": ("polyp",)}, [PromptKind.WORDS], None, output / "masks")
    evaluate(cases, model, Evaluation(output, jobs=2))
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Pictures with masks moved by more and more columns, and a manifest of them."""
    cases = []
    for number in range(CASES):
        name = f"{number:03d}.png"
        write_picture(tmp_path / "images" / name, np.full((40, 40), number, np.uint8))
        write_picture(tmp_path / "truth" / name, square())
        write_picture(tmp_path / "mine" / name, square(moved=number % 10))
        cases.append({"image": f"images/{name}", "labels": f"truth/{name}", "concepts": {"polyp": [255]}})
    (tmp_path / "manifest.json").write_text(json.dumps({"cases": cases}))
    return tmp_path


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("script", [COMMAND, MODEL], ids=["files", "model"])
def test_a_run_that_is_killed_goes_on_and_gives_the_same_files(here: Path, script: str) -> None:
    paths = f"import sys\nsys.path[:0] = [{str(TESTING)!r}, {str(ROOT / 'MedSAM3Segment')!r}]\n"
    (here / "run.py").write_text(paths + script)

    def start(output: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "run.py", output]
        return subprocess.Popen(words, cwd=here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    whole, process, rows = start("whole"), start("killed"), here / "killed" / ROWS
    while process.poll() is None and not (rows.is_file() and rows.read_bytes().count(b"\n") >= 3):
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert rows.read_bytes().count(b"\n") < CASES
    assert not (here / "killed" / "summary.json").exists()
    # As one that was writing leaves it.
    (here / "killed" / f".{os.getpid()}.part.x.png").touch()
    assert start("killed").wait() == 0
    assert whole.wait() == 0
    assert files_in(here / "killed") == files_in(here / "whole")
