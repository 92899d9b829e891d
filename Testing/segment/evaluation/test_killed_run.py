"""A run with a process beside it that is killed in the middle goes on and gives the same files, byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from MedSAM3SegmentLib.evaluation.cases.manifest_cases import manifest_cases
from MedSAM3SegmentLib.evaluation.evaluate_cases import Evaluation, evaluate
from MedSAM3SegmentLib.evaluation.model_prediction import ModelPredictions, PromptKind
from MedSAM3SegmentLib.evaluation.run_folder import ROWS
from support.evaluation_files import square, write_picture
from support.known_segmenter import IDENTITY, KnownSegmenter
from support.paths import ROOT, TESTING

#: Enough that the run is in the middle when some are done.
CASES = 60


class SlowSegmenter(KnownSegmenter):
    """Knows the truth, moved, and takes a moment for each picture."""

    def segment(self, *given: Any) -> Any:
        time.sleep(0.01)
        return super().segment(*given)


def run(here: Path, output: Path, jobs: int) -> None:
    """Evaluate the manifest."""
    cases = manifest_cases(here / "manifest.json")
    answers = {f"{number:03d}.png": {"polyp": square().astype(np.int32)[None]} for number in range(CASES)}
    segmenter = SlowSegmenter(answers, 3)
    masks = output / "masks"
    model = ModelPredictions(segmenter, IDENTITY, {"polyp": ("polyp",)}, [PromptKind.WORDS], None, masks)
    evaluate(cases, model, Evaluation(output, jobs=jobs))


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_is_killed_goes_on_and_gives_the_same_files(tmp_path: Path) -> None:
    cases = []
    for number in range(CASES):
        name = f"{number:03d}.png"
        write_picture(tmp_path / "images" / name, np.full((40, 40), number, np.uint8))
        write_picture(tmp_path / "truth" / name, square(moved=number % 10))
        cases.append({"image": f"images/{name}", "labels": f"truth/{name}", "concepts": {"polyp": [255]}})
    (tmp_path / "manifest.json").write_text(json.dumps({"cases": cases}))
    folders = [str(TESTING), str(ROOT / "MedSAM3Segment"), str(Path(__file__).parent)]
    (tmp_path / "run.py").write_text(
        f"import sys\nfrom pathlib import Path\nsys.path[:0] = {folders!r}\n"
        "if __name__ == '__main__':\n    import test_killed_run\n    test_killed_run.run(Path(), Path('killed'), 1)\n"
    )
    process = subprocess.Popen([sys.executable, "run.py"], cwd=tmp_path)
    killed = tmp_path / "killed"
    while process.poll() is None and not ((killed / ROWS).is_file() and (killed / ROWS).read_bytes().count(b"\n") >= 3):
        time.sleep(0.001)
    process.kill()
    process.wait()
    done = (killed / ROWS).read_bytes().count(b"\n")
    assert 3 <= done < CASES
    assert not (killed / "summary.json").exists()
    # As one that was writing leaves it.
    (killed / "masks" / f".{os.getpid()}.part.x.png").touch()
    run(tmp_path, killed, 0)
    run(tmp_path, tmp_path / "whole", 0)
    assert files_in(killed) == files_in(tmp_path / "whole")
