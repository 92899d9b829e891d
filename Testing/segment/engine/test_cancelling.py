"""Cancelling a job of the shipped model through the service: the batch that is under way is the last one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib import segmenter as run
from MedSAM3SegmentLib.detection import detect_slices
from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.process_id import ParentWatch
from MedSAM3SegmentLib.engine.server.job_order import MOST_CONCEPTS
from MedSAM3SegmentLib.engine.server.model_cache import FeatureCaches, LoadedModel, ModelCache
from MedSAM3SegmentLib.engine.server.server import Binding, EngineServer
from MedSAM3SegmentLib.engine.server.volume_store import VolumeStore
from MedSAM3SegmentLib.errors import Cancelled, InputError
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


def test_no_concept_is_asked_for_after_the_one_in_which_it_was_cancelled(
    serving: EngineServer, segmenter: Segmenter, phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be hundreds in one batch of slices."""
    turnstile, detect = Turnstile(free=3), segmenter.model.detect

    def counted(*given, **named):  # type: ignore[no-untyped-def]
        turnstile()
        return detect(*given, **named)

    monkeypatch.setattr(segmenter.model, "detect", counted)
    request = SegmentRequest(tuple(f"structure {number}" for number in range(40)), plane=Plane.AXIAL, slices=(0, 2))
    client = cancel_when_held(serving, phantom, request, turnstile)
    assert turnstile.passed == 4

    assert client.segment(phantom.volume, SegmentRequest(("liver",), plane=Plane.AXIAL)).concepts[0].found


@pytest.mark.parametrize(("stage", "count"), [("phrases", 200), ("assembly", 6)])
def test_cancelling_is_heeded_between_concepts_where_no_slices_are_counted(
    serving: EngineServer,
    segmenter: Segmenter,
    phantom: Phantom,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    count: int,
) -> None:
    turnstile = Turnstile(free=1)
    if stage == "phrases":
        encode = segmenter.model.encode_tokens
        monkeypatch.setattr(segmenter.model, "encode_tokens", lambda **given: (turnstile(), encode(**given))[1])
    else:
        assemble = run.assemble
        monkeypatch.setattr(run, "assemble", lambda *given: (turnstile(), assemble(*given))[1])
    request = SegmentRequest(tuple(f"structure {number}" for number in range(count)), plane=Plane.AXIAL, slices=(0, 1))
    cancel_when_held(serving, phantom, request, turnstile)
    assert turnstile.passed == 2


def test_phrases_are_encoded_as_well_some_at_a_time(
    serving: EngineServer, phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = EngineClient(serving.address, TOKEN, model="demo")
    request = SegmentRequest(("liver", "spleen", "spine", "left kidney", "pancreas"), plane=Plane.AXIAL, slices=(8, 12))
    at_once = client.segment(phantom.volume, request)
    monkeypatch.setattr(detect_slices, "_PHRASES_AT_A_TIME", 2)
    some_at_a_time = client.segment(phantom.volume, request)
    for one, other in zip(at_once.concepts, some_at_a_time.concepts, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
    assert any(concept.found for concept in at_once.concepts)


def test_more_concepts_than_a_run_can_do_are_refused_in_words(serving: EngineServer, phantom: Phantom) -> None:
    client = EngineClient(serving.address, TOKEN, model="demo")
    request = SegmentRequest(tuple(f"structure {number}" for number in range(MOST_CONCEPTS + 1)))
    with pytest.raises(InputError, match=f"{MOST_CONCEPTS + 1} concepts were asked for.*takes {MOST_CONCEPTS}"):
        client.segment(phantom.volume, request)
    with pytest.raises(InputError, match="A phrase is longer than the 1000 characters"):
        client.segment(phantom.volume, SegmentRequest(("liver " * 1000,)))
    with pytest.raises(InputError, match="bytes of text"):
        client.segment(phantom.volume, SegmentRequest(tuple("x" * 900 + str(number) for number in range(30_000))))
