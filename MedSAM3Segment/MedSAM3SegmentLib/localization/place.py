"""Where a structure lies in a volume as templates say, before anything is segmented."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: First and end index of a half-open range along each axis of a ``[k, j, i]`` array.
IndexBox = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class Standing(StrEnum):
    """What templates say of a structure in a volume."""

    FOUND = "found"
    """It lies in the box."""
    OUTSIDE = "outside of the volume"
    """Its place lies outside of the field of view."""
    NOT_SEEN = "not seen at its place"
    """Its place lies in the volume, but the image shows nothing like it there."""
    UNKNOWN = "unknown"
    """The templates look too little like the volume to tell."""
    NOT_SHOWN = "in no template"
    """No template shows it."""


@dataclass(frozen=True)
class Place:
    """Where a structure lies.

    Attributes:
        standing: what is said of it.
        box: what is searched, a margin included; None where that is nothing, or all of the volume if it is unknown.
        tight: the same without the margin.
        templates: names of the volumes that say so.
        likeness: share of the voxels at its place, 0 to 1, that are as bright as the templates let expect.
    """

    standing: Standing
    box: IndexBox | None = None
    tight: IndexBox | None = None
    templates: tuple[str, ...] = ()
    likeness: float = 0.0

    @property
    def is_searched(self) -> bool:
        """Whether it is looked for at all."""
        return self.standing not in (Standing.OUTSIDE, Standing.NOT_SEEN)
