"""The engine as a segmenter that is waited for, on the agent's own thread."""

from __future__ import annotations

import time
from typing import Any

from MedSAM3SceneLib.engine.local_engine import Engine
from MedSAM3SegmentLib.engine.protocol.events import Advanced, Done, Failed, PartialArrived, WasCancelled
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.progress import NO_CALLBACKS, RunCallbacks
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.volume import Volume

#: Seconds between two looks at a job.
_POLL_S = 0.02


class EngineSegmenter:
    """Hands each request to an engine and waits for its result; never call it on the thread of the window.

    Args:
        engine: who takes requests.
        model, device: as ``Engine.submit`` takes them.
    """

    def __init__(self, engine: Engine, model: str, device: str) -> None:
        self._engine = engine
        self._model = model
        self._device = device

    def segment(self, volume: Volume, request: SegmentRequest, callbacks: RunCallbacks = NO_CALLBACKS) -> SegmentResult:
        """See ``backend.SegmenterProtocol``."""
        cancel = callbacks.cancel
        job = self._engine.submit(volume, request, model=self._model, device=self._device)
        is_cancelled = False
        while True:
            if not is_cancelled and cancel is not None and cancel():
                is_cancelled = True
                job.cancel()
            for event in job.poll():
                result = _heard(event, callbacks)
                if result is not None:
                    return result
            time.sleep(_POLL_S)


def _heard(event: Any, callbacks: RunCallbacks) -> SegmentResult | None:
    match event:
        case Done(result=result):
            return result
        case WasCancelled(message=said):
            raise Cancelled(said)
        case Failed():
            raise event.error
        case Advanced(progress=progress) if callbacks.progress is not None:
            callbacks.progress(progress)
        case PartialArrived(partial=partial) if callbacks.partial is not None:
            callbacks.partial(partial)
    return None
