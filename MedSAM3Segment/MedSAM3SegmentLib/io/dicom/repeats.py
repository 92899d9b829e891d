"""Several images at one position: what tells them apart, and which of them make up a volume each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from MedSAM3SegmentLib.messages.message import Message, joined, message

from .elements import codes
from .frames import Frame

#: Slices that are closer to each other than this fraction of the usual distance lie at the same position.
_SAME_PLACE = 0.05
_SAME_PLACE_MM = 1e-3

#: Codes of Image Type and Frame Type for the parts of a complex image (PS3.3 C.8.3.1.1.1, C.8.13.3.1.1).
_MAGNITUDE = {"M", "MAGNITUDE"}
_COMPONENTS = {
    **dict.fromkeys(("M", "MAGNITUDE"), "magnitude"),
    **dict.fromkeys(("P", "PHASE"), "phase"),
    **dict.fromkeys(("R", "REAL"), "real part"),
    **dict.fromkeys(("I", "IMAGINARY"), "imaginary part"),
    **dict.fromkeys(("FIELD_MAP", "B0", "B0 MAP"), "field map"),
}

#: The most attributes that have to be looked at together.
_MOST_TOGETHER = 3


@dataclass(frozen=True)
class _Attribute:
    """What may tell images at one position apart: its name, and where it is said."""

    name: Message
    places: tuple[tuple[str, str], ...]
    unit: str = ""

    def of(self, frame: Frame) -> str:
        return next((said for place in self.places if (said := frame.text(*place))), "")


_ATTRIBUTES = (
    _Attribute(message("echo time"), (("MREchoSequence", "EffectiveEchoTime"), ("MREchoSequence", "EchoTime")), " ms"),
    _Attribute(message("echo"), (("MREchoSequence", "EchoNumbers"),)),
    _Attribute(message("b-value"), (("MRDiffusionSequence", "DiffusionBValue"),), " s/mm²"),
    _Attribute(
        message("time point"),
        (
            ("FrameContentSequence", "TemporalPositionIndex"),
            ("TemporalPositionSequence", "TemporalPositionIdentifier"),
        ),
    ),
    _Attribute(
        message("cardiac phase"), (("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),), " %"
    ),
    _Attribute(message("trigger time"), (("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),), " ms"),
    _Attribute(message("trigger time"), (("CardiacSynchronizationSequence", "TriggerTime"),), " ms"),
    _Attribute(message("inversion time"), (("MRModifierSequence", "InversionTime"),), " ms"),
    _Attribute(message("flip angle"), (("MRTimingAndRelatedParametersSequence", "FlipAngle"),), "°"),
    _Attribute(message("tube voltage"), (("CTXRayDetailsSequence", "KVP"),), " kV"),
    _Attribute(message("convolution kernel"), (("CTReconstructionSequence", "ConvolutionKernel"),)),
    _Attribute(message("acquisition"), (("FrameContentSequence", "FrameAcquisitionNumber"), ("", "AcquisitionNumber"))),
    _Attribute(message("diffusion direction"), (("MRDiffusionSequence", "DiffusionGradientOrientation"),)),
    _Attribute(message("frame time"), (("FrameContentSequence", "FrameReferenceDateTime"), ("", "FrameReferenceTime"))),
    _Attribute(message("acquisition time"), (("", "AcquisitionTime"),)),
    _Attribute(message("volume"), (("", "InstanceNumber"),)),
)


@dataclass(frozen=True)
class Part:
    """Images that make up one volume, and what they have in common that others at their positions do not.

    Attributes:
        frames: the images.
        name: as in "echo time 4.6 ms".
        is_magnitude: whether they are the magnitude, and the others parts or maps of the same measurement.
    """

    frames: list[Frame]
    name: Message
    is_magnitude: bool = False


def have_repeats(frames: Sequence[Frame]) -> bool:
    """Whether some of the images lie at the same position along their common normal."""
    return _repeats(_heights(frames))


def split_repeats(frames: Sequence[Frame]) -> tuple[list[Part], Message]:
    """The volumes that images at the same positions make up.

    Returns:
        The parts, none where nothing tells them apart; and what there is, in words.
    """
    heights = dict(zip(frames, _heights(frames), strict=True))

    def fits(parts: Sequence[Sequence[Frame]]) -> bool:
        places = max(len(part) for part in parts)
        return all(
            2 * len(part) > places and not _repeats(np.array([heights[frame] for frame in part])) for part in parts
        )

    by_type = _group(frames, _types_apart(frames))
    if len(by_type) > 1 and fits(list(by_type.values())):
        names = {key: _type_name(key) for key in by_type}
        parts = [Part(list(by_type[key]), names[key], bool(_MAGNITUDE & set(key))) for key in by_type]
        return parts, joined((part.name for part in parts), ", ")
    varying = [attribute for attribute in _ATTRIBUTES if len({attribute.of(frame) for frame in frames}) > 1]
    for count in range(1, _MOST_TOGETHER + 1):
        for chosen in combinations(varying, count):
            groups = _group(frames, lambda frame, chosen=chosen: tuple(item.of(frame) for item in chosen))  # type: ignore[misc]
            if fits(list(groups.values())):
                parts = [
                    Part(
                        groups[key], joined([_said(item, value) for item, value in zip(chosen, key, strict=True)], ", ")
                    )
                    for key in sorted(groups, key=_numeric)
                ]
                return parts, joined((part.name for part in parts), "; ")
    few = [item for item in varying if len({item.of(frame) for frame in frames}) <= len(frames) // 2][:3]
    if not few:
        return [], message("time points, echoes or reconstructions of one series")
    return [], joined((_listed(item, {item.of(frame) for frame in frames}) for item in few), "; ")


def mixes_components(frames: Sequence[Frame]) -> bool:
    """Whether some images are magnitudes and others phases, parts or maps, wherever they lie."""
    found = {frozenset(_COMPONENTS[code] for code in _types(frame) if code in _COMPONENTS) for frame in frames}
    return len(found - {frozenset()}) > 1


def _heights(frames: Sequence[Frame]) -> np.ndarray:
    orientation = frames[0].orientation or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    normal = np.cross(orientation[:3], orientation[3:])
    return np.array([float(normal @ np.asarray(frame.position or (0.0, 0.0, 0.0))) for frame in frames])


def _repeats(heights: np.ndarray) -> bool:
    if len(heights) < 2:
        return False
    steps = np.diff(np.sort(heights))
    usual = np.percentile(steps, 75, method="lower")
    return bool(steps.min() < max(_SAME_PLACE_MM, _SAME_PLACE * usual))


def _types(frame: Frame) -> tuple[str, ...]:
    for sequence in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence"):
        if (found := frame.find(sequence, "FrameType")) is not None:
            component = frame.text(sequence, "ComplexImageComponent").upper()
            return (*codes(found, "FrameType"), *([component] if component else []))
    return frame.image.image_type


def _types_apart(frames: Sequence[Frame]) -> Callable[[Frame], tuple[str, ...]]:
    """Of each frame's types those that not all frames have."""
    everywhere = set.intersection(*(set(_types(frame)) for frame in frames))
    return lambda frame: tuple(dict.fromkeys(code for code in _types(frame) if code not in everywhere))


