"""Orders and offers with something wrong in them, over a real socket: a refusal in words each time, never a defect."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.engine.protocol.codec import encode
from MedSAM3SegmentLib.engine.protocol.events import Done, Failed
from MedSAM3SegmentLib.engine.protocol.messages import (
    ExampleRequest,
    JobRequest,
    VolumeRef,
    VolumeUpload,
    read_events,
)
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.prompts.prompts import (
    BoxPromptRAS,
    MaskPromptRAS,
    PointPromptRAS,
    TargetPrompts,
)
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from support.engine_server import TOKEN, Engine, volume_of, works

_HEAD = struct.Struct("<4sQ")

VOLUME = volume_of()
MASK = np.zeros(VOLUME.grid.shape, bool)
MASK[2:3, 3:6, 3:6] = True

REQUESTS = (
    SegmentRequest(
        ("liver", "spleen"),
        slices=(1, 3),
        threshold=0.3,
        window=Window(0.0, 1.0, "narrow"),
        region=BoxPromptRAS(((-50.0, -50.0, -50.0), (50.0, 50.0, 50.0))),
    ),
    SegmentRequest(("liver",), mode=Mode.PROPAGATE, inside=MASK),
    SegmentRequest(("liver",), more_planes=(Plane.SAGITTAL,)),
    SegmentRequest(
        ("liver",),
        mode=Mode.FROM_PROMPTS,
        prompts={"liver": TargetPrompts((PointPromptRAS((0.0, 0.0, 3.0)),), masks=(MaskPromptRAS(MASK, (2,)),))},
    ),
)

_array = {"dtype": "|b1", "shape": list(VOLUME.grid.shape), "start": [0, 0, 0], "stop": [0, 0, 0], "at": 0}
_numbers = (0, -1, 1, 7, 2**31, 2**63, 2**70, -(2**70), 0.5, 1e308, 1e-320, float("nan"), float("inf"))
_texts = ("", "x", "\ud800", "\0", "/etc/passwd", "../x", "demo+demo", "propagate", "from prompts", "NaN")
_lists = ([], [[]], [0, 0], [1, 2, 3], [None] * 3)
_objects = (
    {},
    {"line": 0},
    {"line": 99},
    _array,
    {**_array, "shape": [10**6] * 3},
    {**_array, "shape": [2**62, 4, 1]},
    {**_array, "shape": []},
)
_junk = st.sampled_from((None, True, *_numbers, *_texts, *_lists, *_objects))
_ways = st.sampled_from(["replace", "replace", "replace", "add", "remove"])


def _places(plain: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value in plain JSON values."""
    items = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    return [path, *(place for key, value in items for place in _places(value, (*path, key)))]


def _change(plain: Any, path: tuple[Any, ...], way: str, junk: Any) -> Any:
    if not path:
        return junk
    holder = plain
    for key in path[:-1]:
        holder = holder[key]
    if way == "replace":
        holder[path[-1]] = junk
    elif way == "remove":
        del holder[path[-1]]
    elif isinstance(holder, list):
        holder.insert(path[-1], junk)
    else:
        holder["stranger"] = junk
    return plain


@st.composite
def _spoiled(draw: st.DrawFn, packets: tuple[bytes, ...]) -> bytes:
    """A packet with one or two values changed, and perhaps cut."""
    packet = draw(st.sampled_from(packets))
    _, length = _HEAD.unpack_from(packet)
    end = _HEAD.size + length
    lines = [json.loads(line) for line in packet[_HEAD.size : end].split(b"\n")]
    for _ in range(draw(st.integers(1, 2))):
        number = draw(st.integers(0, len(lines) - 1))
        place = draw(st.sampled_from(_places(lines[number])))
        lines[number] = _change(lines[number], place, draw(_ways), json.loads(json.dumps(draw(_junk))))
    text = "\n".join(json.dumps(line) for line in lines).encode()
    arrays = packet[end:]
    return _HEAD.pack(b"MS31", len(text)) + text + arrays[: draw(st.sampled_from([len(arrays), len(arrays) // 2]))]


def _order(request: SegmentRequest, examples: dict[str, tuple[ExampleRequest, ...]] | None = None) -> bytes:
    digits, sent = "0" * 32, VolumeRef.of(VOLUME)
    return encode(JobRequest(digits, digits, sent, examples or {}, "demo", "cpu", True, False, "", request))


_ORDERS = (
    *(_order(request) for request in REQUESTS),
    _order(SegmentRequest(("liver",)), {"liver": (ExampleRequest(VolumeRef.of(VOLUME), MASK, (2,)),)}),
)
_OFFERS = (encode(VolumeUpload("0" * 64, VOLUME.array.dtype.str, VOLUME.array.shape, VOLUME.grid, "CT")),)


def _refused_in_words(answer: requests.Response) -> None:
    body = answer.json()
    assert 400 <= answer.status_code < 500, body
    assert body["kind"] in ("input", "model", "engine")
    assert body["message"].endswith(".")
    assert "\n" not in body["message"]


def test_a_wrong_order_or_offer_is_refused_in_words_and_the_next_job_works(engine: Engine) -> None:
    engine.client().segment(VOLUME, SegmentRequest(("liver",)))
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {TOKEN}"

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(_spoiled(_ORDERS))
        def order(packet: bytes) -> None:
            answer = session.post(engine.url("/jobs"), data=packet, timeout=20)
            if answer.status_code != 200:
                _refused_in_words(answer)
                return
            last = [event for event in read_events(iter([answer.content])) if event is not None][-1]
            assert isinstance(last, Done | Failed)
            assert "should not" not in getattr(last, "message", "")

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(_spoiled(_OFFERS))
        def offer(packet: bytes) -> None:
            answer = session.post(engine.url("/volumes"), data=packet, timeout=20)
            if answer.status_code != 200:
                _refused_in_words(answer)
                return
            ticket = answer.json()["ticket"]
            _refused_in_words(session.post(engine.url(f"/volumes/{ticket}/complete"), timeout=20))

        order()
        offer()
    works(engine)
    assert [file.name for file in engine.store.folder.iterdir()] == ["proof"]
