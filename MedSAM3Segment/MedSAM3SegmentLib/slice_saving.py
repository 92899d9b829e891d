"""Which slices a request leaves out to save time."""

from __future__ import annotations

from dataclasses import dataclass

from MedSAM3SegmentLib.errors import InputError


@dataclass(frozen=True)
class SliceSaving:
    """Slices that are not looked at, to save time; none by default.

    Attributes:
        skim: every how many slices to look first; then only where something may be. 1 looks at all.
        least_distance_mm: slices nearer to each other are interpolated; 0 interpolates none.
    """

    skim: int = 1
    least_distance_mm: float = 0.0

    def __post_init__(self) -> None:
        if self.skim < 1:
            raise InputError("Every {skim}th slice is none; give a whole number of at least 1.", skim=self.skim)
        if not 0.0 <= self.least_distance_mm < float("inf"):
            raise InputError("{distance} is no distance of slices; give millimeters.", distance=self.least_distance_mm)

    @property
    def is_wanted(self) -> bool:
        """Whether any slice may be left out."""
        return self.skim > 1 or self.least_distance_mm > 0


#: All slices are looked at.
NO_SAVING = SliceSaving()
