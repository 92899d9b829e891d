"""How bright an object is within its mask: what an organ keeps from slice to slice, and its neighbour seldom shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Of fewer pixels nothing is said: at an object's tip its surroundings shine through.
_FEWEST_PIXELS = 20

#: Grey levels, of 255, that an object's voxels are thought to differ by at least.
_LEAST_SPREAD = 6.0

#: Makes the median absolute deviation of a normal distribution its standard deviation.
_TO_DEVIATION = 1.4826


@dataclass(frozen=True)
class Brightness:
    """Of one object on one slice, in grey levels of 255 as it is shown to the model.

    Attributes:
        median: of its pixels.
        spread: standard deviation of its pixels, told from their median absolute deviation.
    """

    median: float
    spread: float

    @classmethod
    def of(cls, picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Brightness | None:
        """What lies within ``mask`` but for its rim; None where that is next to nothing.

        Args:
            picture: ``[row, column]`` or ``[row, column, 3]``.
            mask: ``[row, column]``.
        """
        from scipy import ndimage

        inner = ndimage.binary_erosion(mask)
        if np.count_nonzero(inner) < _FEWEST_PIXELS:
            return None
        values = picture[inner].astype(np.float32)
        if values.ndim == 2:
            values = values.mean(axis=1)
        median = float(np.median(values))
        return cls(median, max(_TO_DEVIATION * float(np.median(np.abs(values - median))), _LEAST_SPREAD))

    def distance(self, other: Brightness) -> float:
        """How far ``other`` lies off, in this one's spreads."""
        return abs(other.median - self.median) / self.spread
