"""The panel on the bench, with a segmenter without a model and a volume whose voxel values are labels; for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SceneLib.coroutines import run_steps_to_end
from MedSAM3SceneLib.editing.preview_node import PREVIEW_ATTRIBUTE
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.engine.local_engine import LocalEngine
from MedSAM3SceneLib.runs.edit_actions import EditAction
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter

from .effect import HeldSegmenter
from .nodes import add_volume, segment_in_world, segments

#: The voxel value of each concept.
VALUES = {"liver": 1, "left kidney": 2}

#: What is said of the window that the phantom is seen through.
SEEN = "Seen through a window from the image's values (0 to 2, percentiles 1-99)."

LATTICE = np.diag([-2.0, -2.0, 3.0, 1.0])


def phantom(name: str = "ct") -> tuple[Any, NDArray[np.int16]]:
    """A volume node and its voxels ``[k, j, i]``: 1 in the liver, 2 in the left kidney."""
    array = np.zeros((12, 20, 22), np.int16)
    array[2:9, 2:10, 2:12] = 1
    array[3:8, 12:18, 14:20] = 2
    return add_volume(array, ijk_to_ras=LATTICE, name=name), array


def open_panel(bench: Any, segmenter: FakeSegmenter | None = None) -> Any:
    """The panel with a fake segmenter; what it needs is installed."""
    widget = bench.open_panel("MedSAM3Segment")
    widget.logic.segmenter = segmenter or FakeSegmenter(VALUES)
    return widget


def held_after(slices: int) -> HeldSegmenter:
    """A segmenter that waits after some slices of the twelve until it may go on."""
    return HeldSegmenter(VALUES, after=slices)


def begin(bench: Any, segmenter: FakeSegmenter, segmentation: Any = None) -> Any:
    """The panel, in which a run on the liver was begun, into a segmentation or a new one."""
    widget = open_panel(bench, segmenter)
    widget.ui.conceptsEdit.plainText = "liver"
    if segmentation is not None:
        widget.panel.form.parameters.segmentation = segmentation
    widget.ui.applyButton.click()
    return widget


def run(bench: Any, widget: Any, concepts: str = "liver; left kidney") -> None:
    """Type the concepts, click, and wait for the end, and for what showed it on the way to be gone."""
    widget.ui.conceptsEdit.plainText = concepts
    widget.ui.applyButton.click()
    bench.wait(lambda: not widget.panel.is_busy)
    bench.wait(lambda: not segmentations(bench.slicer.mrmlScene, previews=True))


def segmentations(scene: Any, previews: bool = False) -> list[Any]:
    """The segmentation nodes of a scene, without previews or previews alone."""
    nodes = [
        scene.GetNthNodeByClass(n, "vtkMRMLSegmentationNode")
        for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"))
    ]
    return [node for node in nodes if bool(node.GetAttribute(PREVIEW_ATTRIBUTE)) is previews]


def shown_voxels(scene: Any, concept: str) -> int:
    """How many voxels of a concept the preview shows."""
    (preview,) = segmentations(scene, previews=True) or (None,)
    return 0 if preview is None else len(segment_in_world(preview, segments(preview)[concept]))


def show_slice(bench: Any, volume: Any, index: int, view: str = "Red", axis: int = 0) -> Any:
    """Let a view show a slice of the phantom, and be the one that is meant; its node is returned."""
    widget = bench.slicer.modules.MedSAM3SegmentWidget
    bench.slicer.util.setSliceViewerLayers(background=volume, fit=True)
    node = bench.app.layoutManager().sliceWidget(view).mrmlSliceNode()
    place = LATTICE @ [*np.roll([index, 0, 0], axis)[::-1], 1]
    node.JumpSliceByOffsetting(*(float(millimetres) for millimetres in place[:3]))
    widget.ui.viewSelector.setCurrentIndex(widget.ui.viewSelector.findText(view))
    return node


def cells(table: Any) -> list[list[str]]:
    """The texts of the table of results, row by row."""
    return [[table.item(row, column).text() for column in range(4)] for row in range(table.rowCount)]


def move_threshold(bench: Any, widget: Any, threshold: float) -> None:
    """Drag the threshold, let go, and wait for what is written."""
    widget.ui.thresholdSlider.bench_drag_to(threshold)
    widget.ui.thresholdSlider.bench_let_go()
    bench.wait(lambda: not widget.panel.is_busy)


def draw(node: Any, volume: Any, name: str, mask: NDArray[np.bool_]) -> None:
    """Let a person's tool make a segment hold ``mask`` ``[k, j, i]``."""
    writer = SegmentWriter()
    writer.begin(node, volume)
    run_steps_to_end(writer.write(segments(node)[name], mask, LATTICE))


def fill_by_effect(bench: Any, volume: Any, node: Any) -> None:
    """Let the effect make the liver of a segmentation hold the voxels of the left kidney."""
    from SegmentEditorMedSAM3Lib.registration import EFFECT_FILE

    editor = bench.segment_editor(volume, node)
    editor.widget.setCurrentSegmentID(segments(node)["liver"])
    effect = editor.open_effect(EFFECT_FILE)
    effect.engine = lambda: LocalEngine(FakeSegmenter({"liver": VALUES["left kidney"]}))
    effect.session.act(EditAction.WHOLE_VOLUME)
    bench.wait(lambda: not effect.session.is_running)
    editor.leave()
