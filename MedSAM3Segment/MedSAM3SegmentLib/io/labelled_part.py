"""The part of a label map that is not empty: what costs a pass over all voxels costs one over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.mask_ops import Box, bounding_box


@dataclass(frozen=True, eq=False)
class LabelledPart:
    """Where the labels of a label map are.

    Attributes:
        shape: of the label map, ``[k, j, i]``.
        box: the part of it outside of which all is 0.
        labels: in the box, contiguous.
    """

    shape: tuple[int, ...]
    box: Box
    labels: NDArray[Any]

    @classmethod
    def of(cls, labels: NDArray[Any]) -> LabelledPart:
        """Of a whole label map, whole numbers ``[k, j, i]``."""
        box = bounding_box(labels)
        return cls(labels.shape, box, np.ascontiguousarray(labels[box]))

    def present(self) -> list[int]:
        """The labels that there are but for 0, rising."""
        if self.labels.dtype in (np.uint8, np.uint16):  # looked up and not sorted
            seen = np.zeros(np.iinfo(self.labels.dtype).max + 1, bool)
            for part in self.labels:
                seen[part] = True
            return [int(label) for label in np.flatnonzero(seen) if label != 0]
        return [int(label) for label in np.unique(self.labels) if label != 0]

    def mask_of(self, label: int) -> BoolMask:
        """Where a label is, bool of the whole ``shape``."""
        mask = np.full(self.shape, True) if label == 0 else np.zeros(self.shape, bool)
        np.equal(self.labels, label, out=mask[self.box])
        return mask
