"""Cancelling a job of the shipped model through the service: the batch that is under way is the last one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.process_id import ParentWatch
from MedSAM3SegmentLib.engine.server.model_cache import FeatureCaches, LoadedModel, ModelCache
from MedSAM3SegmentLib.engine.server.server import Binding, EngineServer
from MedSAM3SegmentLib.engine.server.volume_store import VolumeStore
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.models.tracking_session import TrackingSession
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, TargetPrompts
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.phantom import Phantom, make_phantom, tilted_grid
from support.engine_server import TOKEN, wait_until


@dataclass
class Turnstile:
    """Lets a few calls through and holds the one after, until it is opened.

    Attributes:
        free: calls that pass at once.
        passed: calls so far.
        held: set while one waits.
    """

    free: int
    passed: int = 0
    held: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        self.passed += 1
        if self.passed > self.free and not self.opened.is_set():
            self.held.set()
            assert self.opened.wait(60)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load("demo", "cpu")


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(100_050, tilted_grid((24, 64, 64), (5.8, 5.8, 8.0)))


@pytest.fixture
def serving(segmenter: Segmenter, tmp_path: Path) -> Iterator[EngineServer]:
    def load(model: str, device: str, features: FeatureCaches) -> LoadedModel:
        del features
        return LoadedModel(segmenter, model, device, 10_000_000)

    serving = EngineServer(Binding(), TOKEN, ModelCache(load, 10**9), VolumeStore(10**8, tmp_path), ParentWatch())
    serving.start()
    yield serving
    assert serving.stop()


def cancel_when_held(
    serving: EngineServer, phantom: Phantom, request: SegmentRequest, turnstile: Turnstile
) -> EngineClient:
    """Cancel while a call waits at the turnstile, and let it go on only when the service knows."""
    client = EngineClient(serving.address, TOKEN, model="demo")
    job = client.submit(phantom.volume, request)
    wait_until(turnstile.held.is_set, 60)
    told = threading.Event()
    send = job._send_cancel

    def send_and_tell(job: object) -> None:
        send(job)  # type: ignore[arg-type]
        told.set()

    job._send_cancel = send_and_tell  # type: ignore[assignment]
    job.cancel()
    assert told.wait(20)
    turnstile.opened.set()
    with pytest.raises(Cancelled):
        job.wait(60)
    return client


def test_no_batch_begins_after_the_one_in_which_it_was_cancelled(
    serving: EngineServer, segmenter: Segmenter, phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    turnstile, encode = Turnstile(free=2), segmenter.model.encode_images

    def counted(pixels):  # type: ignore[no-untyped-def]
        turnstile()
        return encode(pixels)

    monkeypatch.setattr(segmenter.model, "encode_images", counted)
    client = cancel_when_held(serving, phantom, SegmentRequest(("liver",), plane=Plane.AXIAL), turnstile)
    assert turnstile.passed == 3

    found = client.segment(phantom.volume, SegmentRequest(("liver",), plane=Plane.AXIAL))
    assert found.concepts[0].found
    # All slices but the few that had been encoded before.
    assert turnstile.passed > 3


def test_no_slice_is_tracked_after_the_one_in_which_it_was_cancelled(
    serving: EngineServer, phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    spine = phantom.masks["spine"]
    drawn = np.zeros_like(spine)
    drawn[2] = spine[2]
    prompts = {"spine": TargetPrompts(masks=(MaskPromptRAS(drawn),), is_phrase=False)}
    request = SegmentRequest(("spine",), plane=Plane.AXIAL, mode=Mode.FROM_PROMPTS, prompts=prompts)
    turnstile, step = Turnstile(free=4), TrackingSession.step

    def counted(self, *given, **named):  # type: ignore[no-untyped-def]
        turnstile()
        return step(self, *given, **named)

    monkeypatch.setattr(TrackingSession, "step", counted)
    client = cancel_when_held(serving, phantom, request, turnstile)
    assert turnstile.passed == 5

    assert client.segment(phantom.volume, request).concepts[0].found
