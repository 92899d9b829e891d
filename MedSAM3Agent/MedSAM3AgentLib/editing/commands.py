"""The commands that edit a mask, with the parameters of Slicer's Segment Editor effects that do the same."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from MedSAM3AgentLib.targets import Pick, Side


class SmoothingMethod(StrEnum):
    """Slicer's Smoothing methods, and their names in it."""

    MEDIAN = "MEDIAN"
    OPENING = "MORPHOLOGICAL_OPENING"
    CLOSING = "MORPHOLOGICAL_CLOSING"
    GAUSSIAN = "GAUSSIAN"


class ShellMode(StrEnum):
    """Slicer's Hollow modes: which surface of the shell the segment's own one becomes."""

    INSIDE = "INSIDE_SURFACE"
    MEDIAL = "MEDIAL_SURFACE"
    OUTSIDE = "OUTSIDE_SURFACE"


class Operation(StrEnum):
    """Slicer's Logical operators."""

    COPY = "COPY"
    UNION = "UNION"
    SUBTRACT = "SUBTRACT"
    INTERSECT = "INTERSECT"
    INVERT = "INVERT"
    CLEAR = "CLEAR"
    FILL = "FILL"


@dataclass(frozen=True)
class Margin:
    """Margin: grow the surface outward by ``mm``, or shrink it where that is below 0."""

    mm: float


@dataclass(frozen=True)
class KeepLargest:
    """Islands: keep the ``count`` largest objects."""

    count: int = 1


@dataclass(frozen=True)
class RemoveSmall:
    """Islands: remove objects with less than ``least`` of ``unit`` (``voxels`` or ``ml``)."""

    least: float = 1000.0
    unit: str = "voxels"


@dataclass(frozen=True)
class SelectObject:
    """Islands: keep or remove one object by its number, largest first from 1; ``-1`` is the smallest."""

    number: int
    keep: bool


@dataclass(frozen=True)
class SplitObjects:
    """Islands: each object becomes a segment."""


@dataclass(frozen=True)
class Smooth:
    """Smoothing: kernel size, or standard deviation of ``GAUSSIAN``, in millimeters."""

    method: SmoothingMethod = SmoothingMethod.MEDIAN
    mm: float = 3.0


@dataclass(frozen=True)
class FillHoles:
    """Fill what is enclosed, on each slice or in three dimensions; Slicer has no such effect."""

    per_slice: bool = False


@dataclass(frozen=True)
class Hollow:
    """Hollow: leave a shell of this thickness."""

    mm: float = 3.0
    mode: ShellMode = ShellMode.INSIDE


@dataclass(frozen=True)
class Combine:
    """Logical operators, with another segment where the operation has one."""

    operation: Operation
    other: str = ""


@dataclass(frozen=True)
class KeepSide:
    """Keep, or remove, the objects on one side of the segment's own middle; what lies across is cut there."""

    side: Side
    keep: bool = True


@dataclass(frozen=True)
class KeepPart:
    """Keep, or remove, the upper, lower, front or back part; cut at the segment's middle where it is one object."""

    part: Pick
    keep: bool = True


@dataclass(frozen=True)
class SliceRange:
    """Keep, or remove, slices of the acquired stack, both ends included; None is the stack's end."""

    first: int | None
    last: int | None
    keep: bool = True


@dataclass(frozen=True)
class BeyondSlice:
    """Remove what is superior (``above``) or inferior of a slice of the acquired stack; the slice itself stays."""

    index: int
    above: bool


@dataclass(frozen=True)
class BeyondSegment:
    """Remove what is superior (``above``) or inferior of all of another segment."""

    other: str
    above: bool


@dataclass(frozen=True)
class IntensityRange:
    """Keep, or remove, voxels with these intensities, both ends included; None is without end."""

    low: float | None
    high: float | None
    keep: bool = True


@dataclass(frozen=True)
class Recut:
    """Cut the model's answer at another score; that needs the answer and not only its mask."""

    threshold: float | None
    more: bool = True


@dataclass(frozen=True)
class Rename:
    """Give the segment another name."""

    name: str


@dataclass(frozen=True)
class Measure:
    """Say how large it is."""


Command = (
    Margin | KeepLargest | RemoveSmall | SelectObject | SplitObjects | Smooth | FillHoles | Hollow | Combine | KeepSide
    | KeepPart | SliceRange | BeyondSlice | BeyondSegment | IntensityRange | Recut | Rename | Measure
)  # fmt: skip


@dataclass(frozen=True)
class AddressedCommand:
    """A command, and the segment that it was said of.

    Attributes:
        segment: its name; empty where the clause named none.
    """

    command: Command
    segment: str = ""