def _type_name(key: tuple[str, ...]) -> Message:
    known = list(dict.fromkeys(_COMPONENTS[code] for code in key if code in _COMPONENTS))
    others = [code for code in key if code not in _COMPONENTS]
    named = ", ".join((*known, *others)) or "?"
    return message("frame type {name}", name=named)


def _group(frames: Sequence[Frame], key: Callable[[Frame], tuple[str, ...]]) -> dict[tuple[str, ...], list[Frame]]:
    groups: dict[tuple[str, ...], list[Frame]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    return groups


def _said(attribute: _Attribute, value: str) -> Message:
    return message("{name} {value}", name=attribute.name, value=_shown(attribute, value))


def _listed(attribute: _Attribute, values: set[str]) -> Message:
    shown = [_shown(attribute, *value) for value in sorted(((value,) for value in values), key=_numeric)]
    more = ", ..." if len(shown) > 6 else ""
    return message(
        "{count} values of {name}: {values}", count=len(shown), name=attribute.name, values=", ".join(shown[:6]) + more
    )


def _shown(attribute: _Attribute, value: str) -> str:
    return f"{value[:40]}{attribute.unit}" if value else "?"


def _numeric(key: tuple[str, ...]) -> tuple[tuple[int, float, str], ...]:
    """Sorts numbers as numbers."""
    parts = []
    for value in key:
        try:
            parts.append((0, float(value), ""))
        except ValueError:
            parts.append((1, 0.0, value))
    return tuple(parts)
