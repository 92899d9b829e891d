"""Connections that never show the token: they end, give way, and lock nobody out; those that show it stay."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
import requests

from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.server import auth, connections
from support.engine_server import LIVER, TOKEN, Engine, tls_binding, volume_of, wait_until, works

#: What a client sees where the service closes before it has read all.
CLOSED = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


def end_of(engine: Engine) -> tuple[str, int]:
    host, port = engine.address.rpartition("//")[2].rsplit(":", 1)
    return host, int(port)


@pytest.fixture
def strangers() -> Iterator[ExitStack]:
    """Where connections are kept that the test opens."""
    with ExitStack() as stack:
        yield stack


def is_closed(line: socket.socket) -> bool:
    """Whether the other end has closed a connection."""
    line.setblocking(False)
    try:
        return line.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def watched(engine: Engine) -> connections.Strangers:
    found = engine.serving._socket.strangers
    assert found is not None
    return found


def test_more_idle_strangers_than_there_are_places_lock_nobody_out(engine: Engine, strangers: ExitStack) -> None:
    first, go_on = [], connections.MOST_STRANGERS
    for number in range(go_on + 150):
        first.append(strangers.enter_context(socket.create_connection(end_of(engine), 20)))
        if number % 100 == 0:
            works(engine)
    works(engine)
    wait_until(lambda: len(watched(engine)) <= connections.MOST_STRANGERS)
    wait_until(lambda: all(is_closed(line) for line in first[:150]), 20)
    assert not is_closed(first[-1]), "the oldest go first"


def test_a_running_job_is_no_stranger(engine: Engine, strangers: ExitStack) -> None:
    engine.slow.seconds = 0.3
    volume = volume_of()
    job = engine.client().submit(volume, LIVER)
    wait_until(lambda: engine.client().status().running == 1)
    for _ in range(connections.MOST_STRANGERS + 50):
        strangers.enter_context(socket.create_connection(end_of(engine), 20))
    np.testing.assert_array_equal(job.wait(60).concepts[0].mask, volume.array > 0)


def test_strangers_that_never_begin_tls_lock_nobody_out(tmp_path: Path, strangers: ExitStack) -> None:
    binding = tls_binding(tmp_path)
    engine = Engine(tmp_path, binding=binding)
    try:
        lines = [
            strangers.enter_context(socket.create_connection(end_of(engine), 20))
            for _ in range(connections.MOST_STRANGERS + 100)
        ]
        volume = volume_of()
        client = EngineClient(engine.address, TOKEN, certificate=binding.certificate)
        np.testing.assert_array_equal(client.segment(volume, LIVER).concepts[0].mask, volume.array > 0)
        wait_until(lambda: all(is_closed(line) for line in lines[:100]), 20)
        assert len(watched(engine)) <= connections.MOST_STRANGERS
    finally:
        assert engine.serving.stop()


def test_the_machine_with_most_strangers_loses_them_first() -> None:
    """One machine that opens many keeps no other one out."""
    import asyncio

    async def crowd() -> tuple[bool, list[bool]]:
        watch = connections.Strangers(5)
        with ExitStack() as stack:
            pairs = [socket.socketpair() for _ in range(8)]
            for one, two in pairs:
                stack.enter_context(one)
                stack.enter_context(two)
            watch.watch(pairs[0][0], "10.0.0.1")
            for one, _ in pairs[1:]:
                watch.watch(one, "10.0.0.2")
            return is_closed(pairs[0][1]), [is_closed(two) for _, two in pairs[1:]]

    alone, many = asyncio.run(crowd())
    assert not alone
    assert many == [True] * 3 + [False] * 4


@pytest.mark.parametrize(
    "way", ["says nothing", "drips a head", "asks for the proof", "wrong token", "a body without end"]
)
def test_a_stranger_has_a_time_limit_whatever_it_does(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, strangers: ExitStack, way: str
) -> None:
    monkeypatch.setattr(connections, "TIMEOUT_S", 1.0)
    line = strangers.enter_context(socket.create_connection(end_of(engine), 20))
    host = f"Host: 127.0.0.1:{end_of(engine)[1]}\r\n"
    words = {
        "says nothing": b"",
        "drips a head": b"x",
        "asks for the proof": f"GET /hello?challenge={'0' * 32} HTTP/1.1\r\n{host}\r\n".encode(),
        "wrong token": f"GET /status HTTP/1.1\r\nAuthorization: Bearer x\r\n{host}\r\n".encode(),
        "a body without end": b"x" * 1000,
    }[way]
    if way == "drips a head":
        line.sendall(b"GET /status HTTP/1.1\r\nX: ")
    if way == "a body without end":
        line.sendall(f"POST /jobs HTTP/1.1\r\n{host}Content-Length: 1000000000\r\n\r\n".encode())
    deadline = time.monotonic() + 30
    ended = False
    while not ended and time.monotonic() < deadline:
        line.settimeout(0.1)
        with suppress(TimeoutError):
            try:
                line.sendall(words)
                ended = line.recv(100_000) == b""
            except ConnectionError:
                ended = True
        time.sleep(0.05)
    assert ended
    works(engine)


def test_a_client_that_showed_the_token_once_is_a_stranger_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, strangers: ExitStack
) -> None:
    """It may not wait with half a head for good either."""
    monkeypatch.setattr(connections, "TIMEOUT_S", 1.0)
    line = strangers.enter_context(socket.create_connection(end_of(engine), 20))
    head = f"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
    line.sendall(f"{head}\r\n".encode())
    assert line.recv(100_000).startswith(b"HTTP/1.1 200")
    wait_until(lambda: len(watched(engine)) == 1)
    line.sendall(head.encode())
    line.settimeout(30)
    while True:
        try:
            if line.recv(100_000) == b"":
                break
        except ConnectionError:
            break
    assert engine.client().status().running == 0


def test_more_clients_than_there_are_places_are_told_so(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    admitted = engine.serving._admitted
    engine.slow.free = 0
    job = engine.client().submit(volume_of(), LIVER)
    wait_until(engine.slow.held.is_set)
    wait_until(lambda: admitted.count == 1)
    with monkeypatch.context() as patch:
        patch.setattr(admitted, "most", 1)
        answer = requests.get(engine.url("/status"), headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20)
        assert answer.status_code == 503
        assert "too many connections" in answer.json()["message"]
    job.cancel()
    engine.slow.free = None
    wait_until(lambda: admitted.count == 0)
    works(engine)


@pytest.mark.parametrize(
    "fields",
    [
        {"X-Long": "x" * (auth.MOST_HEAD_BYTES + 1)},
        {f"X-{number}": "x" for number in range(auth.MOST_FIELDS + 1)},
        {"X-Very-Long": "x" * 200_000},
    ],
)
def test_a_long_head_is_refused(engine: Engine, fields: dict[str, str]) -> None:
    with suppress(*CLOSED):  # closed before all of it was there
        answer = requests.get(engine.url("/status"), headers={"Authorization": f"Bearer {TOKEN}", **fields}, timeout=20)
        assert answer.status_code in (400, 431)
    with suppress(*CLOSED):
        assert requests.get(engine.url("/hello"), headers=fields, timeout=20).status_code in (400, 431)
        long = requests.get(engine.url("/hello?challenge=" + "0" * 20_000), timeout=20)
        assert long.status_code in (400, 431)
    works(engine)
