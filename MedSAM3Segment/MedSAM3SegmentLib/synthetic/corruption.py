"""Slices spoiled on purpose, as motion, noise and passing contrast spoil them: for training and for measuring."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask

#: Standard deviation of the noise, as a share of the range from the median to the brightest hundredth.
_NOISE = 0.6

#: And of what takes the place of organs without contrast.
_TEXTURE = 0.03


def corrupt_slices(slices: NDArray[np.float32], shown: BoolMask, share: float, rng: np.random.Generator) -> list[int]:
    """Spoil ``share`` of the slices in place: every other by noise, the rest without organ contrast.

    Args:
        slices: ``[slice, row, column]``.
        shown: of the same shape; where the organs are.

    Returns:
        The numbers of the spoiled slices, in the order they were drawn.
    """
    low, high = np.percentile(slices, [50, 99])
    body = float(np.median(slices[(slices > low) & ~shown]))
    spoiled: list[int] = rng.choice(len(slices), round(len(slices) * share), replace=False).tolist()
    for number, index in enumerate(spoiled):
        if number % 2 == 0:
            slices[index] += rng.normal(0, _NOISE * (high - low), slices[index].shape)
        else:
            texture = rng.normal(0, _TEXTURE * (high - low), np.count_nonzero(shown[index]))
            slices[index][shown[index]] = body + texture
    return spoiled


def stored_as(slices: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Spoiled slices in the type of the whole ones, cut to its range."""
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        slices = np.clip(slices, limits.min, limits.max)
    return slices.astype(dtype)
