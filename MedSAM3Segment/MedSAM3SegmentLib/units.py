"""How much of a volume something is, in the unit that means something there."""

from __future__ import annotations

import numpy as np

from .volume import Volume


def is_plain_picture(volume: Volume) -> bool:
    """Whether the volume is a PNG or JPEG, or frames: its pixels have no size, and its left side is nobody's right."""
    picture = 1 in volume.grid.shape and not volume.modality and volume.array.dtype == np.uint8
    return volume.is_sequence or picture


def amount(volume: Volume, voxels: int) -> str:
    """How much of ``volume`` that is: millilitres, or pixels of a plain picture."""
    if is_plain_picture(volume):
        return f"{voxels} px"
    return in_millilitres(voxels * volume.grid.voxel_volume_mm3)


def in_millilitres(volume_mm3: float) -> str:
    """A volume in words."""
    millilitres = volume_mm3 / 1000
    return f"{millilitres:.0f} mL" if millilitres >= 100 else f"{millilitres:.3g} mL"
