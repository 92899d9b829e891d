"""What a service refuses, each time in one sentence, and that the next job works."""

from __future__ import annotations

import json
import os
import socket
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests

from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.client.http import HttpConnection, knows_token
from MedSAM3SegmentLib.engine.protocol.codec import encode
from MedSAM3SegmentLib.engine.protocol.events import (
    Failed,
    FailureKind,
    refusal_body,
    refusal_in,
)
from MedSAM3SegmentLib.engine.protocol.messages import (
    ExampleRequest,
    JobRequest,
    VolumeRef,
    VolumeUpload,
)
from MedSAM3SegmentLib.engine.server import app, connections, job_order
from MedSAM3SegmentLib.errors import EngineError, InputError
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.volume import Volume
from support.engine_server import LIVER, TOKEN, Engine, volume_of, works


@pytest.mark.parametrize("token", ["wrong", "", TOKEN[:-1], TOKEN + "x", TOKEN.upper()])
def test_nothing_is_done_without_the_token(engine: Engine, token: str) -> None:
    for method, path in [
        ("GET", "/status"),
        ("GET", "/proof"),
        ("POST", "/volumes"),
        ("POST", "/jobs"),
        ("POST", "/questions"),
        ("POST", "/unload"),
        ("POST", "/parents/1"),
        ("DELETE", "/jobs/x"),
        ("GET", "/nothing"),
    ]:
        answer = requests.request(method, engine.url(path), headers={"Authorization": f"Bearer {token}"}, timeout=10)
        assert answer.status_code == 401, path
    assert requests.get(engine.url("/status"), timeout=10).status_code == 401
    if token:
        with pytest.raises(EngineError, match="token"):
            EngineClient(engine.address, token).segment(volume_of(), LIVER)
    works(engine)


def test_an_engine_that_is_ending_takes_no_new_user(engine: Engine) -> None:
    """Slicer starts another one then; a job handed in to this one would be lost."""
    connection = HttpConnection(engine.address, TOKEN)
    connection.send("POST", f"/parents/{os.getpid()}")
    engine.shelf.check = lambda *_: engine.serving._service.cancel_all()
    with pytest.raises(InputError, match="is ending"):
        engine.client().segment(volume_of(), LIVER)
    with pytest.raises(InputError, match="is ending"):
        connection.send("POST", f"/parents/{os.getpid()}")


def test_the_service_proves_itself_without_seeing_the_token(engine: Engine) -> None:
    assert knows_token(HttpConnection(engine.address, TOKEN))
    assert not knows_token(HttpConnection(engine.address, "another"))
    assert not knows_token(HttpConnection("http://127.0.0.1:9", TOKEN))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_page_that_rebinds_its_name_gets_nothing(engine: Engine, host: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Host": host}
    assert requests.get(engine.url("/status"), headers=headers, timeout=10).status_code == 400
    works(engine)


def post(engine: Engine, path: str, data: bytes, method: str = "POST", **headers: str) -> requests.Response:
    return requests.request(
        method, engine.url(path), data=data, headers={"Authorization": f"Bearer {TOKEN}", **headers}, timeout=20
    )


def is_refused(answer: requests.Response) -> bool:
    """A refusal in one sentence that blames the sender."""
    body = json.loads(answer.content)
    return 400 <= answer.status_code < 500 and body["message"].endswith(".") and "\n" not in body["message"]


@pytest.mark.parametrize("path", ["/jobs", "/volumes"])
@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"\xff" * 9, b"{}", os.urandom(5000), encode(LIVER)], ids=range(6))
def test_garbage_is_refused_and_the_next_job_works(engine: Engine, path: str, data: bytes) -> None:
    assert is_refused(post(engine, path, data))
    assert is_refused(post(engine, path, data, **{"Content-Encoding": "deflate"}))
    assert is_refused(post(engine, path, zlib.compress(data), **{"Content-Encoding": "br"}))
    works(engine)


