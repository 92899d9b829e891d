"""Generated DICOM: every voxel at its place, or one sentence; never silently another volume, a crash or a hang."""

from __future__ import annotations

import shutil
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from scipy.spatial.transform import Rotation

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.volume import Volume
from support.dicom_files import (
    data_set,
    enhanced_file,
    functional_group,
    item,
    misplaced,
    picture,
    save,
    set_pixels,
    value_at,
)
from support.images import sample

_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
)

#: What is wrong with a series, or odd in it, and a word of what is said or of why it is refused.
_FLAWS = {
    "": "",
    "gap": "filled by interpolation",
    "no spacing": "not millimetres",
    "zero spacing": "Pixel Spacing",
    "mixed spacing": "Pixel Spacing",
    "one place missing": "image series|not say where they lie",
    "no places": "left and right are a guess|do not say where they lie",
    "no directions": "left and right are a guess|do not say where they lie",
    "twice": "same position",
    "other types": "magnitude",
    "echoes": "same position",
    "two directions": "image series",
    "two stacks": "gap of|image series",
    "one beside": "do not lie on one line",
    "cut off": "cut off|damaged",
    "too large": "declares|cut off|damaged|image series",
}


@dataclass(frozen=True)
class Case:
    """A series to be written."""

    is_enhanced: bool
    modality: str
    orientation: tuple[float, ...]
    positions: list[tuple[float, ...]]
    is_tilted: bool
    spacing: tuple[float, float]
    scales: list[tuple[float, float]]
    order: list[int]
    bits: int
    signed: bool
    syntax: str
    has_preamble: bool
    same_uid: bool
    jitter: float
    flaw: str
    tags: dict[str, Any] = field(default_factory=dict)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    turn = Rotation.from_euler(
        "xyz", [draw(st.sampled_from([0.0, 90.0, 180.0, 7.5, -33.0])) for _ in "xyz"], degrees=True
    )
    orientation = tuple(np.round(turn.as_matrix()[:, :2].T.ravel(), 9).tolist())
    normal = np.cross(orientation[:3], orientation[3:])
    count = draw(st.integers(1, 7))
    distance = draw(st.sampled_from([0.7, 1.0, 2.5, 4.0]))
    lean = draw(st.sampled_from([0.0, 0.0, 0.0, 0.2]))
    first = np.array([draw(st.integers(-80, 80)) for _ in "xyz"], float)
    step = distance * normal + lean * np.asarray(orientation[3:])
    positions = [tuple(np.round(first + n * step, 6).tolist()) for n in range(count)]
    is_enhanced = draw(st.booleans())
    syntax = draw(st.sampled_from(_SYNTAXES))
    return Case(
        is_enhanced=is_enhanced,
        modality=draw(st.sampled_from(["CT", "MR"])),
        orientation=orientation,
        positions=positions,
        is_tilted=lean != 0 and count > 1,
        spacing=draw(st.sampled_from([(2.0, 1.5), (0.5, 0.5), (1.0, 3.0)])),
        scales=[
            (draw(st.sampled_from([1.0, 1.0, 0.25, 0.5, 2.0])), draw(st.sampled_from([0.0, -1024.0, 12.5])))
            for _ in range(count)
        ],
        order=draw(st.permutations(range(count))),
        bits=16,
        signed=draw(st.booleans()),
        syntax=syntax,
        has_preamble=is_enhanced or syntax == RLELossless or syntax.is_deflated or draw(st.booleans()),
        same_uid=draw(st.booleans()),
        jitter=draw(st.sampled_from([0.0, 0.0, 1e-7, 1e-5])),
        flaw=draw(st.sampled_from(sorted(_FLAWS))),
    )


