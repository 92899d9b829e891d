"""The effect in a Segment Editor on the bench, over a volume whose voxel values are labels; for tests."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SceneLib.engine.local_engine import LocalEngine
from MedSAM3SceneLib.segments.prompts import read_prompts
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.progress import NO_CALLBACKS, RunCallbacks
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS, PointPromptRAS

from .nodes import add_segmentation, add_volume

SHAPE = (8, 40, 40)
LATTICE = np.diag([1.0, 1.0, 2.0, 1.0])


def block(first: tuple[int, int, int], end: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Bool ``[k, j, i]`` of a box, ends not included."""
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(a, b) for a, b in zip(first, end, strict=True))] = True
    return mask


LIVER = block((1, 8, 10), (7, 24, 26))
SPLEEN = block((2, 28, 28), (5, 36, 36))


class HeldSegmenter(FakeSegmenter):
    """Finds as the fake one does, and waits before a slice until it may go on or is cancelled.

    Args:
        after: slices that it does before it waits.

    Attributes:
        asked: set when it waits.
        may: lets it go on.
    """

    def __init__(self, values: dict[str, int], after: int = 0) -> None:
        super().__init__(values)
        self._after = after
        self.asked, self.may = threading.Event(), threading.Event()

    def segment(self, volume: Any, request: Any, callbacks: RunCallbacks = NO_CALLBACKS) -> Any:
        slices = itertools.count()

        def hold() -> bool:
            if next(slices) == self._after:
                self.asked.set()
                until = time.monotonic() + 120
                while not self.may.wait(0.005):
                    if callbacks.cancel():
                        return True
                    assert time.monotonic() < until, "nobody let it go on"
            return bool(callbacks.cancel())

        return super().segment(volume, request, replace(callbacks, cancel=hold))


def open_effect(bench: Any) -> SimpleNamespace:
    """The effect, active on the empty segment ``liver`` of a segmentation that has a spleen too."""
    # It needs Qt under Slicer's names, which the bench brings.
    from SegmentEditorMedSAM3Lib.registration import EFFECT_FILE

    volume = add_volume(LIVER.astype(np.int16) + 2 * SPLEEN.astype(np.int16), LATTICE)
    segmentation = add_segmentation(volume, {"spleen": SPLEEN})
    segmentation.GetSegmentation().AddEmptySegment("liver", "liver")
    editor = bench.segment_editor(volume, segmentation)
    editor.widget.setCurrentSegmentID("liver")
    for name in ("Red", "Green", "Yellow"):
        node = bench.app.layoutManager().sliceWidget(name).mrmlSliceNode()
        node.SetDimensions(320, 320, 1)
        node.SetFieldOfView(80, 80, 1)
        node.JumpSliceByCentering(20.0, 20.0, 6.0)
    effect = editor.open_effect(EFFECT_FILE)
    segmenter = FakeSegmenter({"liver": 1, "spleen": 2})
    effect.engine = lambda: LocalEngine(segmenter)
    return SimpleNamespace(
        bench=bench, volume=volume, segmentation=segmentation, editor=editor, effect=effect, segmenter=segmenter
    )


def segment_of(opened: SimpleNamespace, name: str = "liver") -> Any:
    """A segment by its ID."""
    return opened.segmentation.GetSegmentation().GetSegment(name)


def options(opened: SimpleNamespace) -> Any:
    """The effect's widgets."""
    return opened.effect.options


def is_running(opened: SimpleNamespace) -> bool:
    """Whether an action of the effect is on its way."""
    return opened.effect.session is not None and bool(opened.effect.session.is_running)


def finish(opened: SimpleNamespace) -> None:
    """Wait for the action to end."""
    opened.bench.wait(lambda: not is_running(opened))


def pixel_of(opened: SimpleNamespace, view: str, place: tuple[float, float, float]) -> tuple[int, int]:
    """The pixel of a slice view over a place in the world."""
    node = opened.bench.app.layoutManager().sliceWidget(view).mrmlSliceNode()
    matrix = node.GetXYToRAS()
    to_world = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    x, y, _, _ = np.linalg.inv(to_world) @ [*place, 1.0]
    return round(x), round(y)


def marks_of(opened: SimpleNamespace, name: str = "liver") -> tuple[PointPromptRAS | BoxPromptRAS, ...]:
    """The marks of a segment."""
    return read_prompts(segment_of(opened, name))


def lines_in(opened: SimpleNamespace, view: str) -> tuple[int, int]:
    """How many lines of marks a slice view shows, positive and negative ones."""
    from SegmentEditorMedSAM3Lib.prompt_glyphs import NEGATIVE_COLOR, POSITIVE_COLOR

    renderer = opened.effect.scriptedEffect.renderer(opened.bench.app.layoutManager().sliceWidget(view))
    count = {POSITIVE_COLOR: 0, NEGATIVE_COLOR: 0}
    for number in range(renderer.GetViewProps().GetNumberOfItems()):
        prop = renderer.GetViewProps().GetItemAsObject(number)
        color = prop.GetProperty().GetColor() if prop.IsA("vtkActor2D") else None
        if color in count:
            count[color] += prop.GetMapper().GetInput().GetNumberOfLines()
    return count[POSITIVE_COLOR], count[NEGATIVE_COLOR]