def test_what_is_no_http_is_dropped(engine: Engine) -> None:
    host, port = engine.address.removeprefix("http://").split(":")
    for noise in (
        os.urandom(3000) + b"\r\n\r\n",
        b"GET " + b"/" * 100_000,
        b"POST /jobs HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ):
        # Closed before all of it is there, at times.
        with socket.create_connection((host, int(port)), 60) as line, suppress(ConnectionError):
            line.sendall(noise)
            assert b"200" not in line.recv(1000)
    works(engine)


@pytest.mark.parametrize("words", [b"", b"GET /status HTTP/1.1\r\nHost:"])
def test_a_connection_that_asks_nothing_is_closed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, words: bytes
) -> None:
    """Whoever holds many of them, without a token, would leave no room for others."""
    host, port = engine.address.removeprefix("http://").split(":")
    with monkeypatch.context() as patch:
        patch.setattr(connections, "TIMEOUT_S", 0.2)
        with socket.create_connection((host, int(port)), 60) as line:
            line.sendall(words)
            assert line.recv(1000) == b""
    works(engine)


def test_a_job_that_takes_longer_than_a_request_may_is_not_cut_off(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TIMEOUT_S", 1.0)
    engine.slow.seconds = 0.25
    volume = volume_of()
    result = engine.client().segment(volume, LIVER)
    np.testing.assert_array_equal(result.concepts[0].mask, volume.array > 0)


def test_a_body_that_is_too_long_is_refused_however_it_is_packed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MAX_REQUEST_BYTES", 10_000_000)
    bomb = zlib.compress(b"\0" * 50_000_000, 9)
    assert len(bomb) < 100_000
    assert post(engine, "/jobs", b"\0" * 11_000_000).status_code == 413
    answer = post(engine, "/jobs", bomb, **{"Content-Encoding": "deflate"})
    assert answer.status_code == 413
    assert is_refused(answer)
    assert post(engine, "/volumes", b"\0" * 100_000).status_code == 413
    works(engine)


@pytest.mark.parametrize("path", ["/jobs", "/volumes"])
def test_what_the_engine_has_no_memory_for_is_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(app, "decode", no_memory)
        patch.setattr(job_order, "decode", no_memory)
        answer = post(engine, path, b"much")
    assert is_refused(answer)
    assert "not enough memory" in answer.json()["message"]
    works(engine)


def offer(volume: Volume, **changes: object) -> bytes:
    plain = VolumeUpload(volume.content_hash, volume.array.dtype.str, volume.array.shape, volume.grid, "CT")
    return encode(replace(plain, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "|O"},
        {"dtype": "<U9"},
        {"shape": (6, 8, 11)},
        {"shape": (6, 8)},
        {"shape": (6, 8, 10, 4)},
        {"shape": (6, 8, -10)},
    ],
)
def test_what_cannot_be_a_volume_is_refused(engine: Engine, changes: dict[str, object]) -> None:
    assert is_refused(post(engine, "/volumes", offer(volume_of(), **changes)))
    works(engine)


def test_voxels_other_than_those_offered_are_refused(engine: Engine) -> None:
    volume = volume_of()
    voxels = volume.array.tobytes()
    for sent in (voxels[:-1], voxels + b"x", bytes(len(voxels)), b""):
        ticket = post(engine, "/volumes", offer(volume)).json()["ticket"]
        first = post(engine, f"/volumes/{ticket}", sent, "PUT")
        second = post(engine, f"/volumes/{ticket}/complete", b"")
        assert is_refused(first) or is_refused(second)
    assert is_refused(post(engine, "/volumes/unknown/complete", b""))
    assert not engine.store.holds(volume.content_hash)
    assert [file.name for file in engine.store.folder.iterdir()] == ["proof"]
    works(engine)


