"""What the model said about one concept on one slice: detections, their scores and their soft masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Probabilities below this are kept as nothing.
_NOTHING = 0.02


@dataclass(frozen=True, eq=False)
class SoftMask:
    """A probability map at the model's mask resolution, cropped to where it is not zero.

    Attributes:
        size: (rows, columns) of the whole map, which covers the whole slice.
        top, left: where the crop begins.
        probability: float16 ``[row, column]`` of the crop.
    """

    size: tuple[int, int]
    top: int
    left: int
    probability: NDArray[np.float16]

    @classmethod
    def of(cls, probability: NDArray[np.floating | np.bool_]) -> SoftMask:
        """A probability map or mask ``[row, column]``, without what is next to nothing around it."""
        shown = probability > _NOTHING
        rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
        size = (int(probability.shape[0]), int(probability.shape[1]))
        if rows.size == 0:
            return cls(size, 0, 0, np.zeros((0, 0), np.float16))
        top, left = int(rows[0]), int(columns[0])
        part = probability[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
        return cls(size, top, left, part.astype(np.float16))

    def full(self) -> NDArray[np.float32]:
        """The whole map, float32 ``size``."""
        whole = np.zeros(self.size, np.float32)
        rows, columns = self.probability.shape
        whole[self.top : self.top + rows, self.left : self.left + columns] = self.probability
        return whole


@dataclass(frozen=True, eq=False)
class Detection:
    """One object found on one slice.

    Attributes:
        score: what the threshold is compared with, by the model's score rule.
        query_score: sigmoid of the query's logit, without presence (MedSAM-3's published thresholds use this).
        presence: probability that the concept is on the slice at all.
        box: ``(x0, y0, x1, y1)`` as fractions of the slice's columns and rows.
        mask: where.
    """

    score: float
    query_score: float
    presence: float
    box: tuple[float, float, float, float]
    mask: SoftMask


@dataclass(frozen=True, eq=False)
class SliceEvidence:
    """All that the model said about one concept on one slice.

    Attributes:
        slice_index: along the stack.
        score: best score of any detection, kept or not, by the model's score rule; 0..1.
        presence: probability that the concept is on the slice at all.
        detections: those above the floor, best first.
        semantic: the concept's semantic map, for models whose mask rule is ``semantic``.
    """

    slice_index: int
    score: float
    presence: float
    detections: tuple[Detection, ...] = ()
    semantic: SoftMask | None = None
