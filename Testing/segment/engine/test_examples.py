"""Segmenting by examples over a real socket: what arrives, what is sent how often, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from MedSAM3SegmentLib.engine.client import volume_upload
from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.process_id import ParentWatch
from MedSAM3SegmentLib.engine.server.model_cache import ModelCache, load_segmenter
from MedSAM3SegmentLib.engine.server.server import Binding, EngineServer
from MedSAM3SegmentLib.engine.server.volume_store import VolumeStore
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.models.abilities import check_abilities
from MedSAM3SegmentLib.progress import (
    PartialMask,
    Progress,
    RunCallbacks,
    Stage,
)
from MedSAM3SegmentLib.prompts.examples import Example
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.resources import resource_path
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.phantom import Phantom, make_phantom
from MedSAM3SegmentLib.volume import Volume
from support.engine_server import TOKEN, Engine, uploads, volume_of, wait_until, works
from support.equality import assert_same
from support.slow_segmenter import SlowSegmenter

IT = SegmentRequest(("it",))


def example_in(volume: Volume, value: int = 2, slices: tuple[int, ...] | None = None) -> Example:
    return Example(volume, np.asarray(volume.array == value), slices)


@pytest.mark.parametrize("same_disk", [True, False])
def test_the_segmenter_sees_examples_as_they_were_given(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, same_disk: bool
) -> None:
    if not same_disk:
        monkeypatch.setattr(volume_upload, "_file_of_store", lambda _: None)
    volume, other = volume_of(), volume_of(1, (5, 9, 7), np.float32)
    request = SegmentRequest(("it", "that"), plane=Plane.CORONAL)
    examples = {"it": (example_in(volume, 2, (1, 3)), example_in(other)), "that": (example_in(other, -2),)}
    seen: list[tuple[Any, ...]] = []
    segment = engine.slow.segment

    def look(volume: Volume, request: SegmentRequest, callbacks: RunCallbacks) -> SegmentResult:
        seen.append((volume, request.examples, replace(request, examples={})))
        return segment(volume, request, callbacks)

    engine.slow.segment = look
    result = engine.client().segment(volume, replace(request, examples=examples))

    assert_same(seen[0], (volume, examples, request))
    assert [one.volume.content_hash for one in seen[0][1]["it"]] == [volume.content_hash, other.content_hash]
    assert_same(result, SlowSegmenter().segment(volume, replace(request, examples=examples)))


def test_the_volumes_of_examples_are_sent_once_as_any_other(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = uploads(monkeypatch)
    volume, other = volume_of(), volume_of(1)
    client = engine.client()
    client.segment(volume, replace(IT, examples={"it": [example_in(other)]}))
    assert ways == ["file"] * 2
    client.segment(volume, replace(IT, examples={"it": [example_in(other, 1), example_in(volume)]}))
    client.segment(other, replace(IT, examples={"it": [example_in(volume)]}))
    client.segment(other, IT)
    assert ways == ["file"] * 2


def test_a_request_that_does_not_fit_examples_is_refused_before_any_upload(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = uploads(monkeypatch)
    volume = volume_of()
    examples = {"it": [example_in(volume)]}
    for request, words in (
        (SegmentRequest(("it", "that")), "'that'"),
        (SegmentRequest(("it",), more_planes=(Plane.CORONAL,)), "more planes"),
        (SegmentRequest(("it",), inside="liver"), "say nothing of 'liver'"),
    ):
        with pytest.raises(InputError, match=words):
            engine.client().segment(volume, replace(request, examples=examples))
    with pytest.raises(InputError, match="no example"):
        engine.client().submit(volume, replace(IT, examples={"it": []}))
    assert ways == []
    assert engine.slow.concepts == []


def test_an_example_that_does_not_fit_its_volume_is_refused_by_the_service(engine: Engine) -> None:
    """As another program's client may send it."""
    volume = volume_of()
    example = example_in(volume)
    for mask, words in ((np.ones((6, 8, 9), bool), "own voxels"), (np.zeros((6, 8, 10), bool), "is empty")):
        object.__setattr__(example, "mask", mask)
        with pytest.raises(InputError, match=words):
            engine.client().segment(volume, replace(IT, examples={"it": [example]}))
    works(engine)


def test_two_volumes_the_engine_cannot_keep_at_once_are_refused_in_words(tmp_path: Path) -> None:
    volume, other = volume_of(), volume_of(1)
    engine = Engine(tmp_path, volume_budget=volume.array.nbytes + 1)
    try:
        with pytest.raises(InputError, match="--volume-budget"):
            engine.client().segment(volume, replace(IT, examples={"it": [example_in(other)]}))
        works(engine)
    finally:
        engine.serving.stop()


def test_a_stored_example_is_not_dropped_to_make_room_for_the_volume(tmp_path: Path) -> None:
    shown, between, volume = (volume_of(seed) for seed in range(3))
    engine = Engine(tmp_path, volume_budget=2 * volume.array.nbytes)
    try:
        for known in (shown, between):
            engine.client().segment(known, IT)
        result = engine.client().segment(volume, replace(IT, examples={"it": [example_in(shown)]}))
        assert result.concepts[0].found
    finally:
        engine.serving.stop()


