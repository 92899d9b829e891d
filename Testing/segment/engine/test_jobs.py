"""Jobs over a real socket: results to the last field, events in order, volumes sent once, models kept."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAM3SegmentLib.checkpoints.hashing import file_sha256
from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.process_id import ParentWatch
from MedSAM3SegmentLib.engine.protocol.events import (
    Advanced,
    Done,
    Event,
    Loading,
    PartialArrived,
    Queued,
)
from MedSAM3SegmentLib.engine.protocol.messages import read_events
from MedSAM3SegmentLib.engine.server import event_stream
from MedSAM3SegmentLib.engine.server.model_cache import FeatureCaches, ModelCache, load_segmenter
from MedSAM3SegmentLib.engine.server.server import Binding, EngineServer
from MedSAM3SegmentLib.engine.server.volume_store import VolumeStore
from MedSAM3SegmentLib.errors import (
    Cancelled,
    EngineError,
    InputError,
    ModelError,
)
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.model_store.resolve import files_version
from MedSAM3SegmentLib.progress import PartialMask, Progress, RunCallbacks
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.volume import Volume
from support.engine_server import LIVER, TOKEN, Engine, volume_of, wait_until, works
from support.equality import assert_same
from support.results import axial_grid, result_of
from support.slow_segmenter import SECRET, SlowSegmenter
from support.tiny_model import TINY_SCORE


def test_the_result_is_the_segmenters_to_the_last_field(engine: Engine) -> None:
    volume = volume_of()
    request = SegmentRequest(("liver", "spleen"), plane=Plane.CORONAL, slices=(1, 5), threshold=0.25)

    result = engine.client().segment(volume, request)

    assert_same(result, SlowSegmenter().segment(volume, request))


@pytest.mark.parametrize("inside", [np.eye(4, 6, dtype=bool)[:, None, :].repeat(5, axis=1), "liver", "abdomen"])
@pytest.mark.parametrize("color", [False, True])
def test_the_segmenter_sees_volume_and_request_as_they_were_sent(
    engine: Engine, color: bool, inside: np.ndarray | str
) -> None:
    array = np.random.default_rng(5).integers(0, 255, (4, 5, 6, 3) if color else (4, 5, 6)).astype(np.uint8)
    said = (message("Two sentences."), message("Or {count}.", count="one"))
    volume = Volume(array, axial_grid((4, 5, 6)), "US", "cine", said, is_sequence=True)
    request = SegmentRequest(("liver", "spleen"), inside=inside)
    seen: list[tuple[Volume, SegmentRequest]] = []
    segment = engine.slow.segment

    def look(*given: Any) -> SegmentResult:
        seen.append(given[:2])
        return segment(volume_of(), *given[1:])

    engine.slow.segment = look
    engine.client().segment(volume, request)

    assert_same(seen[0], (volume, request))
    assert seen[0][0].content_hash == volume.content_hash


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "<u2", "<i4", "<f4", ">f4", "<f8"])
def test_voxels_of_every_kind_arrive(engine: Engine, dtype: str) -> None:
    array = np.random.default_rng(1).integers(0, 2, (3, 4, 5)).astype(dtype)
    result = engine.client().segment(Volume(array, axial_grid(array.shape)), LIVER)
    np.testing.assert_array_equal(result.concepts[0].mask, array > 0)


def test_voxels_that_lie_in_memory_in_any_order_arrive(engine: Engine) -> None:
    array = np.random.default_rng(1).integers(-3, 4, (9, 8, 7)).astype(np.int16).transpose(2, 0, 1)[:, ::-1, ::2]
    result = engine.client().segment(Volume(array, axial_grid(array.shape)), LIVER)
    np.testing.assert_array_equal(result.concepts[0].mask, array > 0)


def test_events_tell_the_whole_story_in_order(engine: Engine) -> None:
    volume = volume_of()
    job = engine.client().submit(volume, LIVER)
    result = job.wait(20)
    events = job.poll()

    assert isinstance(events[0], Queued)
    kinds = [type(event) for event in events if not isinstance(event, Queued)]
    assert kinds == [Loading, *[PartialArrived, Advanced] * 6, Done]
    shown = [event.partial for event in events if isinstance(event, PartialArrived)]
    for partial in shown:
        np.testing.assert_array_equal(partial.mask, result.stack.extract(volume.array > 0)[partial.slice_index])
    assert [event.progress.done for event in events if isinstance(event, Advanced)] == [1, 2, 3, 4, 5, 6]
    assert job.poll() == []


def test_a_model_is_loaded_once_and_callbacks_run_in_the_callers_thread(engine: Engine) -> None:
    client, threads = engine.client(), set()
    steps: list[Progress] = []

    def progress(step: Progress) -> None:
        threads.add(threading.get_ident())
        steps.append(step)

    client.segment(volume_of(), LIVER, RunCallbacks(progress))
    client.segment(volume_of(), LIVER, RunCallbacks(progress))

    assert engine.loaded == ["demo"]
    assert [step.done for step in steps] == [1, 2, 3, 4, 5, 6] * 2
    assert threads == {threading.get_ident()}


def test_a_callback_that_raises_cancels_the_job(engine: Engine) -> None:
    engine.slow.free = 1

    def progress(_: Progress) -> None:
        wait_until(engine.slow.held.is_set)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        engine.client().segment(volume_of(shape=(400, 4, 4)), LIVER, RunCallbacks(progress))
    wait_until(lambda: engine.client().status().running == 0)
    assert engine.slow.slices == 2, "the one that was worked on is the last"


@pytest.mark.parametrize(
    ("phrase", "error"), [("bad input", InputError), ("bad model", ModelError), ("defect", EngineError)]
)
def test_errors_keep_their_kind(engine: Engine, phrase: str, error: type[Exception]) -> None:
    with pytest.raises(error) as failure:
        engine.client().segment(volume_of(), SegmentRequest((phrase,)))
    assert (SECRET in str(failure.value)) == (phrase != "defect")
    works(engine)


def test_memory_that_runs_out_empties_the_caches_and_the_next_job_works(engine: Engine) -> None:
    engine.client().segment(volume_of(), LIVER)
    with pytest.raises(InputError, match="Memory ran out"):
        engine.client().segment(volume_of(), SegmentRequest(("out of memory",)))
    assert engine.client().status().model is None
    works(engine)


def test_memory_that_cannot_be_given_back_holds_up_no_job(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an error of the GPU, which every later call to it repeats."""

    def fail() -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    with monkeypatch.context() as patch:
        patch.setattr(engine.shelf, "clear", fail)
        with pytest.raises(InputError, match="Memory ran out"):
            engine.client().submit(volume_of(), SegmentRequest(("out of memory",))).wait(20)
        engine.client().unload()
        works(engine)


