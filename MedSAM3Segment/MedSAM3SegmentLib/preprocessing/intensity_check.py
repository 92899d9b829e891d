"""Whether the values of an image are what its windows are for: CT that is not in HU, MR taken for CT, and the reverse.

Told from the voxels, before anything is looked for, because a model that sees an image through the wrong window finds
nothing. In Hounsfield units (HU) air is -1000, fat -100, water 0 and soft tissue below 100. What is said must be wrong
hardly ever: fields without air, metal, contrast, CBCT and padding of any value are CT as well.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.volume import Volume

from .windowing import CT_WINDOWS, DEFAULT_CT_WINDOW, PERCENTILES, finite_voxels, is_ct

#: Voxels that are looked at; more say no more.
_SAMPLE = 500_000

#: Fewer voxels have no distribution to speak of.
_FEWEST = 500

#: A lowest or highest value that so many voxels share is padding, or where the image was cut off.
_PADDING_SHARE, _CUT_SHARE = 0.01, 0.02

_PADDING_GAP = 300.0

#: What programs scale the highest value to.
_SCALES = (255.0, 1000.0, 4095.0, 65535.0)

#: What is added to HU where values are stored without a sign: the usual rescale intercept of CT, the other way round.
_STORED_OFFSET = 1024.0

Values = NDArray[np.float64]


def check_intensities(volume: Volume) -> tuple[Message, ...]:
    """One sentence where the values of ``volume`` are not what the windows are for, with what to give; else none.

    It concerns runs that choose windows by themselves; who gives one knows the values.
    """
    if volume.is_color or volume.modality not in ("", "CT", "MR"):
        return ()
    if volume.array.dtype == np.uint8:
        return (_describe_8_bit(),) if volume.modality == "CT" else ()
    values = _sample(volume)
    if values.size < _FEWEST or values.min() == values.max():
        return ()
    if volume.modality == "MR":
        said = _describe_ct_said_mr() if _looks_like_hu_with_air(values) else None
    elif volume.modality == "CT":
        said = _check_ct(values, _is_scaled(volume))
    elif is_ct(volume):
        said = _check_taken_for_ct(values)
    else:
        said = _describe_offset() if _looks_stored(values, least=0.6) else None
    return () if said is None else (said,)


def _check_ct(values: Values, is_scaled: bool) -> Message | None:
    """What is wrong with the values of what is said to be a CT."""
    body = _without_padding(values)
    if body.size == 0 or np.ptp(body) == 0:
        return None
    if _looks_stored(values, least=0.5):
        return _describe_offset()
    lowest, middle, high = np.percentile(body, (0.1, 50, 99))
    has_no_air = (
        lowest >= -20 and not -1100 <= values.min() <= -900 and (is_scaled or not _is_soft_tissue(values, middle, high))
    )
    is_too_low = high < -300 and np.percentile(body, 1) < -1500
    # Noise alone is more than this, in HU.
    if np.ptp(values) <= 30 or has_no_air or is_too_low or not _is_mostly_hu(values, least=0.2):
        return _describe_no_hu(values)
    return _describe_cut(values)


def _check_taken_for_ct(values: Values) -> Message | None:
    """What is wrong with the values of what is a CT for nothing but its lowest one."""
    if _looks_stored(values, least=0.5):
        return _describe_offset()
    return None if _is_mostly_hu(values, least=0.3) else _describe_taken_for_ct(values)


def _is_scaled(volume: Volume) -> bool:
    """Whether the values fill a range that programs scale to."""
    values = finite_voxels(volume.array)
    return float(values.min()) == 0.0 and float(values.max()) in _SCALES


def _sample(volume: Volume) -> Values:
    """Finite voxels from all over the volume, in one row."""
    step = max(1, math.ceil((volume.array.size / _SAMPLE) ** (1 / 3)))
    steps = tuple(step if length > 2 * step else 1 for length in volume.array.shape)
    some = volume.array[tuple(slice(None, None, step) for step in steps)]
    return finite_voxels(some).astype(np.float64)


def _without_padding(values: Values) -> Values:
    """Without the lowest value, where many voxels share it or nothing is near: what the field leaves out."""
    is_lowest = values == values.min()
    rest = values[~is_lowest]
    is_apart = rest.size > 0 and rest.min() - values.min() >= _PADDING_GAP
    return rest if is_apart or is_lowest.mean() >= _PADDING_SHARE else values


def _share(values: Values, low: float, high: float) -> float:
    return float(((values >= low) & (values <= high)).mean())


def _is_soft_tissue(values: Values, middle: float, high: float) -> bool:
    """Whether these are HU of a small field inside an organ, which has neither fat nor air in it."""
    return 10 <= middle <= 250 and high <= 500 and _share(values, -np.inf, 3) < 0.01


def _looks_like_hu_with_air(values: Values) -> bool:
    """Air and soft tissue, each where HU have it."""
    return _share(_without_padding(values), -1100, -850) >= 0.05 and _share(values, -200, 300) >= 0.1


def _is_mostly_hu(values: Values, least: float) -> bool:
    """Whether so large a share of the values is that of air, lung, fat or soft tissue, or padding."""
    padding = 1 - _without_padding(values).size / values.size
    return padding + _share(_without_padding(values), -1150, -500) + _share(values, -200, 300) >= least


def _looks_stored(values: Values, least: float) -> bool:
    """Whether these are HU with ``_STORED_OFFSET`` on top: air near 0, and soft tissue in one narrow peak near 1060.

    The peak tells it from MR, whose tissues spread: of CT 35 % and more of what is no air lie within 150 HU.

    Args:
        least: the share of what is no air that must lie where soft tissue would.
    """
    body = _without_padding(values)
    dense = body[body > 300]
    if body.size == 0 or np.percentile(body, 0.1) < -60 or dense.size < 0.05 * body.size:
        return False
    has_air = _share(values, -np.inf, 150) >= 0.05
    counts = np.histogram(dense, np.arange(300, 3000, 25))[0]
    windows = np.convolve(counts, np.ones(6), "valid")
    peak = 300 + 25 * int(windows.argmax()) + 75
    is_narrow = windows.max() >= 0.35 * dense.size and 900 <= peak <= 1200
    return has_air and is_narrow and _share(dense, 850, 1350) >= least


def _describe_offset() -> Message:
    low, high = CT_WINDOWS[DEFAULT_CT_WINDOW]
    return message(
        "The values look like those of a CT with {offset:g} added and not like Hounsfield units (HU), in which air is "
        "-1000; give the window in the image's own values, for soft tissue --window {low:g},{high:g} (in the console "
        "window=), or correct the image.",
        offset=_STORED_OFFSET,
        low=low + _STORED_OFFSET,
        high=high + _STORED_OFFSET,
    )


def _describe_no_hu(values: Values) -> Message:
    low, high = _own_window(values)
    return message(
        "The values of this CT, {lowest:.4g} to {highest:.4g}, do not look like Hounsfield units (HU), in which air is "
        "-1000 and water 0; give the window in the image's own values, such as --window {low:g},{high:g} (in the "
        "console window=), or --modality if it is no CT.",
        lowest=float(values.min()),
        highest=float(values.max()),
        low=low,
        high=high,
    )


def _describe_taken_for_ct(values: Values) -> Message:
    low, high = _own_window(values)
    return message(
        "The image is taken for a CT because it has values below -500, but they do not look like Hounsfield units "
        "(HU); say what it is, such as --modality MR, or give the window, such as --window {low:g},{high:g} (in the "
        "console window=).",
        low=low,
        high=high,
    )


def _describe_ct_said_mr() -> Message:
    return message(
        "The image is said to be MR, but its values look like Hounsfield units (HU) of a CT; if it is one, give "
        "--modality CT, or a CT window such as --window soft-tissue (in the console window=)."
    )


def _describe_8_bit() -> Message:
    return message(
        "This CT has 8-bit values, which are no Hounsfield units (HU), and is shown as it is, from 0 to 255; give the "
        "CT as it was, or another window with --window (in the console window=)."
    )


def _describe_cut(values: Values) -> Message | None:
    """Whether what a CT window would show was cut off before."""
    lowest, highest = float(values.min()), float(values.max())
    is_cut_below = lowest > -500 and (values == lowest).mean() >= _CUT_SHARE
    is_cut_above = highest < 1000 and (values == highest).mean() >= _CUT_SHARE
    if not is_cut_below:
        # Air that is cut off above is no CT anybody would segment; bone is.
        return None
    if not is_cut_above:
        return message(
            "The values of this CT were cut off at {low:g} HU, so that lung and air cannot be told apart in any "
            "window; give the CT as it was, or --window where another one is meant (in the console window=).",
            low=lowest,
        )
    return message(
        "The values of this CT were cut off at {low:g} and {high:g} HU, and no window shows what lies beyond; give the "
        "CT as it was, or --window {low:g},{high:g} to see all that is left (in the console window=).",
        low=lowest,
        high=highest,
    )


def _own_window(values: Values) -> tuple[float, float]:
    """A window in the image's own values that shows most of them, in round numbers."""
    low, high = (float(value) for value in np.percentile(values, PERCENTILES))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    digits = 1 - math.floor(math.log10(high - low))
    return round(low, digits), round(high, digits)