def write(case: Case, folder: Path) -> str:
    """Write the series; the flaw that it really has, for some need several slices or several files."""
    flaw = case.flaw
    count = len(case.positions)
    frames = [(case.positions[n], case.orientation, case.scales[n], case.spacing, "") for n in case.order]
    if count < 5 and flaw in ("gap", "two stacks", "one beside"):
        flaw = ""
    if count < 3 and flaw in ("one place missing", "mixed spacing", "twice", "other types", "echoes", "two directions"):
        flaw = ""
    if flaw == "gap":
        frames = [frame for frame in frames if frame[0] != case.positions[2]]
    elif flaw == "mixed spacing":
        frames[1] = (*frames[1][:3], (case.spacing[0] * 1.2, case.spacing[1]), "")
    elif flaw == "twice":
        frames.append(frames[0])
    elif flaw == "other types":
        frames = [(*frame[:4], kind) for frame in frames for kind in ("M", "P")]
    elif flaw == "echoes":
        frames = [(*frame[:4], time) for frame in frames for time in ("4.6", "9.2")]
    elif flaw == "two directions":
        turned = (*case.orientation[3:], *(-x for x in case.orientation[:3]))
        frames += [(frame[0], turned, *frame[2:]) for frame in frames[:-1]]
    elif flaw == "two stacks":
        far = np.cross(case.orientation[:3], case.orientation[3:]) * 300
        frames += [(tuple((np.asarray(frame[0]) + far).tolist()), *frame[1:]) for frame in frames[:2]]
    elif flaw == "one beside":
        n = case.order.index(2)
        beside = np.asarray(frames[n][0]) + 5 * np.asarray(case.orientation[:3])
        frames[n] = (tuple(beside.tolist()), *frames[n][1:])
    (write_enhanced if case.is_enhanced else write_classic)(case, flaw, frames, folder)
    return flaw


def stored_of(position: Any, orientation: Any, scale: Any, spacing: Any, kind: str) -> np.ndarray:
    if kind in ("P", "9.2"):
        return np.full((6, 8), 7)
    return np.rint((picture(position, orientation, spacing) - scale[1]) / scale[0])


def jittered(case: Case, n: int, orientation: tuple[float, ...]) -> tuple[float, ...]:
    a = case.jitter * (-1) ** n
    x, y = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    return (*(x + a * y).tolist(), *(y - a * x).tolist())


def encode(data: Dataset, case: Case, stored: np.ndarray) -> None:
    stored = np.clip(stored, -32768 if case.signed else 0, 32767 if case.signed else 65535)
    set_pixels(data, stored, case.bits, case.signed)
    if case.syntax == RLELossless:
        array = stored.astype(np.int16 if case.signed else np.uint16)
        data.compress(RLELossless, array, encoding_plugin="pydicom", generate_instance_uid=False)
    elif case.syntax == ExplicitVRBigEndian:
        data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
    data.file_meta.TransferSyntaxUID = case.syntax