def test_events_for_a_slow_client_are_bounded_and_include_the_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_stream, "_MAX_WAITING_FRAMES", 20_000)
    mask = np.random.default_rng(0).random((100, 100)) > 0.5
    done = Done(result_of(volume_of(), {"liver": np.asarray(volume_of().array > 0)}, Plane.ACQUIRED))

    class Reader:
        async def is_disconnected(self) -> bool:
            return False

    async def late() -> list[Event | None]:
        frames = event_stream.EventStream(compress=False)
        for index in range(1000):
            frames.tell(PartialArrived(PartialMask("liver", index, 0.9, mask)))
        frames.tell(done)
        await asyncio.sleep(0)
        assert sum(len(frame) for frame in frames._frames._queue if frame) < 20_000 + 10_000
        return list(read_events(iter([piece async for piece in frames.until_the_end(Reader())])))

    events = asyncio.run(late())
    assert [type(event) for event in events[:-1]] == [PartialArrived] * (len(events) - 1)
    assert 5 < len(events) < 20
    assert_same(done, events[-1])


def test_models_used_least_recently_go_first(tmp_path: Path) -> None:
    engine = Engine(tmp_path, model_budget=10**9)  # two of them
    client = engine.client()
    try:
        for model in ("a", "b", "a", "c", "a", "b"):
            client.submit(volume_of(), LIVER, model=model).wait(20)
        assert engine.loaded == ["a", "b", "c", "b"]
        assert client.status().caches[0].bytes_held == 800_000_000
    finally:
        engine.serving.stop()


def test_unload_lets_go_of_models(engine: Engine) -> None:
    client = engine.client()
    client.segment(volume_of(), LIVER)
    assert client.status().model == "demo"
    client.unload()
    wait_until(lambda: client.status().model is None)
    assert client.status().caches[0].bytes_held == 0
    works(engine)


