"""Pictures of the panel and of results in slice views, for the README: ``make screenshots``.

Everything is the real thing on the bench: the panel with the demo model on a synthetic abdomen, and slice views drawn
without a window.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from MedSAM3SceneLib.sample_data import add_synthetic_abdomen
from MedSAM3SegmentLib.segmenter import Segmenter
from slicer_bench import Bench, open_bench

ROOT = Path(__file__).parents[1]

#: Seconds that the demo model may take.
PATIENCE = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "Resources" / "Screenshots")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patches,
        open_bench(patches, Path(folder)) as bench,
    ):
        take(bench, output)


def take(bench: Bench, output: Path) -> None:
    """Go through a run in the panel and save a picture of each state."""
    panel = bench.open_panel("MedSAM3Segment")
    bench.grab(panel.parent, output / "panel-empty.png")
    volume = add_synthetic_abdomen()
    bench.slicer.util.setSliceViewerLayers(background=volume, fit=True)
    panel.logic.segmenter = Segmenter.load("demo", "cpu")
    panel.ui.conceptsEdit.plainText = "liver; spleen; left kidney"
    bench.grab(panel.parent, output / "panel-ready.png")
    panel.ui.applyButton.click()
    bench.spin(2)
    bench.grab(panel.parent, output / "panel-running.png")
    bench.wait(lambda: not panel.panel.is_busy, PATIENCE)
    bench.grab(panel.parent, output / "panel-results.png")
    for view in bench.app.layoutManager().sliceViewNames():
        Image.fromarray(bench.render(view)).save(output / f"result-{view.lower()}.png")


if __name__ == "__main__":
    main()
