"""Amounts in words: counts, bytes, milliliters, and pixels where they have no size."""

from __future__ import annotations

import numpy as np

from .volume import Volume


def is_plain_picture(volume: Volume) -> bool:
    """Whether the volume is a PNG or JPEG, or frames: its pixels have no size, and its left side is nobody's right."""
    picture = 1 in volume.grid.shape and not volume.modality and volume.array.dtype == np.uint8
    return volume.is_sequence or picture


def format_volume(volume: Volume, voxels: int) -> str:
    """How much of ``volume`` that is: milliliters, or pixels of a plain picture."""
    if is_plain_picture(volume):
        return f"{voxels} px"
    return format_milliliters(voxels * volume.grid.voxel_volume_mm3)


def format_count(number: int, name: str) -> str:
    """``1 case``, ``2 cases``, ``3 boxes``."""
    if number == 1:
        return f"1 {name}"
    return f"{number} {name}{'es' if name.endswith('x') else 's'}"


def format_milliliters(volume_mm3: float) -> str:
    """A volume in words."""
    milliliters = volume_mm3 / 1000
    return f"{milliliters:.0f} mL" if milliliters >= 100 else f"{milliliters:.3g} mL"


def format_bytes(count: int) -> str:
    """Bytes as ``12 MB`` or ``1.5 GB``; of a thousand, as disks and downloads are labeled."""
    megabytes = round(count / 1e6)
    return f"{count / 1e9:.1f} GB" if megabytes >= 500 else f"{megabytes} MB"
