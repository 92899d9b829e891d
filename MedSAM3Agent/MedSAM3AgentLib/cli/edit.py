"""``medsam3 edit``: typed commands change a segment of a file, without a model."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.cli.output_files import check_outputs
from MedSAM3SegmentLib.cli.signals import Interruption
from MedSAM3SegmentLib.cli.terminal import Terminal
from MedSAM3SegmentLib.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from MedSAM3AgentLib.editing.commands import Command
    from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
    from MedSAM3SegmentLib.io.segment import Segment
    from MedSAM3SegmentLib.volume import Volume

_EPILOG = """\
examples:
  medsam3 edit liver.seg.nrrd "keep the largest; shrink 2 mm" --output liver-edited.seg.nrrd
  medsam3 edit organs.seg.nrrd "shrink the liver 2 mm; smooth the spleen 3 mm" --output smoother.seg.nrrd
  medsam3 edit organs.seg.nrrd "remove what lies in the liver" --segment tumor --output tumor.seg.nrrd
  medsam3 edit bone.nii.gz "only above 150 HU, then smooth 3 mm" --image ct.nii.gz --output bone-2.nii.gz

Grow, shrink, islands, smoothing, hollow and logical commands give the same voxels as Segment Editor in 3D Slicer.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], **common: object) -> None:
    """Add ``edit`` to the shell's commands."""
    parser = subparsers.add_parser(
        "edit",
        help="change a segment by a typed command, such as 'keep the largest; shrink 2 mm'",
        description="Change a segment of a segmentation file by typed commands.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **common,  # type: ignore[arg-type]
    )
    parser.add_argument("input", metavar="FILE", type=Path, help="segmentation: .seg.nrrd or a label map")
    parser.add_argument("text", metavar="TEXT", help="one or more commands, with ';' between them")
    parser.add_argument("--output", metavar="OUT", type=Path, required=True, help="file to write")
    parser.add_argument(
        "--segment", metavar="NAME", help="segment to change where a command names none (default: the only one)"
    )
    parser.add_argument("--image", metavar="FILE", type=Path, help="image for commands by intensity")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    """Do what ``medsam3 edit`` was asked to."""
    del interruption
    from MedSAM3AgentLib.editing.grammar import parse_addressed
    from MedSAM3SegmentLib.io.read_volume import read_volume
    from MedSAM3SegmentLib.io.segmentation import read_segmentation, write_segmentation
    from MedSAM3SegmentLib.io.segmentation_paths import check_output

    check_output(options.output)
    check_outputs([options.output], options.input, *([options.image] if options.image else []))
    segments, grid = read_segmentation(options.input)
    commands = parse_addressed(options.text, [one.name for one in segments])
    volume = None
    if options.image is not None:
        volume = read_volume(options.image)
        if not volume.grid.same_as(grid):
            raise InputError(
                "{image} does not lie on the voxels of {path}; resample one of them.",
                image=options.image,
                path=options.input,
            )
    name = options.segment
    for addressed in commands:
        # What names no segment is said of the one before.
        name = addressed.segment or name
        place = _chosen(segments, name, options.input)
        segments, said = _edit(segments, place, addressed.command, grid, volume)
        name = segments[place].name
        terminal.result(f"{name}: {said}")
    provenance = {"edited_from": options.input.name, "commands": [str(one.command) for one in commands]}
    write_segmentation(options.output, segments, grid, provenance)
    terminal.result(f"Wrote {options.output}.")


def _edit(
    segments: Sequence[Segment], place: int, command: Command, grid: VoxelGrid, volume: Volume | None
) -> tuple[list[Segment], str]:
    """All segments after a command, and what it did."""
    from MedSAM3AgentLib.editing.apply import apply_commands
    from MedSAM3SegmentLib.io.labelmap_nifti import color_of_label

    others = {one.name: one.mask for n, one in enumerate(segments) if n != place}
    edited = apply_commands(segments[place].mask, grid, (command,), volume=volume, others=others)
    changed = replace(segments[place], mask=edited.mask, name=edited.name or segments[place].name)
    pieces = [
        replace(changed, mask=mask, name=f"{changed.name} {n}", color=color_of_label(n))
        for n, mask in enumerate(edited.pieces, start=1)
    ]
    return [*segments[:place], *(pieces or [changed]), *segments[place + 1 :]], " ".join(map(str, edited.said))


def _chosen(segments: list[Segment], name: str | None, path: Path) -> int:
    """Which segment is meant."""
    names = ", ".join(f"'{one.name}'" for one in segments)
    if not segments:
        raise InputError("{path} holds no segment; give a segmentation that is not empty.", path=path)
    if name is None:
        if len(segments) > 1:
            raise InputError(
                "{path} holds several segments; name one in the command or with --segment: {names}.",
                path=path,
                names=names,
            )
        return 0
    found = [n for n, one in enumerate(segments) if one.name.casefold() == name.casefold()]
    if len(found) != 1:
        raise InputError("{path} holds no single segment '{name}'; it has {names}.", path=path, name=name, names=names)
    return found[0]