def spoil(data: Dataset, flaw: str, is_last: bool) -> None:
    if not is_last:
        return
    if flaw == "cut off":
        data.PixelData = data.PixelData[: len(data.PixelData) // 2 & ~1]
    elif flaw == "too large":
        data.Rows, data.Columns = 60000, 50000


def write_classic(case: Case, flaw: str, frames: list[Any], folder: Path) -> None:
    for n, (position, orientation, scale, spacing, kind) in enumerate(frames):
        data = data_set(
            "1.2.840.10008.5.1.4.1.1.2" if case.modality == "CT" else "1.2.840.10008.5.1.4.1.1.4", case.modality
        )
        data.PixelSpacing = list(spacing)
        data.ImagePositionPatient = [f"{x:.9g}" for x in position]
        data.ImageOrientationPatient = [f"{x:.9g}" for x in jittered(case, n, orientation)]
        data.RescaleSlope, data.RescaleIntercept = scale
        if kind in ("M", "P"):
            data.ImageType = ["ORIGINAL", "PRIMARY", kind]
        elif kind:
            data.EchoTime = kind
        if case.same_uid:
            data.SOPInstanceUID = "1.2.3.4"
        if flaw == "no spacing":
            del data.PixelSpacing
        elif flaw == "zero spacing":
            data.PixelSpacing = [0, 0]
        elif flaw == "no places" or (flaw == "one place missing" and n == 1):
            del data.ImagePositionPatient
        elif flaw == "no directions":
            del data.ImageOrientationPatient
        stored = stored_of(position, orientation, scale, spacing, kind)
        if flaw == "twice" and n == len(frames) - 1:
            stored = stored + 1
        encode(data, case, stored)
        spoil(data, flaw, n == len(frames) - 1)
        save(data, folder / (f"{n}.dcm" if case.has_preamble else f"IM{n}"), case.has_preamble)


def write_enhanced(case: Case, flaw: str, frames: list[Any], folder: Path) -> None:
    groups, stored = [], []
    for n, (position, orientation, scale, spacing, kind) in enumerate(frames):
        own: dict[str, Any] = {}
        if kind in ("M", "P"):
            own["MRImageFrameTypeSequence"] = item(FrameType=["ORIGINAL", "PRIMARY", "T1", kind])
        elif kind:
            own["MREchoSequence"] = item(EffectiveEchoTime=float(kind))
        sizes: Any = None if flaw == "no spacing" else [0, 0] if flaw == "zero spacing" else spacing
        is_lost = flaw == "no places" or (flaw == "one place missing" and n == 1)
        groups.append(
            functional_group(
                None if is_lost else position,
                None if flaw == "no directions" else jittered(case, n, orientation),
                sizes,
                *scale,
                **own,
            )
        )
        picture_of = stored_of(position, orientation, scale, spacing, kind)
        stored.append(picture_of + (flaw == "twice" and n == len(frames) - 1))
    path = enhanced_file(folder / "volume.dcm", groups, np.stack(stored), modality=case.modality)
    import pydicom

    data = pydicom.dcmread(path)
    made = Dataset()
    made.update(data)
    made.file_meta = data.file_meta
    encode(made, case, np.stack(stored) if len(stored) > 1 else stored[0])
    made.NumberOfFrames = len(stored)
    spoil(made, flaw, True)
    save(made, path)


def inner_error(case: Case, volume: Volume) -> float:
    """How far a resampled volume is from the values that belong to the inner voxels of the slices as taken."""
    row, column = (axis[2:-2, 2:-2].reshape(-1, 1) for axis in np.indices((6, 8)))
    largest = 0.0
    for position in case.positions[1:-1]:
        lps = (
            np.asarray(position)
            + column * case.spacing[1] * np.asarray(case.orientation[:3])
            + row * case.spacing[0] * np.asarray(case.orientation[3:])
        )
        ras = lps * [-1, -1, 1]
        largest = max(largest, float(np.abs(sample(volume, ras) - value_at(ras)).max()))
    return largest


def check(case: Case, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flaw = write(case, folder)
    words = _FLAWS[flaw].split("|")
    try:
        volume = read_volume(folder)
    except InputError as error:
        text = str(error)
        assert str(folder) in text
        assert text.endswith(".")
        assert "\n" not in text
        assert "Doe" not in text
        if flaw == "":
            raise
        assert any(word in text for word in words), text
        return
    said = " ".join(volume.messages)
    assert "Doe" not in said
    assert volume.modality == case.modality
    if flaw:
        assert any(word in said for word in words), (flaw, said)
    elif not case.is_tilted:
        assert said == ""
    if "guess" in said or "millimetres" in said:
        return
    largest = 1 + max(scale for scale, _ in case.scales) / 2 + 200 * case.jitter
    if volume.array.shape == (len(case.positions), 6, 8):
        assert misplaced(volume) <= largest
    else:
        assert "perpendicular" in said
        assert case.is_tilted
        assert inner_error(case, volume) <= largest + 2


_SETTINGS: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
}


@settings(max_examples=60, **_SETTINGS)
@given(cases())
def test_generated_series(tmp_path: Path, case: Case) -> None:
    check(case, tmp_path / "series")


@pytest.mark.slow
@settings(max_examples=2000, **_SETTINGS)
@given(cases())
def test_many_generated_series(tmp_path: Path, case: Case) -> None:
    check(case, tmp_path / "series")


def check_mutated(case: Case, changes: list[tuple[float, int]], kept: float, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(case, folder)
    path = sorted(folder.iterdir())[0]
    content = bytearray(path.read_bytes())
    for where, value in changes:
        content[int(where * (len(content) - 1))] = value
    path.write_bytes(content[: int(kept * len(content))])
    for given_path in (path, folder):
        with suppress(InputError):
            assert read_volume(given_path).array.size < 1_000_000


_CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12)


@settings(max_examples=60, **_SETTINGS)
@given(cases(), _CHANGES, st.sampled_from([1.0, 1.0, 0.9, 0.5]))
def test_mutated_files(tmp_path: Path, case: Case, changes: list[tuple[float, int]], kept: float) -> None:
    check_mutated(case, changes, kept, tmp_path / "series")


@pytest.mark.slow
@settings(max_examples=1000, **_SETTINGS)
@given(cases(), _CHANGES, st.sampled_from([1.0, 1.0, 0.9, 0.5]))
def test_many_mutated_files(tmp_path: Path, case: Case, changes: list[tuple[float, int]], kept: float) -> None:
    check_mutated(case, changes, kept, tmp_path / "series")
