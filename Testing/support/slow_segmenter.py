"""A segmenter that takes its time over each slice and fails when it is told to, for tests of the engine's process.

``SLOW_COMMAND`` runs ``medsam3`` whose engine loads this segmenter instead of a model.
"""

from __future__ import annotations

import sys
import threading
import time

import numpy as np

from MedSAM3SegmentLib.engine.server.model_cache import FeatureCaches, LoadedModel
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.progress import (
    NO_CALLBACKS,
    CancelCheck,
    PartialMask,
    Progress,
    RunCallbacks,
    Stage,
)
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.volume import Volume

from .paths import ROOT, TESTING
from .results import result_of

#: Phrases that make a run fail, and how.
FAILURES: dict[str, type[Exception]] = {
    "out of memory": MemoryError,
    "defect": RuntimeError,
    "bad input": InputError,
    "bad model": ModelError,
}

#: What a defect says; it must never be logged.
SECRET = "Mrs Example of room 7"


class SlowSegmenter:
    """Finds what is above zero, slice by slice.

    Args:
        seconds: to sleep on each slice.

    Attributes:
        concepts: what was asked for, first phrase of each request.
        slices: how many slices were worked on in all.
        free: slices of each run that pass; the one after is worked on until the run is cancelled. None for all.
        held: set once a slice is.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.concepts: list[str] = []
        self.slices = 0
        self.free: int | None = None
        self.held = threading.Event()

    def segment(self, volume: Volume, request: SegmentRequest, callbacks: RunCallbacks = NO_CALLBACKS) -> SegmentResult:
        """Finds what is above zero or, with examples, what has the value that most of the first of a concept has."""
        progress, partial, cancel = callbacks.progress, callbacks.partial, callbacks.cancel
        self.concepts.append(request.concepts[0])
        failure = FAILURES.get(request.concepts[0])
        if failure is not None:
            raise failure(SECRET)
        stack = SliceStack.along(volume.grid, request.plane)
        slices = stack.extract(volume.array)
        for done, index in enumerate(request.slice_range(stack), start=1):
            if cancel is not None and cancel():
                raise Cancelled()
            time.sleep(self.seconds)
            if self.free is not None and done > self.free:
                self._hold(cancel)
            self.slices += 1
            if partial is not None:
                partial(PartialMask(request.concepts[0], index, 0.9, np.asarray(slices[index] > 0)))
            if progress is not None:
                progress(Progress(Stage.SEGMENTING, done, len(request.slice_range(stack)), 0.0))
        masks = dict.fromkeys(request.concepts, np.asarray(volume.array > 0))
        for concept, (example, *_) in request.examples.items():
            values, counts = np.unique(example.volume.array[example.mask], return_counts=True)
            masks[concept] = np.asarray(volume.array == values[counts.argmax()])
        return result_of(volume, masks, request.plane)

    def _hold(self, cancel: CancelCheck | None) -> None:
        self.held.set()
        deadline = time.monotonic() + 60.0
        while cancel is None or not cancel():
            assert time.monotonic() < deadline, "nobody cancelled it"
            time.sleep(0.002)


def load_slow(model: str, device: str, features: FeatureCaches) -> LoadedModel:
    """The seconds per slice are the model's name."""
    del device, features
    return LoadedModel(SlowSegmenter(float(model)), f"slow {model}", "cpu", 1000)


def run_medsam3() -> None:
    """``medsam3`` whose engine loads this segmenter instead of a model."""
    from MedSAM3SegmentLib.cli import main
    from MedSAM3SegmentLib.engine.server import model_cache
    from MedSAM3SegmentLib.model_store import resolve
    from MedSAM3SegmentLib.models import abilities

    model_cache.load_segmenter = load_slow
    abilities.check_abilities = lambda *_: None
    resolve.files_version = lambda _: None
    sys.exit(main.main())


_PATH = [str(TESTING), str(ROOT / "MedSAM3Segment")]

#: Arguments for a Python interpreter that runs ``run_medsam3``; the options of ``medsam3`` follow.
SLOW_COMMAND = (
    "-c",
    f"import sys; sys.path[:0] = {_PATH}; from support.slow_segmenter import run_medsam3; run_medsam3()",
)
