"""One command done to one segment, off the scene: what it makes of the mask, and what there is to say."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from MedSAM3AgentLib.editing.apply import apply_commands
from MedSAM3AgentLib.editing.commands import (
    BeyondSlice,
    Command,
    Hollow,
    IntensityRange,
    Margin,
    SliceRange,
    Smooth,
)
from MedSAM3AgentLib.editing.filters import label_objects
from MedSAM3AgentLib.editing.regions import filled_region, grid_of
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix
from MedSAM3SegmentLib.io.labelmap_nifti import color_of_label
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.volume import Volume

from .edit_geometry import Block, moved_mask, same_voxels
from .edited_segments import EditedSegment
from .intensities import intensities_on

#: More segments than that Slicer's lists cannot be used with.
_MOST_PIECES = 100


def do_command(
    target: EditedSegment,
    command: Command,
    other: EditedSegment | None,
    placement: Matrix,
    reference: Block,
    volume: tuple[Volume, Matrix] | None,
) -> list[Message]:
    """Do a command to the mask of a loaded segment; takes a while and touches no scene.

    Args:
        other: the segment that the command names, loaded; None where it names none.
        placement: from the segmentation's frame to the patient, without what would bend voxels.
        reference: the voxels that slices are counted on.
        volume: for intensities, with the way from its indices to the segmentation's frame.

    Returns:
        What it did, one sentence each.

    Raises:
        InputError: it cannot be done, in words.
    """
    grid = target.block.grid(placement)
    if grid.is_sheared and isinstance(command, Margin | Smooth | Hollow):
        raise InputError(
            "The voxels of '{name}' are not perpendicular, so lengths cannot be measured along them; export the"
            " segment onto a volume first.",
            name=target.name,
        )
    if isinstance(command, IntensityRange) and volume is not None:
        return _by_intensity(target, command, placement, *volume)
    if isinstance(command, SliceRange | BeyondSlice):
        command = _counted(command, target.block, reference, placement)
    others = {}
    said = []
    if other is not None:
        others = {command.other: moved_mask(other.mask, other.block, target.block)}
        if not same_voxels(other.block.lattice, target.block.lattice):
            said = [
                message("'{other}' stands on other voxels; the nearest of '{name}' were taken.", other=other.name,
                        name=target.name)
            ]  # fmt: skip
    edited = apply_commands(target.mask, grid, (command,), others=others)
    target.mask = edited.mask
    return [*edited.said, *said]


def split_segment(target: EditedSegment) -> tuple[list[EditedSegment], Message]:
    """The pieces of a loaded segment but the largest, which it is left with; all are named by their size.

    Raises:
        InputError: there are too many.
    """
    region = filled_region(target.mask)
    labels, count = (None, 0) if region is None else label_objects(target.mask[region])
    said = message("Split into {count} pieces.", count=count)
    if count > _MOST_PIECES:
        raise InputError(
            "'{name}' has {count} pieces, and {most} segments are the most that are made; remove small pieces first.",
            name=target.name,
            count=count,
            most=_MOST_PIECES,
        )
    if count < 2:
        return [], said
    largest = np.zeros_like(target.mask)
    largest[region] = labels == 1
    made = []
    for number in range(2, count + 1):
        piece = target.piece(labels == number, region, f"{target.name} {number}")
        piece.color = color_of_label(number)
        made.append(piece)
    target.mask, target.name = largest, f"{target.name} 1"
    return made, said


def name_as_typed(name: str, text: str) -> str:
    """A new name, which the grammar gives in small letters, as it stands in the text."""
    found = re.search(r"\s+".join(map(re.escape, name.split())), text, re.IGNORECASE)
    return " ".join(found.group().split()) if found else name


def _by_intensity(
    target: EditedSegment, command: IntensityRange, placement: Matrix, volume: Volume, ijk_to_segmentation: Matrix
) -> list[Message]:
    region = filled_region(target.mask)
    said = [message("Intensities are those of '{volume}'.", volume=volume.name)]
    if region is None:
        return said
    start = np.array([part.start for part in reversed(region)])
    mask = target.mask[region]
    part = Block(target.block.lattice, target.block.first + start, mask.shape)
    array, coincide = intensities_on(volume, ijk_to_segmentation, mask, part)
    grid = grid_of(target.block.grid(placement), region)
    edited = apply_commands(mask, grid, (command,), volume=Volume(array, grid))
    target.mask = np.zeros_like(target.mask)
    target.mask[region] = edited.mask
    if not coincide:
        said.append(
            message("'{volume}' stands on other voxels; its intensities were interpolated.", volume=volume.name)
        )
    outside = int(np.count_nonzero(np.isnan(array[mask]))) if array.dtype.kind == "f" else 0
    if outside:
        said.append(message("{count} voxels lie outside of the image and count as in no range.", count=outside))
    return [*edited.said, *said]


def _counted(
    command: SliceRange | BeyondSlice, block: Block, reference: Block, placement: Matrix
) -> SliceRange | BeyondSlice:
    """A command by slices that are counted on ``reference``, for a segment on ``block``, which may begin elsewhere."""
    counted = reference.on(block.lattice)
    if counted is None:
        return command
    stack = SliceStack.along(counted.grid(placement))
    # Slice 0 is where the geometry begins, also where a segment reaches beyond it.
    shift = int((counted.first - reference.first - block.first)[stack.axis])
    first, last = (int(ends[stack.axis]) for ends in (reference.first, reference.end - 1))
    index = command.index if isinstance(command, BeyondSlice) else command.first
    if index is not None and not max(first, 0) <= index <= last:
        raise InputError(
            "There is no slice {index}; the stack has the slices {first} to {last}.",
            index=index,
            first=max(first, 0),
            last=last,
        )
    if isinstance(command, BeyondSlice):
        return replace(command, index=command.index + shift)
    begin, end = (None if index is None else index + shift for index in (command.first, command.last))
    return replace(command, first=begin, last=end)


def needs_volume(command: Command) -> bool:
    """Whether a command looks at intensities."""
    return isinstance(command, IntensityRange)


def names_slices(command: Command) -> bool:
    """Whether a command counts slices."""
    return isinstance(command, SliceRange | BeyondSlice)
