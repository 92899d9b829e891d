"""How well a mask agrees with a reference."""

from __future__ import annotations

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask


def dice(mask: BoolMask, reference: BoolMask) -> float:
    """The Dice coefficient of two masks of one shape, over all axes: twice the overlap over the sum of both.

    Both empty is full agreement (1.0): what is absent was rightly not found.
    """
    if mask.shape != reference.shape:
        raise ValueError(f"The mask has shape {mask.shape}, the reference {reference.shape}.")
    mask, reference = mask.astype(bool, copy=False), reference.astype(bool, copy=False)
    total = int(np.count_nonzero(mask)) + int(np.count_nonzero(reference))
    return 2.0 * int(np.count_nonzero(mask & reference)) / total if total else 1.0
