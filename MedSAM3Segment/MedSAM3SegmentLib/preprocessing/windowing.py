"""Intensity windows: from HU or MR intensity to the 8-bit pictures that the model saw in training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.volume import Volume

#: CT windows by name as (low, high) in HU: width and level as commonly used in radiology reading rooms
#: (soft tissue W400 L40, liver W150 L90, lung W1500 L-600, bone W1800 L400, brain W80 L40, mediastinum W350 L50,
#: angiography W600 L300, stroke W40 L40, subdural W200 L80).
CT_WINDOWS: dict[str, tuple[float, float]] = {
    "soft-tissue": (-160.0, 240.0),
    "liver": (15.0, 165.0),
    "lung": (-1350.0, 150.0),
    "bone": (-500.0, 1300.0),
    "brain": (0.0, 80.0),
    "mediastinum": (-125.0, 225.0),
    "angiography": (0.0, 600.0),
    "stroke": (20.0, 60.0),
    "subdural": (-20.0, 180.0),
}

#: The CT window of a concept that has none of its own.
DEFAULT_CT_WINDOW = "soft-tissue"

#: MR and other modalities: these percentiles of the whole volume become black and white (Foundation-MedSAM3-3D uses the
#: same two, but slice by slice, which turns an empty slice into full-range noise).
PERCENTILES = (1.0, 99.0)

#: Below this intensity lies air in HU; no MR, ultrasound or color image reaches it.
_CT_AIR = -500.0


class WindowReason(StrEnum):
    """Why an image is seen through a window."""

    GIVEN = "given"
    CONCEPT = "suits the concept"
    USUAL = "usual for CT"
    VALUES = "from the values"
    DISPLAY = "shown as it is"


@dataclass(frozen=True)
class Window:
    """An intensity window: ``low`` and below become black, ``high`` and above white.

    Attributes:
        low, high: in the volume's own unit (HU for CT).
        name: how the window was chosen, for reports: a preset's name, ``percentiles 1-99``, ``custom`` or ``display``.
        reason: why it was chosen; windows that differ in nothing else are the same.
    """

    low: float
    high: float
    name: str = "custom"
    reason: WindowReason = field(default=WindowReason.GIVEN, compare=False)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise InputError(
                "The window {low:g},{high:g} is empty; its low end must be below its high end.",
                low=self.low,
                high=self.high,
            )

    @classmethod
    def preset(cls, name: str) -> Window:
        """The CT preset called ``name``.

        Raises:
            InputError: there is no such preset.
        """
        try:
            low, high = CT_WINDOWS[name]
        except KeyError:
            known = ", ".join(CT_WINDOWS)
            raise InputError(
                "There is no window named '{name}'; use one of {known}, or LOW,HIGH.", name=name, known=known
            ) from None
        return cls(low, high, name)

    @classmethod
    def parse(cls, text: str) -> Window:
        """A window from ``NAME`` or ``LOW,HIGH``, as typed in a shell."""
        if "," not in text:
            return cls.preset(text.strip().lower())
        try:
            low, high = (float(part) for part in text.split(","))
        except ValueError:
            raise InputError(
                "The window '{text}' is neither a preset's name nor LOW,HIGH, such as -160,240.", text=text
            ) from None
        return cls(low, high)


def is_ct(volume: Volume) -> bool:
    """Whether intensities are Hounsfield units: by modality, else because the volume reaches down to air in HU.

    Color and 8-bit pictures hold none, also when they were taken of a CT.
    """
    if volume.is_color or volume.array.dtype == np.uint8:
        return False
    if volume.modality:
        return volume.modality == "CT"
    if not (np.issubdtype(volume.array.dtype, np.signedinteger) or np.issubdtype(volume.array.dtype, np.floating)):
        return False
    finite = finite_voxels(volume.array)
    return bool(finite.size and finite.min() <= _CT_AIR)


def finite_voxels(array: NDArray) -> NDArray:  # type: ignore[type-arg]
    """The voxels of ``array`` that are numbers, in one row."""
    return array[np.isfinite(array)] if np.issubdtype(array.dtype, np.floating) else array.reshape(-1)


def percentile_window(array: NDArray) -> Window:  # type: ignore[type-arg]
    """Black and white at ``PERCENTILES`` of all finite voxels; a constant volume is shown as black."""
    finite = finite_voxels(array)
    if finite.size == 0:
        raise InputError("The volume holds no finite voxel; check the file it came from.")
    low, high = (float(x) for x in np.percentile(finite, PERCENTILES))
    if high <= low:
        low, high = float(finite.min()), float(finite.max())
    if high <= low:
        high = low + max(1.0, 1e-6 * abs(low))  # at 1e17 adding 1 changes nothing
    return Window(low, high, f"percentiles {PERCENTILES[0]:g}-{PERCENTILES[1]:g}", WindowReason.VALUES)


def choose_window(volume: Volume, preset: str | None = None, override: Window | None = None) -> Window:
    """The window to see ``volume`` through.

    Args:
        volume: a volume of any modality.
        preset: the CT window that suits the concept, or None when it has none.
        override: the user's own window, which always wins.

    Color pictures are shown as they are (0 to 255), and so are 8-bit ones unless they are MR or nuclear images.
    """
    if override is not None:
        return override
    if is_ct(volume):
        chosen = Window.preset(preset or DEFAULT_CT_WINDOW)
        return replace(chosen, reason=WindowReason.CONCEPT if preset else WindowReason.USUAL)
    if volume.is_color or (volume.array.dtype == np.uint8 and volume.modality not in ("MR", "PT", "NM")):
        return Window(0.0, 255.0, "display", WindowReason.DISPLAY)
    return percentile_window(volume.array)


def describe_window(window: Window) -> Message:
    """Through which window a concept was seen, and why."""
    name, low, high = window.name, window.low, window.high
    match window.reason:
        case WindowReason.CONCEPT:
            return message(
                "Seen through the window {name} ({low:g} to {high:g} HU), which suits it.",
                name=name,
                low=low,
                high=high,
            )
        case WindowReason.USUAL:
            return message(
                "Seen through the window {name} ({low:g} to {high:g} HU), as is usual for CT.",
                name=name,
                low=low,
                high=high,
            )
        case WindowReason.VALUES:
            return message(
                "Seen through a window from the image's values ({low:g} to {high:g}, {name}).",
                name=name,
                low=low,
                high=high,
            )
        case WindowReason.DISPLAY:
            return message("Seen as the picture is.")
    return message("Seen through the window that was given ({low:g} to {high:g}).", low=low, high=high)


def window_label(window: Window) -> str:
    """The same in few words, for tables: ``lung: suits the concept``, ``-100 to 200: given``."""
    is_named = window.name in CT_WINDOWS or window.reason is WindowReason.DISPLAY
    return f"{window.name if is_named else f'{window.low:.4g} to {window.high:.4g}'}: {window.reason}"


def to_display(slices: NDArray, window: Window) -> NDArray[np.uint8]:  # type: ignore[type-arg]
    """8-bit pictures of ``slices``; NaN becomes black."""
    with np.errstate(over="ignore"):
        scaled = (slices.astype(np.float32) - window.low) * (255.0 / (window.high - window.low))
    shown = np.clip(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0), 0, 255)
    return np.asarray(np.rint(shown), dtype=np.uint8)
