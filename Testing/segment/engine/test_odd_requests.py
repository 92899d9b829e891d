"""Odd HTTP over a real socket: paths, heads, bodies and values that no client sends. Never a defect or a silence."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.engine.protocol.codec import encode
from MedSAM3SegmentLib.engine.protocol.messages import VolumeRef
from MedSAM3SegmentLib.engine.server import body
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.messages.message import Message
from MedSAM3SegmentLib.request import SegmentRequest
from support.engine_server import LIVER, TOKEN, Engine, volume_of, wait_until, works

from .test_refusals import is_refused, offer, order_for, post

_HEAD = struct.Struct("<4sQ")


def packet(*lines: str | bytes, arrays: bytes = b"", length: int | None = None) -> bytes:
    text = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    return _HEAD.pack(b"MS31", len(text) if length is None else length) + text + arrays


def with_value(path: tuple[object, ...], value: str) -> bytes:
    """An order with one value replaced by JSON text."""
    whole = encode(order_for(volume_of()))
    _, length = _HEAD.unpack_from(whole)
    plain = json.loads(whole[_HEAD.size : _HEAD.size + length])
    holder = plain
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = "@@"
    return packet(json.dumps(plain).replace('"@@"', value), arrays=whole[_HEAD.size + length :])


DEEP = "[" * 100_000 + "]" * 100_000
_nested = '{"text":"x","template":"{a}","facts":{"a":' * 500 + '"x"' + "}}" * 500
_bomb = json.dumps("y" * 5000)
for _ in range(5):
    _bomb = json.dumps({"text": "x", "template": "{a}" * 600, "facts": {"a": json.loads(_bomb)}})


@pytest.mark.parametrize(
    "data",
    [
        with_value(("request", "concepts"), DEEP),
        with_value(("request", "concepts"), "[" * 900 + "]" * 900),
        with_value(("request", "concepts"), '["\\ud800"]'),
        with_value(("request", "concepts"), '["\\u0000"]'),
        with_value(("request", "concepts"), "[1]"),
        with_value(("request", "concepts"), "{}"),
        with_value(("request", "concepts"), '["liver", "liver"]'),
        with_value(("request", "threshold"), "NaN"),
        with_value(("request", "threshold"), "1e999"),
        with_value(("request", "threshold"), "-Infinity"),
        with_value(("request", "threshold"), "9" * 5000),
        with_value(("request", "slices"), "[0, " + "9" * 4000 + "]"),
        with_value(("request", "slices"), "[0, 1e400]"),
        with_value(("request", "plane"), '"diagonal"'),
        with_value(("request", "plane"), "[]"),
        with_value(("request", "mode"), "true"),
        with_value(("request", "region"), '{"corners": [], "positive": true}'),
        with_value(("request", "more_planes"), '["axial", "axial", "x"]'),
        with_value(("volume", "messages"), f"[{_nested}]"),
        with_value(("volume", "messages"), f"[{DEEP}]"),
        with_value(("volume", "name"), "null"),
        with_value(("volume", "content_hash"), '"\\ud800"'),
        with_value(("partials",), "1"),
        with_value(("examples",), '[["liver", [null]]]'),
        with_value(("examples",), '[[["a"], []]]'),
        packet("null"),
        packet("1e999"),
        packet(""),
        packet(b"\xff\xfe"),
        packet('"\xc3\xa9"'),
        packet("{}", length=2**63),
        packet("{}", length=2**64 - 1),
        packet("{}", length=1),
        packet(DEEP),
        packet('{"id": ' * 50_000),
    ],
)
def test_odd_values_in_an_order_are_refused_in_words(engine: Engine, data: bytes) -> None:
    engine.client().segment(volume_of(), LIVER)
    answer = post(engine, "/jobs", data)
    if answer.status_code != 200:
        assert is_refused(answer), answer.content[:300]
    else:
        assert b"should not" not in answer.content
    works(engine)


def test_a_sentence_that_grows_when_it_is_filled_is_taken_as_text(engine: Engine) -> None:
    """Six hundred times itself, five times over, is more than any memory."""
    engine.client().segment(volume_of(), LIVER)
    answer = post(engine, "/jobs", with_value(("volume", "messages"), f"[{_bomb}]"))
    assert answer.status_code == 200
    works(engine)
    assert Message("{a}", {"a": "b" * 3000}) == "b" * 3000, "what is said here has no such limit"


@pytest.mark.parametrize(
    "changes",
    [
        {"modality": "\ud800"},
        {"modality": "x" * 65},
        {"modality": "C\nT"},
        {"dtype": "\ud800"},
        {"dtype": "i" * 1000},
        {"shape": (0, 2**62, 4), "grid": VoxelGrid((0, 2**62, 4), np.eye(4))},
        {"shape": (2**31, 0, 0), "grid": VoxelGrid((2**31, 0, 0), np.eye(4))},
        {"shape": (2**70, 1, 1), "grid": VoxelGrid((2**70, 1, 1), np.eye(4))},
        {"shape": (-1, -1, 1), "grid": VoxelGrid((-1, -1, 1), np.eye(4))},
        {"grid": VoxelGrid((6, 8, 10), np.diag([1e150, 1e150, 1e150, 1.0]))},
        {"grid": VoxelGrid((6, 8, 10), np.diag([1e-4, 1e-4, 1e-4, 1.0]))},
    ],
)
def test_odd_offers_are_refused_in_words(engine: Engine, changes: dict[str, object]) -> None:
    volume = volume_of()
    answer = post(engine, "/volumes", offer(volume, **changes))
    if answer.status_code == 200:
        ticket = answer.json()["ticket"]
        post(engine, f"/volumes/{ticket}", volume.array.tobytes(), "PUT")
        answer = post(engine, f"/volumes/{ticket}/complete", b"")
    assert is_refused(answer)
    works(engine)


@pytest.mark.parametrize(
    ("shape", "part"), [([0, 2**62, 4], 0), ([2**31, 0, 1], 0), ([2**40, 2**40, 0], 0), ([1, 1, 1, 2**33], 0)]
)
def test_an_array_of_a_shape_that_none_can_have_is_refused(engine: Engine, shape: list[int], part: int) -> None:
    engine.client().segment(volume_of(), LIVER)
    place = {"dtype": "|b1", "shape": shape, "start": [0] * len(shape), "stop": [part] * len(shape), "at": 0}
    assert is_refused(post(engine, "/jobs", with_value(("request", "inside"), json.dumps(place))))
    works(engine)


# --- heads and paths --------------------------------------------------------------------------------------------------

_methods = st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW"])
_words = "hello status proof volumes jobs parents unload complete %00 %ff .. . %2e%2e -1 1.5 %D9%A3 0 1e9 ; {}"
_odd_words = ("", "0" * 32, "9" * 5000, "\u00b2", "%F0%9F%98%80", "x" * 3000, "a%2Fb")
_segments = st.sampled_from([*_words.split(), *_odd_words])
_queries = st.sampled_from(["", "?", "?challenge", "?challenge=%ff", "?challenge=" + "0" * 32, "?" + "&" * 500, "?a=b"])
_values = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30)
_names = "Content-Encoding Content-Type Expect Connection Upgrade Range Accept Cookie Authorization Transfer-Encoding"
_known_values = "deflate gzip chunked close websocket 100-continue -1 1_0 0 99999999999999999999999999 \u00b2"
_fields = st.dictionaries(
    st.sampled_from(f"{_names} X-Forwarded-For Host Content-Length TE".split()),
    _values | st.sampled_from(_known_values.split()),
    max_size=3,
)


def asked(engine: Engine, method: str, target: str, fields: dict[str, str], content: bytes) -> tuple[int, bytes] | None:
    """The status and the body of an answer; None where the service closes the connection."""
    host, port = engine.address.removeprefix("http://").split(":")
    head = {"Host": f"{host}:{port}", "Authorization": f"Bearer {TOKEN}", "Content-Length": str(len(content)), **fields}
    words = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    with socket.create_connection((host, int(port)), 20) as line:
        line.settimeout(20)
        try:
            line.sendall(f"{method} {target} HTTP/1.1\r\n{words}\r\n".encode("latin-1") + content)
            line.shutdown(socket.SHUT_WR)
            answer = http.client.HTTPResponse(line, method=method)
            answer.begin()
            return answer.status, answer.read()
        except (ConnectionError, http.client.HTTPException):
            return None


def test_no_path_and_no_head_is_a_defect(engine: Engine) -> None:
    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_methods, st.lists(_segments, max_size=4), _queries, _fields, st.binary(max_size=200))
    def odd(method: str, segments: list[str], query: str, fields: dict[str, str], content: bytes) -> None:
        answer = asked(engine, method, "/" + "/".join(segments) + query, fields, content)
        if answer is not None:
            assert answer[0] < 500, answer

    odd()
    works(engine)


@pytest.mark.parametrize("number", ["9" * 11, "9" * 5000, "-1", "1.5", "%D9%A3", "x", "0x10", "%00"])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_what_is_no_process_number_is_refused(engine: Engine, number: str, method: str) -> None:
    answer = asked(engine, method, f"/parents/{number}", {}, b"")
    assert answer is not None
    assert 400 <= answer[0] < 500
    assert json.loads(answer[1])["message"].endswith(".")


def test_bytes_after_the_end_of_a_packed_body_and_half_of_one_are_refused(engine: Engine) -> None:
    whole = encode(order_for(volume_of()))
    engine.client().segment(volume_of(), LIVER)
    packed = zlib.compress(whole)
    assert post(engine, "/jobs", packed, **{"Content-Encoding": "deflate"}).status_code == 200
    for odd in (packed + b"x", packed + packed, packed[:-1], packed[: len(packed) // 2], packed[2:], b"", b"x"):
        assert is_refused(post(engine, "/jobs", odd, **{"Content-Encoding": "deflate"}))
    works(engine)


# --- memory and time --------------------------------------------------------------------------------------------------


def chunks(size: int, count: int, go_on: threading.Event) -> Iterator[bytes]:
    for _ in range(count):
        yield b"\0" * size
    go_on.wait(30)


def test_bodies_together_are_limited_and_given_back(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = engine.serving._service._memory
    monkeypatch.setattr(memory, "most", 3_000_000)
    go_on = threading.Event()
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def send() -> None:
        with suppress(requests.RequestException):
            requests.post(engine.url("/jobs"), data=chunks(500_000, 4, go_on), headers=headers, timeout=60)

    first = threading.Thread(target=send, daemon=True)
    first.start()
    wait_until(lambda: memory.taken >= 1_500_000)
    answer = post(engine, "/jobs", b"\0" * 2_500_000)
    assert answer.status_code == 503
    assert answer.json()["message"] == "The engine is being sent too much at once; try again in a moment."
    works(engine)
    go_on.set()
    first.join(30)
    wait_until(lambda: memory.taken == 0)
    # One alone is read whatever it has; it is damaged, no more.
    assert post(engine, "/jobs", b"\0" * 4_000_000).status_code == 400
    wait_until(lambda: memory.taken == 0)


def test_the_masks_of_waiting_jobs_count_too(engine: Engine) -> None:
    memory = engine.serving._service._memory
    volume = volume_of(0, (10, 100, 100))
    engine.client().segment(volume, LIVER)
    wait_until(lambda: memory.taken == 0)
    engine.slow.free = 0
    job = engine.client().submit(volume, SegmentRequest(("liver",), inside=np.ones(volume.grid.shape, bool)))
    wait_until(engine.slow.held.is_set)
    assert memory.taken >= volume.array.size
    job.cancel()
    wait_until(lambda: memory.taken == 0)
    engine.slow.free = None
    works(engine)


def test_a_body_that_unpacks_to_much_does_not_hold_up_others(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpacking waits here until another request was answered meanwhile."""
    answered, unpack = threading.Event(), body.Unpacker.unpack

    def slow_unpack(self: body.Unpacker, piece: bytes) -> Iterator[bytes]:
        assert answered.wait(30)
        return unpack(self, piece)

    monkeypatch.setattr(body.Unpacker, "unpack", slow_unpack)
    status: list[int] = []
    packed = zlib.compress(b"\0" * 1_000_000)
    sending = threading.Thread(
        target=lambda: status.append(post(engine, "/jobs", packed, **{"Content-Encoding": "deflate"}).status_code)
    )
    sending.start()
    assert engine.client().status().running == 0
    answered.set()
    sending.join(30)
    assert status == [400]


def test_a_body_that_drips_is_not_waited_for_without_an_end(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_TIMEOUT_S", 1.0)
    host, port = engine.address.removeprefix("http://").split(":")
    head = f"POST /jobs HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 100000\r\n\r\n"
    with socket.create_connection((host, int(port)), 20) as line:
        line.sendall(head.encode())
        came = b""
        for _ in range(600):
            line.sendall(b"x")
            line.settimeout(0.1)
            with suppress(TimeoutError):
                came += line.recv(10_000)
            if came:
                break
        # Head and body may come apart.
        line.settimeout(5)
        while b"did not arrive whole" not in came and (more := line.recv(10_000)):
            came += more
    assert came.startswith(b"HTTP/1.1 400")
    assert b"did not arrive whole" in came
    works(engine)


def test_an_odd_name_of_a_volume_is_only_a_name(engine: Engine) -> None:
    volume = volume_of()
    engine.client().segment(volume, LIVER)
    order = replace(order_for(volume), volume=VolumeRef(volume.content_hash, "\0\n\ud800" * 100, (), True))
    assert post(engine, "/jobs", encode(order)).status_code == 200
    works(engine)
