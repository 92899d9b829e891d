"""Where an object ends because no more was looked at, so that its volume is not that of the whole object."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Limit(StrEnum):
    """What ends where an object is cut off."""

    VOLUME = "volume"
    SLICES = "slices"
    """The slices that were looked at."""
    REGION = "region"
    """The box that was looked in."""
    CONTAINER = "container"
    """The structure that everything had to lie in."""


class Side(StrEnum):
    """The side of an object that is cut off: of the patient, or of a picture or frame, which shows no patient's."""

    LEFT = "left"
    RIGHT = "right"
    POSTERIOR = "posterior"
    ANTERIOR = "anterior"
    INFERIOR = "inferior"
    SUPERIOR = "superior"
    PICTURE_LEFT = "left in the picture"
    PICTURE_RIGHT = "right in the picture"
    PICTURE_TOP = "top of the picture"
    PICTURE_BOTTOM = "bottom of the picture"


@dataclass(frozen=True)
class CutOff:
    """One place where an object is cut off.

    Attributes:
        limit: what ends there.
        side: of the object; None for a container's border, which may be on any.
        slice_index: the last slice of the object there, where the limit lies along the stack, else None.
    """

    limit: Limit
    side: Side | None = None
    slice_index: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, with the keys ``limit``, ``side`` and ``slice``."""
        side = None if self.side is None else self.side.value
        return {"limit": self.limit.value, "side": side, "slice": self.slice_index}
