"""What goes over the wire comes out as it went in, and nothing else gets through."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.engine.protocol.arrays import PacketReader, PacketWriter
from MedSAM3SegmentLib.engine.protocol.codec import decode, encode
from MedSAM3SegmentLib.engine.protocol.events import (
    Advanced,
    Done,
    Event,
    Failed,
    FailureKind,
    Loading,
    PartialArrived,
    Queued,
    WasCancelled,
)
from MedSAM3SegmentLib.engine.protocol.messages import (
    SIGN_OF_LIFE,
    ExampleRequest,
    JobRequest,
    VolumeRef,
    encode_frame,
    read_events,
)
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.localization.place import Place, Standing
from MedSAM3SegmentLib.messages.message import Message
from MedSAM3SegmentLib.preprocessing.windowing import Window, WindowReason
from MedSAM3SegmentLib.progress import PartialMask, Progress, Stage
from MedSAM3SegmentLib.prompts.prompts import (
    BoxPromptRAS,
    BoxReading,
    MaskPromptRAS,
    PointPromptRAS,
    TargetPrompts,
)
from MedSAM3SegmentLib.provenance import AdapterIdentity, ModelIdentity, Provenance
from MedSAM3SegmentLib.request import (
    Adapt,
    AssemblyOptions,
    Grouping,
    Mode,
    SegmentRequest,
)
from MedSAM3SegmentLib.results.cut_off import CutOff, Limit, Side
from MedSAM3SegmentLib.results.result import ConceptResult, Instance, SegmentResult
from MedSAM3SegmentLib.results.slice_detections import Detection, SliceDetections
from MedSAM3SegmentLib.results.tracks import SliceSource, Stop, StopReason, SuggestedSlice, Track
from MedSAM3SegmentLib.search_region import SearchRegion
from MedSAM3SegmentLib.slice_saving import SliceSaving
from MedSAM3SegmentLib.vocabulary.characters import UNREADABLE
from MedSAM3SegmentLib.vocabulary.phrases import clean_phrase, has_word
from MedSAM3SegmentLib.volume import Volume
from support.equality import assert_same
from support.results import axial_grid, result_of

SHAPE = (3, 4, 5)

_few = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
_numbers = st.floats(-1e6, 1e6)
_scores = st.floats(0, 1)
_small = st.integers(0, 5)
_words = st.text(st.characters(exclude_categories=()), min_size=1, max_size=12).filter(str.strip)
_phrases = _words.filter(lambda text: has_word(clean_phrase(text)) and UNREADABLE not in clean_phrase(text))
_positions = st.tuples(_numbers, _numbers, _numbers)
_flags = st.booleans()


def _arrays(shape: tuple[int, ...], dtype: type) -> st.SearchStrategy[np.ndarray]:
    """Mostly empty arrays, as masks are, and full ones."""
    return st.builds(
        lambda seed, share: np.asarray(
            (np.random.default_rng(seed).random(shape) < share) * np.random.default_rng(seed).integers(1, 9, shape)
        ).astype(dtype),
        st.integers(0, 2**32),
        st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    )


_masks = _arrays(SHAPE, bool)
_windows = st.builds(
    lambda low, width, name, reason: Window(low, low + width, name, reason),
    _numbers,
    st.floats(1, 1e4),
    _words,
    st.sampled_from(WindowReason),
)
_points = st.builds(PointPromptRAS, _positions, _flags)
_boxes = st.builds(BoxPromptRAS, st.lists(_positions, min_size=2, max_size=4).map(tuple), _flags)
_mask_marks = st.builds(MaskPromptRAS, _masks, st.none() | st.lists(_small, max_size=3).map(tuple))


@st.composite
def _prompts(draw: st.DrawFn) -> TargetPrompts:
    drawn = [draw(st.lists(item, max_size=2).map(tuple)) for item in (_points, _boxes, _mask_marks)]
    if not any(drawn):
        drawn[0] = (draw(_points),)
    try:
        return TargetPrompts(*drawn, draw(st.sampled_from(BoxReading)), draw(_flags))
    except InputError:  # what cannot be asked for need not be sent
        return TargetPrompts((draw(_points),))


_index_boxes = st.tuples(*[st.tuples(_small, _small)] * 3)
_places = st.builds(
    Place,
    st.sampled_from(Standing),
    st.none() | _index_boxes,
    st.none() | _index_boxes,
    st.lists(_words, max_size=2).map(tuple),
    _scores,
)


@st.composite
def _requests(draw: st.DrawFn) -> SegmentRequest:
    concepts = tuple(draw(st.lists(_phrases, min_size=1, max_size=3, unique=True)))
    mode = draw(st.sampled_from(Mode))
    drawn = {} if mode is Mode.SLICES else {concept: draw(_prompts()) for concept in concepts}
    more_planes = draw(st.lists(st.sampled_from(Plane), max_size=2).map(tuple))
    if any(prompts.boxes for prompts in drawn.values()):
        more_planes = ()
    adapt = draw(st.none() | st.sampled_from(Adapt))
    inside = draw(st.none() | _masks | st.just("a structure around them"))
    return SegmentRequest(
        concepts,
        plane=draw(st.sampled_from(Plane)),
        slices=draw(st.none() | st.tuples(_small, _small)),
        window=draw(st.none() | _windows),
        threshold=draw(st.none() | _scores),
        mode=mode,
        prompts=drawn,
        region=draw(st.none() | _boxes),
        inside=inside,
        more_planes=more_planes,
        assembly=draw(st.builds(AssemblyOptions, _flags, _flags, _flags, _flags, _flags)),
        grouping=draw(st.sampled_from(Grouping)),
        adapt=adapt,
        adapt_name="" if adapt is None or isinstance(inside, str) else draw(_words),
        saving=draw(st.builds(SliceSaving, st.integers(1, 9), st.floats(0, 9))),
        draft=draw(_flags),
        places=draw(st.dictionaries(_words, _places, max_size=2)),
    )


_soft_masks = st.builds(
    SoftMask,
    st.tuples(_small, _small),
    _small,
    _small,
    st.sampled_from([(0, 0), (2, 3), (1, 4)]).flatmap(lambda shape: _arrays(shape, np.float16)),
)
_detections = st.builds(
    Detection, _scores, _scores, _scores, st.tuples(_scores, _scores, _scores, _scores), _soft_masks
)
_evidence = st.builds(
    SliceDetections,
    _small,
    _scores | st.just(float("nan")),
    _scores,
    st.lists(_detections, max_size=2).map(tuple),
    st.none() | _soft_masks,
)
_cuts = st.builds(CutOff, st.sampled_from(Limit), st.none() | st.sampled_from(Side), st.none() | _small)
_instances = st.builds(
    Instance, _small, _small, _numbers, _small, _small, _scores, st.lists(_cuts, max_size=2).map(tuple)
)
_stops = st.builds(Stop, _small, _flags, st.sampled_from(StopReason), _words)
_tracks = st.builds(
    Track,
    st.lists(_small, max_size=2).map(tuple),
    _scores,
    st.dictionaries(_small, _soft_masks, max_size=2),
    st.dictionaries(_small, _scores, max_size=2),
    st.lists(_small, max_size=2).map(tuple),
    st.lists(_stops, max_size=2).map(tuple),
    _flags,
    st.dictionaries(_small, st.sampled_from(SliceSource), max_size=2),
    st.dictionaries(_small, _numbers, max_size=2),
)
_literals = _words.map(lambda text: text.replace("{", "{{").replace("}", "}}"))
_holes = st.sampled_from(["{name}", "{name2}", "{count}", "{score:.2f}", "{score:g}"])


@st.composite
def _one_message(draw: st.DrawFn, inner: st.SearchStrategy[str] = _words) -> Message:
    template = " ".join(draw(st.lists(_literals | _holes, min_size=1, max_size=5)))
    facts = {"name": draw(inner), "name2": draw(inner), "count": draw(_small), "score": draw(_numbers)}
    return Message(template, {name: fact for name, fact in facts.items() if f"{{{name}" in template})


_messages = _one_message(_words | _one_message(_words | _one_message()))
_sentences = st.lists(_messages, max_size=2).map(tuple)
_concepts = st.builds(
    ConceptResult,
    _words,
    _words,
    _windows,
    st.lists(_evidence, max_size=2).map(tuple),
    _flags,
    _messages,
    _masks,
    _arrays(SHAPE, np.uint16),
    st.lists(_instances, max_size=2).map(tuple),
    _sentences,
    st.lists(_tracks, max_size=2).map(tuple),
    _sentences,
    st.dictionaries(_small, st.sampled_from(SliceSource), max_size=2),
    st.none()
    | st.builds(SuggestedSlice, _small, st.none() | st.sampled_from(SliceSource), _numbers, st.none() | _numbers),
    place=st.none() | _places,
)
_identities = st.builds(
    ModelIdentity, _words, _words, _flags, st.lists(st.builds(AdapterIdentity, _words, _words), max_size=2).map(tuple)
)
_provenances = st.builds(
    Provenance,
    _identities,
    _words,
    _words,
    _scores,
    _words,
    _words,
    _words,
    st.dictionaries(_words, _words, max_size=2),
    st.sampled_from([mode.value for mode in Mode]),
    st.dictionaries(_words, _words, max_size=2),
    st.just("") | _words,
    st.just("") | _words,
    st.just("") | _words,
)


@st.composite
def _results(draw: st.DrawFn) -> SegmentResult:
    matrix = np.diag([-draw(st.floats(0.1, 9)), -1.0, 2.5, 1.0])
    matrix[:3, 3] = draw(_positions)
    stack = SliceStack.along(VoxelGrid(SHAPE, matrix), draw(st.sampled_from(Plane)))
    search_region = st.builds(
        SearchRegion,
        st.just(stack),
        st.just((0, 2)),
        st.just((slice(0, 3), slice(1, 2), slice(0, 5))),
        st.none() | _masks,
        st.just("") | _words,
        _flags,
        st.dictionaries(_words, _places, max_size=2),
    )
    return SegmentResult(
        stack,
        tuple(draw(st.lists(_concepts, max_size=2))),
        draw(_provenances),
        draw(st.dictionaries(_words, _numbers, max_size=2)),
        draw(_sentences),
        draw(st.builds(AssemblyOptions, _flags, _flags, _flags, _flags, _flags)),
        draw(st.none() | search_region),
    )


_events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Queued, _small),
    st.builds(Loading, _words),
    st.builds(Advanced, st.builds(Progress, st.sampled_from(Stage), _small, _small, st.none() | _numbers)),
    st.builds(PartialArrived, st.builds(PartialMask, _words, _small, _scores, _arrays((6, 7), bool))),
    st.builds(Done, _results()),
    st.builds(Failed, _messages, st.sampled_from(FailureKind)),
    st.builds(WasCancelled, _messages),
)


@_few
@given(_requests())
def test_a_request_comes_back_equal(request: SegmentRequest) -> None:
    assert_same(request, decode(encode(request), SegmentRequest, finite=True))


_sent_volumes = st.builds(VolumeRef, _words, _words, _sentences, _flags)
_examples = st.builds(ExampleRequest, _sent_volumes, _masks, st.none() | st.lists(_small, max_size=3).map(tuple))
_orders = st.builds(
    JobRequest,
    _words,
    _words,
    _sent_volumes,
    st.dictionaries(_words, st.lists(_examples, max_size=2).map(tuple), max_size=2),
    _words,
    _words,
    _flags,
    _flags,
    _words,
    _requests(),
)


@_few
@given(_orders)
def test_an_order_comes_back_equal(order: JobRequest) -> None:
    assert_same(order, decode(encode(order), JobRequest, finite=True))


@_few
@given(st.lists(_events, max_size=3), _flags, st.integers(1, 4000))
def test_events_come_back_equal_however_the_stream_is_cut(events: list[Event], compress: bool, cut: int) -> None:
    stream = SIGN_OF_LIFE.join(encode_frame(event, compress) for event in events)

    read = [
        event for event in read_events(stream[n : n + cut] for n in range(0, len(stream), cut)) if event is not None
    ]

    assert_same(tuple(events), tuple(read))


def _field_names(kind: type) -> set[str]:
    """All fields of a dataclass and of those in it, as paths."""
    names = set()
    for field in fields(kind):
        if not field.metadata.get("is_sent", True):
            continue
        names.add(f"{kind.__name__}.{field.name}")
        todo = [get_type_hints(kind)[field.name]]
        while todo:
            hint = todo.pop()
            todo.extend(get_args(hint))
            if is_dataclass(hint):
                names |= _field_names(hint)
    return names


def _fields_made(value: object) -> Iterator[str]:
    """The fields of all dataclasses in ``value`` that hold something else than what they hold by default."""
    if isinstance(value, Mapping):
        value = (*value.keys(), *value.values())
    if isinstance(value, tuple | list):
        for item in value:
            yield from _fields_made(item)
    if not is_dataclass(value) or isinstance(value, type):
        return
    for field in fields(value):
        held = getattr(value, field.name)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if default is MISSING or isinstance(held, np.ndarray) or held != default:
            yield f"{type(value).__name__}.{field.name}"
        yield from _fields_made(held)


@pytest.mark.parametrize(("kind", "values"), [(JobRequest, _orders), (SegmentResult, _results())])
def test_every_field_of_the_words_is_made_above(kind: type, values: st.SearchStrategy[object]) -> None:
    """A field that someone adds must be made by the generators of this file too: only then its way is tested."""
    made: set[str] = set()

    @settings(_few, max_examples=150, phases=[Phase.generate], database=None, derandomize=True)
    @given(values)
    def look(value: object) -> None:
        made.update(_fields_made(value))

    look()

    assert _field_names(kind) - made == set()


def test_a_sparse_mask_travels_as_few_bytes() -> None:
    mask = np.zeros((300, 256, 256), bool)
    mask[100:140, 50:90, 60:110] = True
    request = SegmentRequest(("liver",), inside=mask)

    packet = encode(request)

    assert len(packet) < 12_000  # 40 * 40 * 50 bits are 10 kB
    assert_same(request, decode(packet, SegmentRequest))


def test_the_masks_of_dozens_of_concepts_in_a_large_volume_arrive() -> None:
    """They are mostly zeros; together they would be 9.4 GB."""
    mask, labels = np.zeros((1000, 512, 512), bool), np.zeros((1000, 512, 512), np.uint16)
    mask[500, 200:220, 200:230] = labels[500, 200:220, 200:230] = 1
    volume = Volume(np.zeros((4, 4, 4), np.int16), axial_grid((4, 4, 4)), "CT")
    small = result_of(volume, {"liver": volume.array == 0})
    concept = replace(small.concepts[0], mask=mask, instance_map=labels)
    sent = Done(replace(small, concepts=(concept,) * 12))

    (event,) = read_events(iter([encode_frame(sent, compress=False)]))

    assert isinstance(event, Done)
    assert len(event.result.concepts) == 12
    for arrived in event.result.concepts:
        # A few slices, because looking at all of them would take their memory.
        np.testing.assert_array_equal(arrived.mask[499:502], mask[499:502])
        np.testing.assert_array_equal(arrived.instance_map[499:502], labels[499:502])


@_few
@given(st.binary(max_size=400))
def test_noise_is_refused_in_words(noise: bytes) -> None:
    for data in (noise, struct.pack("<4sQ", b"MS31", len(noise)) + noise):
        with pytest.raises(InputError):
            decode(data, JobRequest)


@_few
@given(st.data(), _requests())
def test_a_damaged_request_is_refused_or_still_a_request(data: st.DataObject, request: SegmentRequest) -> None:
    packet = bytearray(encode(request))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    with suppress(InputError):
        assert isinstance(decode(bytes(packet), SegmentRequest, 10**6, finite=True), SegmentRequest)


def _packet_of(*lines: Any) -> bytes:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode()
    return struct.pack("<4sQ", b"MS31", len(text)) + text


def _plain_request() -> dict[str, Any]:
    return json.loads(PacketReader(encode(SegmentRequest(("liver",))), 0)._lines[-1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"concepts": []}, "No concept"),
        ({"concepts": "liver"}, "not a list"),
        ({"concepts": [3]}, "not text"),
        ({"plane": "diagonal"}, "not one of acquired"),
        ({"threshold": "0.5"}, "not a number"),
        ({"threshold": 1e400}, "not a finite number"),
        ({"threshold": 7}, "not between 0 and 1"),
        ({"slices": [1]}, "list of 2"),
        ({"slices": [True, 2]}, "not a whole number"),
        ({"mode": None}, "not one of slices"),
        ({"inside": 3}, "not described"),
        ({"inside": "liver"}, "inside of itself"),
        ({"inside": {"dtype": "|b1"}}, "not described"),
        ({"inside": {"dtype": "|O", "shape": [1], "start": [0], "stop": [1], "at": 0}}, "not described"),
        ({"inside": {"dtype": "|b1", "shape": [-1], "start": [0], "stop": [0], "at": 0}}, "not described"),
        ({"inside": {"dtype": "|b1", "shape": [10**9] * 3, "start": [0] * 3, "stop": [0] * 3, "at": 0}}, "more than"),
        ({"inside": {"dtype": "|b1", "shape": [9], "start": [0], "stop": [9], "at": 0}}, "cut short"),
        ({"inside": {"dtype": "<f4", "shape": [0], "start": [0], "stop": [0], "at": 0}}, "holds float32 where bool"),
        ({"assembly": {"link": True}}, "same version"),
        ({"more": 1}, "same version"),
        ({"prompts": {"liver": 1}}, "list of pairs"),
    ],
)
def test_a_wrong_field_is_named_in_one_sentence(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        decode(_packet_of({**_plain_request(), **change}), SegmentRequest, 10**6, finite=True)

    assert str(refusal.value).endswith(".")
    assert "\n" not in str(refusal.value)


def test_an_array_of_another_kind_is_refused() -> None:
    writer = PacketWriter()
    place = writer.add_array(np.ones((2, 2, 2), np.float32))
    writer.add_line({**_plain_request(), "inside": place})
    with pytest.raises(InputError, match="holds float32 where bool belongs"):
        decode(writer.to_bytes(), SegmentRequest)


@pytest.mark.parametrize("line", ["{", "[" * 100_000, "1" * 5000, '{"line": 99}', "null", '"text"'])
def test_a_line_that_is_no_request_is_refused(line: str) -> None:
    with pytest.raises(InputError):
        decode(_packet_of(line), SegmentRequest)


def test_pickles_are_not_read(tmp_path) -> None:
    class Harm:
        def __reduce__(self):
            return open, (str(tmp_path / "harm"), "w")

    with pytest.raises(InputError):
        decode(pickle.dumps(Harm()), SegmentRequest)
    assert not (tmp_path / "harm").exists()


def test_the_client_loads_nothing_heavy() -> None:
    """Slicer's own process imports the client; torch and the web framework belong to the engine's."""
    code = (
        "import sys; import MedSAM3SegmentLib.engine.process.engine_process; "
        "import MedSAM3SegmentLib.engine.client.engine_client; "
        "print(sorted({'torch', 'transformers', 'starlette', 'uvicorn', 'requests'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