def test_only_who_reads_the_proof_is_told_a_path(engine: Engine) -> None:
    assert post(engine, "/volumes", offer(volume_of(), proof="0" * 64)).json()["path"] is None
    proof = engine.store.proof_path().read_text()
    path = Path(post(engine, "/volumes", offer(volume_of(), proof=proof)).json()["path"])
    assert path.parent == engine.store.folder


def order_for(volume: Volume) -> JobRequest:
    digits = "0" * 32
    return JobRequest(
        id=digits,
        client=digits,
        volume=VolumeRef.of(volume),
        examples={},
        model="demo",
        device="auto",
        partials=False,
        compress=False,
        proof="",
        request=LIVER,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "\ud800"},
        {"model": "a\0b", "proof": "\ud800"},
        {"model": "demo/../../etc"},
        {"model": "../etc"},
        {"device": "\n"},
        {"volume": VolumeRef("0" * 64, "", (), False)},
        {"examples": {"liver": (ExampleRequest(VolumeRef("0" * 64, "", (), False), np.ones((6, 8, 10), bool), None),)}},
        {"id": "1"},
        {"client": "../x"},
    ],
)
def test_odd_orders_are_refused(engine: Engine, changes: dict[str, object]) -> None:
    volume = volume_of()
    engine.client().segment(volume, LIVER)
    plain = order_for(volume)
    assert post(engine, "/jobs", encode(plain)).status_code == 200
    assert is_refused(post(engine, "/jobs", encode(replace(plain, **changes))))
    works(engine)


def test_a_hash_of_odd_characters_is_refused(engine: Engine) -> None:
    volume = volume_of()
    ticket = post(engine, "/volumes", offer(volume, content_hash="\u00e9", proof="\ud800")).json()["ticket"]
    post(engine, f"/volumes/{ticket}", volume.array.tobytes(), "PUT")
    assert is_refused(post(engine, f"/volumes/{ticket}/complete", b""))
    works(engine)


def test_masks_that_do_not_fit_the_volume_are_refused(engine: Engine) -> None:
    request = SegmentRequest(("liver",), inside=np.ones((6, 8, 9), bool))
    with pytest.raises(InputError, match="A mask has shape"):
        engine.client().segment(volume_of(), request)
    works(engine)


def test_events_are_not_kept_back_by_a_proxy_and_no_mask_is_kept_there(engine: Engine) -> None:
    volume = volume_of()
    engine.client().segment(volume, LIVER)
    answer = post(engine, "/jobs", encode(order_for(volume)))
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_refusal_keeps_its_facts_and_says_its_sentence_in_the_open(tmp_path: Path) -> None:
    engine = Engine(tmp_path, volume_budget=100)
    try:
        with pytest.raises(InputError) as refused:
            engine.client().segment(volume_of(), LIVER)
        answer = requests.get(
            engine.url("/hello"), params={"challenge": "x"}, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60
        )
    finally:
        assert engine.serving.stop()

    said = refused.value.message
    assert said.template.startswith("The volume takes {size} and the engine keeps {budget} at most; ")
    assert dict(said.facts) == {"size": "0 MB", "budget": "0 MB"}
    assert str(refused.value) == said == said.template.format(**said.facts)
    assert answer.json()["message"] == "A challenge has 32 hexadecimal digits; send one."


@pytest.mark.parametrize("said", [{}, {"said": "It failed."}, {"said": {"text": "It failed.", "template": "{x.y}"}}])
def test_a_refusal_without_usable_facts_is_its_text(said: dict[str, object]) -> None:
    failed = refusal_in({"kind": "model", "message": "It failed."} | said)

    assert failed == Failed(failed.message, FailureKind.MODEL)
    assert (failed.message, failed.message.facts) == ("It failed.", {})
    assert refusal_body(failed)["message"] == "It failed."


@pytest.mark.parametrize("body", [None, [], "text", {"kind": "model"}, {"kind": "odd", "message": "x"}, {"message": 3}])
def test_what_is_no_refusal_is_none(body: object) -> None:
    with pytest.raises((KeyError, ValueError)):
        refusal_in(body)
