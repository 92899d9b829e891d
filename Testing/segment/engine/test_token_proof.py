"""What listens at an engine's address is told the token only after it has shown, on the same connection, to know it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from MedSAM3SegmentLib.engine.client import http
from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.client.http import HttpConnection, knows_token
from MedSAM3SegmentLib.engine.protocol.challenge import challenge_response
from MedSAM3SegmentLib.engine.protocol.messages import PROTOCOL
from MedSAM3SegmentLib.errors import EngineError, MedSAM3Error
from support.engine_server import LIVER, TOKEN, Engine, volume_of

#: What a stranger answers to a request's head.
Answer = Callable[[bytes], bytes]


def framed(body: object, head: str = "HTTP/1.1 200 OK") -> bytes:
    text = body if isinstance(body, str) else json.dumps(body)
    return f"{head}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


class Stranger:
    """A program at a port, which remembers all that it hears.

    Args:
        answer: what it says to each head.
        port: where, or 0 for any that is free.
    """

    def __init__(self, answer: Answer, port: int = 0) -> None:
        self.heard = b""
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", port))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(line,), daemon=True).start()

    def _talk(self, line: socket.socket) -> None:
        with line:
            words = b""
            while True:
                try:
                    came = line.recv(100_000)
                    self.heard += came
                    words += came
                    if not came:
                        return
                    if b"\r\n\r\n" in words:
                        line.sendall(self._answer(words))
                        words = b""
                except OSError:
                    return

    def close(self) -> None:
        self._listener.close()


def challenge_in(head: bytes) -> str:
    return parse_qs(urlsplit(head.split()[1].decode()).query)["challenge"][0]


def proof_with(token: str, protocol: object = PROTOCOL) -> Answer:
    return lambda head: framed({"proof": challenge_response(token, challenge_in(head)), "protocol": protocol})


@pytest.fixture
def ask() -> Iterator[Callable[[Answer], Stranger]]:
    made: list[Stranger] = []

    def make(answer: Answer) -> Stranger:
        made.append(Stranger(answer))
        return made[-1]

    yield make
    for stranger in made:
        stranger.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (proof_with("another token"), "does not know the token"),
        (proof_with("another token", 3), "does not know the token"),
        (proof_with(TOKEN, 3), "another version"),
        (lambda _: framed({"proof": "\ud800", "protocol": PROTOCOL}), "does not know the token"),
        (lambda _: framed({"proof": None, "protocol": PROTOCOL}), "does not know the token"),
        (lambda _: framed({"status": "ok"}), "no engine"),
        (lambda _: framed("[" * 60_000), "no engine"),
        (lambda _: framed("x" * 1_000_000), "no engine"),
        (lambda _: framed("", "HTTP/1.1 401 No"), "HTTP status 401"),
        (lambda _: b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "status 302"),
        (lambda _: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "does not answer"),
        (lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no engine|does not answer"),
        (lambda _: b"220 mail.example ESMTP\r\n", "does not answer"),
        (lambda _: b"\xff" * 100_000, "does not answer"),
        (lambda _: b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", "does not answer"),
    ],
)
def test_what_does_not_know_the_token_is_not_told_it(
    ask: Callable[[Answer], Stranger], monkeypatch: pytest.MonkeyPatch, answer: Answer, words: str
) -> None:
    monkeypatch.setattr(http, "TIMEOUT", (5.0, 2.0))
    stranger = ask(answer)
    client = EngineClient(stranger.address, TOKEN)
    assert not knows_token(HttpConnection(stranger.address, TOKEN))
    for call in (client.status, client.unload, lambda: client.segment(volume_of(), LIVER)):
        with pytest.raises(EngineError, match=words):
            call()
    assert b"/hello" in stranger.heard
    assert TOKEN.encode() not in stranger.heard
    assert b"Authorization" not in stranger.heard


def test_each_connection_is_asked_anew(tmp_path: Path) -> None:
    """The engine ends between two requests of one client, and another program takes its port."""
    engine = Engine(tmp_path)
    client = engine.client()
    volume = volume_of()
    np.testing.assert_array_equal(client.segment(volume, LIVER).concepts[0].mask, volume.array > 0)
    port = int(engine.address.rpartition(":")[2])
    assert engine.serving.stop()
    stranger = Stranger(proof_with("nothing"), port)
    try:
        with pytest.raises(EngineError, match="does not know the token"):
            client.segment(volume, LIVER)
        with pytest.raises(EngineError, match="does not know the token"):
            client._connection.send("DELETE", "/jobs/x")
        assert TOKEN.encode() not in stranger.heard
    finally:
        stranger.close()


def test_a_connection_that_ends_after_the_proof_is_not_opened_again_without_one(
    ask: Callable[[Answer], Stranger],
) -> None:
    """Who relays the challenge to the true engine and closes then must not be told the token on the next connection."""

    def prove_and_close(head: bytes) -> bytes:
        return proof_with(TOKEN)(head).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)

    stranger = ask(prove_and_close)
    with pytest.raises(MedSAM3Error, match="does not answer"):
        EngineClient(stranger.address, TOKEN).status()
    assert TOKEN.encode() not in stranger.heard


def test_an_answer_that_drips_is_waited_for_no_longer_than_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes from what took the port of a dead engine, while a job waits for the next engine."""
    monkeypatch.setattr(http, "_PROOF_TIMEOUT_S", 1.0)
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            line, _ = listener.accept()
            with line:
                while not ended.wait(0.05):
                    try:
                        line.sendall(b"H")
                    except OSError:
                        return

        threading.Thread(target=drip, daemon=True).start()
        found: list[bool] = []
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        asking = threading.Thread(target=lambda: found.append(knows_token(HttpConnection(address, TOKEN))), daemon=True)
        asking.start()
        asking.join(30)
        ended.set()
        assert found == [False]


@pytest.mark.parametrize(
    "address", ["http://[::1", "http://[x]:1", "http://127.0.0.1:99999", "http://127.0.0.1:0", "\0"]
)
def test_an_address_that_is_none_is_refused_in_words(address: str) -> None:
    with pytest.raises(MedSAM3Error, match="is no engine's address"):
        EngineClient(address, TOKEN)
