"""Questions to an image-text model as jobs of the engine, over a real socket, beside the segmenter."""

from __future__ import annotations

import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from PIL import Image

from MedSAM3SegmentLib.engine.client import remote_segmenter
from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.client.http import HttpConnection
from MedSAM3SegmentLib.engine.client.job import RemoteJob
from MedSAM3SegmentLib.engine.client.volume_upload import read_proof
from MedSAM3SegmentLib.engine.protocol.codec import decode, encode
from MedSAM3SegmentLib.engine.protocol.events import Answered, Event, Loading, Queued, TokensArrived, WasCancelled
from MedSAM3SegmentLib.engine.protocol.messages import QuestionRequest
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.language import kept_model
from MedSAM3SegmentLib.language.model import LanguageModel
from MedSAM3SegmentLib.language.question import LanguageQuestion
from MedSAM3SegmentLib.models import memory
from support.engine_server import LIVER, TOKEN, Engine, volume_of, wait_until, works
from support.tiny_language_model import make_tiny_language_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("language") / "tiny"
    make_tiny_language_model(made)
    return made


def png() -> bytes:
    stream = BytesIO()
    Image.fromarray(np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)).save(stream, "PNG")
    return stream.getvalue()


QUESTION = LanguageQuestion("Be brief.", "Is it a liver? \N{LATIN SMALL LETTER E WITH ACUTE}", png(), "", 12)


def language(engine: Engine) -> Any:
    return engine.serving._service._worker.language


def events_of(job: RemoteJob) -> list[Event]:
    job.wait_for_answer(120)
    return job.poll()


def test_the_answer_is_the_models_own_and_its_tokens_are_told(engine: Engine, folder: Path) -> None:
    own = LanguageModel(folder, torch.device("cpu"), torch.float32).answer(QUESTION)
    job = engine.client().submit_question(QUESTION, folder, "cpu")
    events = events_of(job)

    assert job.wait_for_answer(0) == own
    kinds = list(dict.fromkeys(type(event) for event in events if not isinstance(event, Queued)))
    assert kinds == [Loading, TokensArrived, Answered]
    counts = [event.count for event in events if isinstance(event, TokensArrived)]
    assert counts == list(range(1, own.tokens_out + 1))
    # It stays loaded, and is seen in the status.
    assert Loading not in map(type, events_of(engine.client().submit_question(QUESTION, folder, "cpu")))
    (use,) = [one for one in engine.client().status().caches if one.name == "language model"]
    assert (use.place, use.items) == ("RAM", 1)
    assert use.bytes_held > 100_000
    engine.client().unload()
    wait_until(lambda: not language(engine).is_loaded)
    works(engine)


