"""What a run is told to do, and whom it tells what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MedSAM3SceneLib.coroutines import Steps
from MedSAM3SceneLib.mrml.volumes import PlacedVolume
from MedSAM3SceneLib.segments.edit_guard import MayReplace, Version
from MedSAM3SegmentLib.few_shot.examples import Examples
from MedSAM3SegmentLib.geometry.voxel_grid import SliceStack
from MedSAM3SegmentLib.request import PartialMask, Progress, SegmentRequest

if TYPE_CHECKING:
    from .run import SceneRun


@dataclass(frozen=True, eq=False)
class RunOrder:
    """What is to be segmented, and where it goes.

    Attributes:
        volume_node: the volume.
        prepare: makes the request once the volume is read, because regions and drawings depend on its grid; may give
            a part of the volume, such as an oblique slice, in its place.
        examples: reads what shows each concept in place of words, or None where words say it.
        segmentation_node: where segments are written, or None for a new node.
        model, device: as ``medsam3 segment`` takes them.
        save_state: see ``segmentations.write_in_steps``.
        is_written: whether the result becomes segments.
        may_replace: asked before anything is looked for when the run would write segments of earlier runs that a person
            edited since, or that reach beyond what is looked at; None when it may.
        left: see ``edited_segments``.
        only_slice: whether the one slice that is looked at is all that changes in segments of earlier runs.
    """

    volume_node: Any
    prepare: Callable[[PlacedVolume], Steps[tuple[PlacedVolume, SegmentRequest]]]
    segmentation_node: Any | None = None
    model: str = "demo"
    device: str = "auto"
    save_state: Callable[[], None] | None = None
    is_written: bool = True
    examples: Callable[[PlacedVolume], Steps[Examples]] | None = None
    may_replace: MayReplace | None = None
    left: Version = ()
    only_slice: bool = False


@dataclass(frozen=True, eq=False)
class PlacedPartial:
    """One slice of an unfinished run.

    Attributes:
        placed: the volume it belongs to.
        stack: how that was cut.
    """

    partial: PartialMask
    placed: PlacedVolume
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
        ended: the run is over; its ``state``, ``written`` and ``error`` say how.
    """

    progress: Callable[[Progress], None] = _ignore
    waiting: Callable[[int], None] = _ignore
    partial: Callable[[PlacedPartial], None] = _ignore
    ended: Callable[[SceneRun], None] = _ignore