def test_progress_partial_results_and_cancel_are_those_of_any_job(engine: Engine) -> None:
    volume = volume_of()
    examples = {"it": [example_in(volume_of(1))]}
    steps: list[Progress] = []
    shown: list[PartialMask] = []
    engine.client().segment(
        volume, replace(IT, examples=examples), RunCallbacks(progress=steps.append, partial=shown.append)
    )
    assert [step.done for step in steps] == [mask.slice_index + 1 for mask in shown] == [1, 2, 3, 4, 5, 6]
    engine.slow.free, before = 8, engine.slow.slices
    with pytest.raises(Cancelled):
        engine.client().segment(
            volume_of(2, (400, 4, 4)), replace(IT, examples=examples), RunCallbacks(cancel=engine.slow.held.is_set)
        )
    wait_until(lambda: engine.client().status().running == 0)
    assert engine.slow.slices == before + 9, "the one that was worked on is the last"


@pytest.fixture(scope="module")
def phantoms() -> tuple[Phantom, Phantom]:
    """Of seeds that the demo model was not trained on."""
    return make_phantom(5001), make_phantom(5002)


@pytest.fixture
def serve(tmp_path: Path) -> Any:
    engines: list[EngineServer] = []

    def serve(model: str) -> EngineClient:
        serving = EngineServer(
            Binding(),
            TOKEN,
            ModelCache(load_segmenter, check=check_abilities),
            VolumeStore(10**9, tmp_path),
            ParentWatch(),
        )
        engines.append(serving)
        serving.start()
        return EngineClient(serving.address, TOKEN, model=model, device="cpu")

    yield serve
    for serving in engines:
        assert serving.stop()


def test_the_demo_model_finds_an_organ_from_another_body_and_one_slice(
    serve: Callable[[str], EngineClient], phantoms: tuple[Phantom, Phantom]
) -> None:
    """The same as in this process; one drawn slice stays as it is and is carried to the others."""
    old, new = phantoms
    drawn = np.zeros(new.volume.grid.shape, bool)
    middle = int(np.median(np.flatnonzero(new.masks["liver"].any(axis=(1, 2)))))
    drawn[middle] = new.masks["liver"][middle]
    request = SegmentRequest(("it",), slices=(middle - 5, middle + 6))
    there = np.arange(len(drawn))[:, None, None]
    truth = new.masks["liver"] & (middle - 5 <= there) & (there < middle + 6)
    client = serve("demo")
    reports: list[Progress] = []
    shown: list[PartialMask] = []
    for example in (Example(old.volume, old.masks["liver"], tuple(range(10, 30, 2))), Example(new.volume, drawn)):
        result = client.segment(
            new.volume,
            replace(request, examples={"it": [example]}),
            RunCallbacks(progress=reports.append, partial=shown.append),
        )
        mask = result.concepts[0].mask
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.8
        looking = [report for report in reports if report.stage is Stage.SEGMENTING]
        assert looking[-1].done == looking[-1].total
    alone = Segmenter.load("demo", "cpu").segment(new.volume, replace(request, examples={"it": [example]}))
    assert_same(result.concepts, alone.concepts)
    assert np.array_equal(mask[middle], drawn[middle])
    assert {piece.slice_index for piece in shown} == set(range(middle - 5, middle + 6))
    assert result.provenance.prompts == {"it": f"1 example ({new.volume.name})"}


def test_a_model_without_a_tracker_is_said_in_words_before_it_is_loaded(
    serve: Callable[[str], EngineClient], tiny_model_folder: Path
) -> None:
    volume = volume_of(shape=(7, 20, 24))
    client = serve(str(tiny_model_folder))
    with pytest.raises(ModelError, match="no tracker, which segmenting by examples needs"):
        client.segment(volume, replace(IT, examples={"it": [example_in(volume_of(1, (7, 20, 24)))]}))
    with pytest.raises(ModelError, match="no tracker, which the mode 'propagate' needs"):
        client.segment(volume, SegmentRequest(("it",), mode=Mode.PROPAGATE))
    assert client.status().model is None
    client.segment(volume, SegmentRequest(("it",), slices=(0, 1)))
    assert client.status().has_tracker is False
    drawn = np.zeros(volume.grid.shape, bool)
    drawn[[1, 5], 4:12, 5:15] = True
    result = client.segment(volume, replace(IT, examples={"it": [Example(volume, drawn)]}))
    assert result.concepts[0].mask[1:6, 8, 10].all(), "slices of the volume itself are filled between without one"
    assert any("only filled between its drawn slices" in said for said in result.messages)


def test_the_tracker_is_part_of_what_is_said_of_a_model(serve: Callable[[str], EngineClient]) -> None:
    client = serve("demo")
    client.segment(volume_of(shape=(3, 20, 24)), SegmentRequest(("it",), slices=(0, 1)))
    status = client.status()
    assert status.has_tracker is True
    (models,) = [cache for cache in status.caches if cache.name == "models"]
    with safe_open(str(resource_path("demo-model") / "model.safetensors"), "np") as file:
        numbers = sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    assert models.bytes_held == pytest.approx(4 * numbers, rel=0.001), "each number in float32 on the CPU"