def test_a_relative_folder_is_the_clients(engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert engine.client().answer(QUESTION, Path("tiny"), "cpu").tokens_out


def test_segmentations_and_questions_take_turns(engine: Engine, folder: Path) -> None:
    client = engine.client()
    jobs = [client.submit_question(QUESTION, folder, "cpu") for _ in range(2)]
    volume = volume_of()
    np.testing.assert_array_equal(client.segment(volume, LIVER).concepts[0].mask, volume.array > 0)
    assert len({job.wait_for_answer(120).text for job in jobs}) == 1


def test_a_question_needs_the_token_and_the_same_disk(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = QuestionRequest("0" * 32, "1" * 32, str(folder), "cpu", "", QUESTION)
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = requests.post(engine.url("/questions"), encode(order), headers=headers, timeout=10)
        assert answer.status_code == 401
    # Whoever does not see the engine's disk names no folder of it.
    monkeypatch.setattr(remote_segmenter, "read_proof", lambda _: "")
    with pytest.raises(InputError, match="engine's own machine"):
        engine.client().answer(QUESTION, folder, "cpu")
    assert not language(engine).is_loaded
    works(engine)


@pytest.mark.parametrize("moment", ["loading", "answering"])
def test_a_client_that_cancels_does_not_wait_for_the_model(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    held, opened = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        assert opened.wait(60)

    if moment == "loading":
        load = kept_model.LanguageModel
        monkeypatch.setattr(kept_model, "LanguageModel", lambda *given: (hold(), load(*given))[1])
    else:
        answer = LanguageModel.answer
        monkeypatch.setattr(LanguageModel, "answer", lambda *given: (hold(), answer(*given))[1])
    with pytest.raises(Cancelled):
        engine.client().answer(QUESTION, folder, "cpu", held.is_set)
    assert not opened.is_set()
    opened.set()
    works(engine)
    # What was loaded for nobody is there for the next one.
    assert engine.client().answer(QUESTION, folder, "cpu").tokens_out


def test_a_model_that_answers_stops_soon_after_nobody_wants_it(engine: Engine, folder: Path) -> None:
    client = engine.client()
    client.answer(QUESTION, folder, "cpu")
    layers: list[int] = []
    job: RemoteJob

    def slow(*_: object) -> None:
        layers.append(1)
        if len(layers) == 3:
            job.cancel()
            wait_until(lambda: engine.serving._service._queue._running.cancelled.is_set())

    parts = [one for one in language(engine)._model._model.modules() if isinstance(one, torch.nn.ModuleList)]
    hooks = [layer.register_forward_hook(slow) for part in parts for layer in part]
    job = client.submit_question(LanguageQuestion("", "Is it?", png(), most_tokens=500), folder, "cpu")
    with pytest.raises(Cancelled):
        job.wait_for_answer(60)
    assert isinstance(job.poll()[-1], WasCancelled)
    works(engine)
    for hook in hooks:
        hook.remove()
    assert len(layers) == 3


def test_a_client_that_goes_away_takes_its_question_with_it(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, stopped = threading.Event(), threading.Event()

    def answer(_: object, __: object, cancel: Any, ___: object) -> None:
        started.set()
        wait_until(cancel, 60)
        stopped.set()
        raise Cancelled

    monkeypatch.setattr(LanguageModel, "answer", answer)
    connection = HttpConnection(engine.address, TOKEN)
    order = QuestionRequest("0" * 32, "1" * 32, str(folder), "cpu", read_proof(connection), QUESTION)
    with connection.stream("/questions", encode(order)) as pieces:
        next(pieces)
        assert started.wait(60)
    assert stopped.wait(60)
    works(engine)


def test_the_segmenter_goes_where_there_is_no_room_for_both(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works(engine)
    monkeypatch.setattr(memory, "free_memory", lambda _: 10**6 if engine.shelf.last_used else 10**12)
    assert engine.client().answer(QUESTION, folder, "cpu").tokens_out
    assert engine.shelf.last_used is None
    assert engine.loaded == ["demo"]
    works(engine)
    assert engine.loaded == ["demo", "demo"]


def test_no_room_at_all_is_said_with_what_is_needed_and_what_is_there(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda _: 2 * 10**6)
    with pytest.raises(InputError, match=r"tiny needs 1\.1 GB of memory on cpu and 2 MB are free"):
        engine.client().answer(QUESTION, folder, "cpu")
    works(engine)


def test_the_language_model_goes_where_the_segmenter_needs_the_room(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda _: 10**12)
    engine.client().answer(QUESTION, folder, "cpu")
    monkeypatch.setattr(memory, "free_memory", lambda _: 10**9)
    works(engine)
    assert not language(engine).is_loaded


def test_memory_that_runs_out_beside_the_language_model_is_taken_from_it(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda _: 10**12)
    engine.client().answer(QUESTION, folder, "cpu")
    segment, tries = engine.slow.segment, []

    def only_alone(*given: Any) -> Any:
        tries.append(language(engine).is_loaded)
        if tries[-1]:
            raise MemoryError
        return segment(*given)

    monkeypatch.setattr(engine.slow, "segment", only_alone)
    works(engine)
    assert tries == [True, False]


def test_a_folder_that_is_no_model_is_one_sentence(engine: Engine, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        engine.client().answer(QUESTION, tmp_path / "none", "cpu")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    (broken / "model.safetensors").write_bytes(b"no")
    with pytest.raises(ModelError, match="safetensors"):
        engine.client().answer(QUESTION, broken, "cpu")
    with pytest.raises(InputError, match="device 'tpu'"):
        engine.client().answer(QUESTION, folder, "tpu")
    damaged = LanguageQuestion("", "Is it?", png()[:40])
    with pytest.raises(InputError, match="damaged PNG"):
        engine.client().answer(damaged, folder, "cpu")
    works(engine)


def test_what_no_question_is_is_refused_in_words(engine: Engine, folder: Path) -> None:
    connection = HttpConnection(engine.address, TOKEN)
    order = QuestionRequest("0" * 32, "1" * 32, str(folder), "cpu", read_proof(connection), QUESTION)
    good = encode(order)
    assert decode(good, QuestionRequest).question.picture == QUESTION.picture
    texts = [
        good.replace(b'"0' + b"0" * 31, b'"x' + b"0" * 31),
        good.replace(b'"most_tokens": 12', b'"most_tokens": 99999').replace(
            b'"most_tokens":12', b'"most_tokens":99999'
        ),
        good[:-5],
        good.replace(b"instructions", b"instrumental"),
        b"",
        encode(LanguageQuestion("", "Is it?")),
    ]
    for text in texts:
        assert text != good
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = requests.post(engine.url("/questions"), text, headers=headers, timeout=10)
        assert answer.status_code == 400, text
        assert answer.json()["message"].endswith((".", "!"))
    works(engine)


def test_an_engine_of_this_computer_answers_a_second_client(engine: Engine, folder: Path) -> None:
    one, other = (EngineClient(engine.address, TOKEN) for _ in range(2))
    assert one.answer(QUESTION, folder, "cpu") == other.answer(QUESTION, folder, "cpu")