def test_an_engine_that_is_gone_is_said_in_one_sentence(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    client = engine.client()
    engine.slow.seconds = 0.05
    job = client.submit(volume_of(shape=(400, 4, 4)), LIVER)
    wait_until(lambda: engine.slow.slices > 0)
    engine.serving.stop()
    with pytest.raises((Cancelled, EngineError)):
        job.wait(20)
    assert engine.serving.ended.wait(20)
    with pytest.raises(EngineError, match="does not answer"):
        client.segment(volume_of(), LIVER)
    assert engine.serving.stop()


def test_a_port_that_is_taken_is_said_in_words(engine: Engine, tmp_path: Path) -> None:
    port = int(engine.address.rpartition(":")[2])
    store = VolumeStore(1000, tmp_path)
    with pytest.raises(InputError, match="--port"):
        EngineServer(Binding(port=port), TOKEN, engine.shelf, store, ParentWatch())
    store.close()


def test_a_model_whose_files_were_changed_is_loaded_again(tiny_model_folder: Path, tmp_path: Path) -> None:
    """As by training it further; until then it is loaded once."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "trained"
    shutil.copytree(tiny_model_folder, folder)
    shelf = ModelCache(load_segmenter, version=files_version)
    first = shelf.get(str(folder), "cpu")
    assert shelf.get(str(folder), "cpu") is first
    weights = {name: value * 2 for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "checksums.json").unlink()

    assert not shelf.has(str(folder), "cpu")
    second = shelf.get(str(folder), "cpu")

    hashes = [each.segmenter.segment(volume_of(), LIVER).provenance.model.sha256 for each in (first, second)]
    assert hashes[0] != hashes[1] == file_sha256(folder / "model.safetensors")
    assert shelf.get(str(folder), "cpu") is second
    assert shelf.uses()[0].items == 1
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match="trained"):
        shelf.get(str(folder), "cpu")


def test_a_draft_is_a_model_of_its_own_beside_the_whole_one(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder, volume = str(tiny_model_folder), volume_of(shape=(3, 20, 24))
    whole, draft = SegmentRequest(("liver",), threshold=0.1), SegmentRequest(("liver",), threshold=0.1, draft=True)
    serving = EngineServer(Binding(), TOKEN, ModelCache(load_segmenter), VolumeStore(10**8, tmp_path), ParentWatch())
    serving.start()
    try:
        client = EngineClient(serving.address, TOKEN)
        first, quick, again = (
            client.submit(volume, request, model=folder, device="cpu").wait(120) for request in (whole, draft, whole)
        )
        held = {(use.name, use.place): use.items for use in client.status().caches}
    finally:
        assert serving.stop()

    assert held["models", "RAM"] == 2
    assert_same(first.concepts, again.concepts)
    segmenter = Segmenter.load(folder, "cpu", resolution="draft")
    assert_same(quick.concepts, segmenter.segment(volume, draft).concepts)
    assert_same(quick.concepts, segmenter.segment(volume, whole).concepts)
    said = "in place of the model's own"
    assert said in quick.provenance.skipped
    assert any(said in str(one) for one in quick.messages)
    assert not first.provenance.skipped
    with pytest.raises(InputError, match="turn the draft off"):
        Segmenter.load(folder, "cpu").segment(volume, draft)


def test_a_real_model_gives_the_same_as_in_process_and_keeps_its_features(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    features = FeatureCaches()
    serving = EngineServer(
        Binding(), TOKEN, ModelCache(load_segmenter, features=features), VolumeStore(10**8, tmp_path), ParentWatch()
    )
    serving.start()
    try:
        client = EngineClient(serving.address, TOKEN)
        volume = volume_of(shape=(7, 20, 24))
        request = SegmentRequest(("liver", "spleen"), threshold=TINY_SCORE - 0.1)
        result = client.submit(volume, request, model=str(tiny_model_folder), device="cpu").wait(120)
        alone = Segmenter.load(
            str(tiny_model_folder),
            "cpu",
        ).segment(volume, request)

        assert result.concepts[0].found
        assert_same(result.stack, alone.stack)
        assert_same(result.concepts, alone.concepts)
        assert_same(result.search_region, alone.search_region)
        held = {(use.name, use.place): use.items for use in client.status().caches}
        assert held["features", "RAM"] == 7
        assert held["models", "RAM"] == 1
    finally:
        assert serving.stop()
