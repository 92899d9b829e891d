"""What cases without a reference count as."""

from __future__ import annotations

from enum import StrEnum


class EmptyRule(StrEnum):
    """What a case without a reference counts as in the mean of Dice and IoU."""

    LEFT_OUT = "left-out"
    """Nothing; it counts in the rate of false finds alone (as nnU-Net)."""
    AS_ONE = "as-one"
    """1 where nothing was found, else 0 (as Medical-SAM3 and ISLES'24)."""
