"""Whom a run tells what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MedSAM3SceneLib.mrml.volumes import SceneVolume
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.messages.message import Message
from MedSAM3SegmentLib.progress import PartialMask, Progress

if TYPE_CHECKING:
    from .run import Run


@dataclass(frozen=True, eq=False)
class PlacedPartial:
    """One slice of an unfinished run.

    Attributes:
        placed: the volume it belongs to.
        stack: how that was cut.
    """

    partial: PartialMask
    placed: SceneVolume
    stack: SliceStack


def _ignore(_: Any) -> None:
    pass


@dataclass(frozen=True, eq=False)
class RunListener:
    """Who is told what, on the thread of the scene.

    Attributes:
        progress: how far the run has come.
        waiting: so many other jobs of the engine come first.
        partial: a slice is known already.
        said: something that the user should know before the result is there, one sentence.
        ended: the run is over; its ``state``, ``written`` and ``error`` say how.
    """

    progress: Callable[[Progress], None] = _ignore
    waiting: Callable[[int], None] = _ignore
    partial: Callable[[PlacedPartial], None] = _ignore
    said: Callable[[Message], None] = _ignore
    ended: Callable[[Run], None] = _ignore
