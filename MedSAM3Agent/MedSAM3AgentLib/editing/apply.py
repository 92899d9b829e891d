"""Commands done to a mask, with a sentence for each that says what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from MedSAM3AgentLib.objects.candidates import HARDLY
from MedSAM3AgentLib.objects.sides import centroid_ras
from MedSAM3AgentLib.targets import Pick
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.units import format_milliliters
from MedSAM3SegmentLib.vocabulary.phrases import key_of
from MedSAM3SegmentLib.volume import Volume

from .commands import (
    BeyondSegment,
    BeyondSlice,
    Combine,
    Command,
    FillHoles,
    Hollow,
    IntensityRange,
    KeepLargest,
    KeepPart,
    KeepSide,
    Margin,
    Measure,
    Operation,
    RemoveSmall,
    Rename,
    SelectObject,
    SliceRange,
    Smooth,
    SplitObjects,
)
from .filters import fill_holes, grow, hollow, label_objects, shrink, smooth
from .grammar import parse_commands
from .regions import grid_of, region_of
from .slices import cut_beyond_segment, cut_beyond_slice, keep_slice_range


@dataclass(frozen=True, eq=False)
class EditResult:
    """A mask after commands.

    Attributes:
        mask: bool ``[k, j, i]``.
        name: that the segment was given, or empty.
        pieces: the objects it was split into, largest first; empty where it was not split.
        said: one sentence for each command.
    """

    mask: BoolMask
    name: str
    pieces: tuple[BoolMask, ...]
    said: tuple[Message, ...]


@dataclass(eq=False)
class _Edit:
    mask: BoolMask
    grid: VoxelGrid
    volume: Volume | None
    others: Mapping[str, BoolMask]
    slice_axis: int  # of the array, along which the slices were acquired; a part of it may have but one of another
    name: str = ""
    pieces: tuple[BoolMask, ...] = ()

    @property
    def spacing(self) -> tuple[float, float, float]:
        i, j, k = self.grid.spacing
        return k, j, i


def apply_commands(
    mask: BoolMask,
    grid: VoxelGrid,
    commands: str | tuple[Command, ...],
    *,
    volume: Volume | None = None,
    others: Mapping[str, BoolMask] | None = None,
) -> EditResult:
    """A mask ``[k, j, i]`` after all commands, or an error and no change at all.

    Args:
        grid: where the voxels lie.
        commands: as typed, or parsed.
        volume: for commands by intensity, on the same grid.
        others: other segments by name, on the same grid.

    Raises:
        InputError: a command is not understood, names a segment that is not there, or needs what was not given.
    """
    edit = _Edit(mask.copy(), grid, volume, others or {}, SliceStack.along(grid).array_axes[0])
    said = []
    for command in parse_commands(commands) if isinstance(commands, str) else commands:
        before = int(np.count_nonzero(edit.mask))
        extra = _do_where_it_counts(edit, command)
        after = int(np.count_nonzero(edit.mask))
        said.append(extra or _changed(before, after, grid.voxel_volume_mm3))
    return EditResult(edit.mask, edit.name, edit.pieces, tuple(said))


def _do_where_it_counts(edit: _Edit, command: Command) -> Message | None:
    """As ``_do``, on the part of the mask that decides, which of a fine CT is small."""
    region = region_of(command, edit.mask, edit.spacing)
    if region is None or edit.mask[region].shape == edit.mask.shape:
        return _do(edit, command)
    volume = None
    if edit.volume is not None and isinstance(command, IntensityRange):
        volume = Volume(edit.volume.array[region], grid_of(edit.grid, region))
    part = _Edit(edit.mask[region], grid_of(edit.grid, region), volume, {}, edit.slice_axis)
    said = _do(part, command)

    def whole(mask: BoolMask) -> BoolMask:
        placed = np.zeros(edit.mask.shape, bool)
        placed[region] = mask
        return placed

    edit.mask = whole(part.mask)
    edit.pieces = tuple(map(whole, part.pieces)) or edit.pieces
    return said


def _do(edit: _Edit, command: Command) -> Message | None:
    """Do one command; the sentence for it, or None for how the size changed."""
    match command:
        case Margin():
            change = grow if command.mm > 0 else shrink
            edit.mask = change(edit.mask, edit.spacing, abs(command.mm))
        case KeepLargest():
            labels, _ = label_objects(edit.mask)
            edit.mask = (labels > 0) & (labels <= command.count)
        case RemoveSmall():
            return _remove_small(edit, command)
        case SelectObject():
            return _select(edit, command)
        case SplitObjects():
            labels, count = label_objects(edit.mask)
            edit.pieces = tuple(labels == number for number in range(1, count + 1))
            return message("Split into {count} pieces.", count=count)
        case Smooth():
            edit.mask = smooth(edit.mask, edit.spacing, command.method, command.mm)
        case FillHoles():
            edit.mask = fill_holes(edit.mask, edit.slice_axis if command.per_slice else None)
        case Hollow():
            edit.mask = hollow(edit.mask, edit.spacing, command.mode, command.mm)
        case Combine():
            _combine(edit, command)
        case KeepSide():
            return _keep_half(edit, 0, command.side.sign * (1 if command.keep else -1))
        case KeepPart():
            axis = 2 if command.part in (Pick.UPPER, Pick.LOWER) else 1
            return _keep_half(edit, axis, 1 if (command.part in (Pick.UPPER, Pick.FRONT)) == command.keep else -1)
        case SliceRange():
            edit.mask = keep_slice_range(edit.mask, edit.grid, command)
        case BeyondSlice():
            edit.mask, said = cut_beyond_slice(edit.mask, edit.grid, command)
            return said
        case BeyondSegment():
            edit.mask = cut_beyond_segment(edit.mask, edit.grid, _other(edit, command.other), command)
        case IntensityRange():
            _intensity(edit, command)
        case Rename():
            edit.name = command.name
            return message("Renamed to '{name}'.", name=command.name)
        case Measure():
            size = np.count_nonzero(edit.mask) * edit.grid.voxel_volume_mm3
            return message("It has {volume}.", volume=format_milliliters(float(size)))
        case _:  # Recut
            raise InputError("A threshold cuts the model's answer, which is not here; segment again with --threshold.")
    return None


def _changed(before: int, after: int, voxel_mm3: float) -> Message:
    return message(
        "{before} became {after} ({voxels} voxels).",
        before=format_milliliters(before * voxel_mm3),
        after=format_milliliters(after * voxel_mm3),
        voxels=after,
    )


def _remove_small(edit: _Edit, command: RemoveSmall) -> Message:
    labels, count = label_objects(edit.mask)
    least = command.least if command.unit == "voxels" else command.least * 1000 / edit.grid.voxel_volume_mm3
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    kept = sizes >= least
    kept[0] = False
    edit.mask = kept[labels]
    return message("{removed} of {count} pieces were removed.", removed=count - int(kept.sum()), count=count)


def _select(edit: _Edit, command: SelectObject) -> Message:
    labels, count = label_objects(edit.mask)
    number = count if command.number < 0 else command.number
    if not 1 <= number <= count:
        raise InputError("There is no piece {number}; the segment has {count}.", number=number, count=count)
    edit.mask = labels == number if command.keep else (labels > 0) & (labels != number)
    return message("Piece {number} of {count}.", number=number, count=count)


def _combine(edit: _Edit, command: Combine) -> None:
    match command.operation:
        case Operation.INVERT:
            edit.mask = ~edit.mask
        case Operation.CLEAR:
            edit.mask = np.zeros_like(edit.mask)
        case Operation.FILL:
            edit.mask = np.ones_like(edit.mask)
        case _:
            other = _other(edit, command.other)
            match command.operation:
                case Operation.COPY:
                    edit.mask = other.copy()
                case Operation.UNION:
                    edit.mask = edit.mask | other
                case Operation.SUBTRACT:
                    edit.mask = edit.mask & ~other
                case Operation.INTERSECT:
                    edit.mask = edit.mask & other


def _other(edit: _Edit, name: str) -> BoolMask:
    found = next((mask for other, mask in edit.others.items() if key_of(other) == key_of(name)), None)
    if found is None:
        known = ", ".join(edit.others) or message("none")
        raise InputError("There is no segment '{name}'; the other segments are: {known}.", name=name, known=known)
    return found


def _keep_half(edit: _Edit, axis: int, sign: int) -> Message | None:
    """Keep the objects on one side of the segment's middle along a RAS axis; one that lies across is cut there."""
    if not edit.mask.any():
        return None
    centers = edit.grid.to_ras(np.argwhere(edit.mask)[:, ::-1].astype(float))[:, axis]
    labels, count = label_objects(edit.mask)
    if count == 1:
        middle = (float(centers.min()) + float(centers.max())) / 2
    else:
        means = sorted(centroid_ras(labels == number, edit.grid)[axis] for number in range(1, count + 1))
        gaps = np.diff(means)
        # Of equal gaps the first, whatever rounding does.
        widest = int(np.argmax(gaps > gaps.max() - 1e-6))
        middle = (means[widest] + means[widest + 1]) / 2
    beyond = np.zeros(edit.mask.shape, bool)
    # Rounding must not decide of a layer of voxels that lies in the middle.
    beyond[edit.mask] = (centers - middle) * sign > 1e-6
    kept, cut = np.zeros_like(beyond), False
    for number in range(1, count + 1):
        one = labels == number
        share = np.count_nonzero(one & beyond) / np.count_nonzero(one)
        if share > 1 - HARDLY:
            kept |= one
        elif share >= HARDLY:
            kept |= one & beyond
            cut = True
    edit.mask = kept
    return message("A piece lay across the middle and was cut there.") if cut else None


def _intensity(edit: _Edit, command: IntensityRange) -> None:
    if edit.volume is None:
        raise InputError("Intensities need the image; give it with --image.")
    array = edit.volume.array if edit.volume.array.ndim == 3 else edit.volume.array.mean(axis=3)
    meant = np.ones(array.shape, bool)
    if command.low is not None:
        meant &= array >= command.low
    if command.high is not None:
        meant &= array <= command.high
    edit.mask = edit.mask & meant if command.keep else edit.mask & ~meant
