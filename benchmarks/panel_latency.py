"""How long the window stands still while a run is on its way: panel and effect on the bench, measured by a timer.

``python benchmarks/panel_latency.py`` runs a large volume with a segmenter without a model in the panel, then in the
effect with and without masks, then a phantom with the demo model in the process of the engine. Nothing is asserted:
speed is not what a test is for.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

#: Milliseconds between two ticks of the timer that measures.
TICK = 2

#: (k, j, i) of the large volume.
LARGE = (300, 512, 512)


class Gaps:
    """Measures how much later than due a timer of the window fires."""

    def __init__(self) -> None:
        import qt

        self.longest: list[float] = []
        self._last = time.perf_counter()
        self._timer = qt.QTimer()
        self._timer.setTimerType(qt.Qt.PreciseTimer)
        self._timer.setInterval(TICK)
        self._timer.connect("timeout()", self._tick)
        self._timer.start()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.longest.append((now - self._last) * 1000 - TICK)
        self._last = now

    @contextmanager
    def measured(self, table: Table, what: str) -> Iterator[None]:
        self.longest.clear()
        self._last = started = time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        gaps = np.array(self.longest or [0.0])
        table.add_row(
            what, f"{seconds:.1f}", f"{gaps.max():.0f}", f"{(gaps > 50).sum()}", f"{np.quantile(gaps, 0.99):.1f}"
        )


def run_and_measure(bench: Any, widget: Any, table: Table, what: str) -> None:
    """One run from the click, with partial slices, then a dragged threshold that is let go."""
    gaps = Gaps()
    with gaps.measured(table, f"{what}: run with partial slices"):
        widget.panel.apply()
        bench.wait(lambda: not widget.panel.is_busy, 300)
        bench.spin(0.3)
    slider = widget.ui.thresholdSlider
    with gaps.measured(table, f"{what}: threshold dragged"):
        for value in (0.6, 0.7, 0.8):
            slider.bench_drag_to(value)
            bench.spin(0.3)
        bench.spin(4)
    with gaps.measured(table, f"{what}: threshold written"):
        slider.bench_let_go()
        bench.wait(lambda: not widget.panel.is_busy, 300)
        bench.spin(0.3)


def measure_slice(bench: Any, widget: Any, table: Table) -> None:
    """`This slice` over the segments of the whole volume, in the chosen view."""
    ui = widget.ui
    mode = ui.modeSelector.currentIndex
    ui.modeSelector.setCurrentIndex(ui.modeSelector.findText("This slice"))
    ui.viewSelector.setCurrentIndex(ui.viewSelector.findText("Red"))
    bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode().JumpSliceByOffsetting(0.0, 0.0, 195.0)
    gaps = Gaps()
    with gaps.measured(table, "300 x 512 x 512, no model: one slice written anew"):
        widget.panel.apply()
        bench.wait(lambda: not widget.panel.is_busy, 300)
        bench.spin(0.3)
    ui.modeSelector.setCurrentIndex(mode)


def measure_effect(bench: Any, volume: Any, table: Table) -> None:
    """`Whole volume` into an empty segment and into the one it made, beside a neighbor, with the editor's settings."""
    from MedSAM3SceneLib.engine.local_engine import LocalEngine
    from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
    from SegmentEditorMedSAM3Lib.registration import EFFECT_FILE

    node_class = bench.slicer.vtkMRMLSegmentationNode
    segmentation = bench.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "edited")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name in ("spleen", "liver"):
        segmentation.GetSegmentation().AddEmptySegment(name, name)
    editor = bench.segment_editor(volume, segmentation)
    editor.widget.setCurrentSegmentID("spleen")
    effect = editor.open_effect(EFFECT_FILE)
    effect.engine = lambda: LocalEngine(FakeSegmenter({"liver": 1, "spleen": 2}))
    editor.node.SetSourceVolumeIntensityMaskRange(0.5, 1.5)
    gaps = Gaps()
    for what, segment, mask, in_range, overwriting in (
        ("neighbour", "spleen", "Everywhere", False, "OverwriteNone"),
        ("empty segment", "liver", "Everywhere", False, "OverwriteAllSegments"),
        ("again", "liver", "Everywhere", False, "OverwriteAllSegments"),
        ("outside other segments", "liver", "OutsideAllSegments", False, "OverwriteAllSegments"),
        ("intensity range", "liver", "Everywhere", True, "OverwriteAllSegments"),
    ):
        editor.widget.setCurrentSegmentID(segment)
        editor.node.SetMaskMode(getattr(node_class, f"EditAllowed{mask}"))
        editor.node.SetSourceVolumeIntensityMask(in_range)
        editor.node.SetOverwriteMode(getattr(editor.node, overwriting))
        with gaps.measured(table, f"effect, 300 x 512 x 512: {what}"):
            effect.options.volumeButton.click()
            bench.wait(lambda: not effect.session.is_running, 300)
            bench.spin(0.3)
    editor.leave()


def add_volume(slicer: Any, array: Any, matrix: Any, name: str) -> Any:
    from MedSAM3SceneLib.mrml.transforms import matrix_of

    node = slicer.util.addVolumeFromArray(array, name=name)
    node.SetIJKToRASMatrix(matrix_of(matrix))
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node


def main() -> None:
    """Measure and print."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "MedSAM3Segment"))
    from fake_slicer import open_bench
    from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
    from MedSAM3SegmentLib.synthetic.phantom import make_phantom

    table = Table(title="GUI thread: milliseconds that a 2 ms timer came late")
    for heading in ("what", "seconds", "latest [ms]", "later than 50 ms", "99 of 100 within [ms]"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    with (
        tempfile.TemporaryDirectory() as folder,
        # Undone at the end, or nobody would be told of an error.
        pytest.MonkeyPatch.context() as patches,
        open_bench(patches, Path(folder)) as bench,
    ):
        # An engine of its own, whatever else runs.
        os.environ["MEDSAM3_RUN"] = str(Path(folder) / "run")
        widget = bench.open_panel("MedSAM3Segment")
        array = np.zeros(LARGE, np.int16)
        array[60:200, 100:300, 100:350] = 1
        array[100:160, 350:430, 350:430] = 2
        widget.logic.segmenter = FakeSegmenter({"liver": 1, "spleen": 2}, seconds_a_slice=0.01)
        volume = add_volume(bench.slicer, array, np.diag([-0.8, -0.8, 1.5, 1.0]), "large")
        widget.ui.volumeSelector.setCurrentNode(volume)
        widget.ui.conceptsEdit.plainText = "liver; spleen"
        run_and_measure(bench, widget, table, "300 x 512 x 512, no model")

        measure_slice(bench, widget, table)
        measure_effect(bench, volume, table)

        widget.logic.segmenter = None
        phantom = make_phantom(24).volume
        volume = add_volume(bench.slicer, phantom.array, phantom.grid.ijk_to_ras, "phantom")
        widget.ui.volumeSelector.setCurrentNode(volume)
        widget.ui.segmentationSelector.setCurrentNode(None)
        run_and_measure(bench, widget, table, "phantom, demo model in the engine")
        from MedSAM3SceneLib.engine import connection

        connection.stop()
    Console().print(table)


if __name__ == "__main__":
    main()
