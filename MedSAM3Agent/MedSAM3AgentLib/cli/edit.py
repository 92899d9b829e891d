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
    from MedSAM3SegmentLib.io.segment import Segment

_EPILOG = """\
examples:
  medsam3 edit liver.seg.nrrd "keep the largest; shrink 2 mm" --output liver-edited.seg.nrrd
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
    parser.add_argument("--segment", metavar="NAME", help="which segment to change (default: the only one)")
    parser.add_argument("--image", metavar="FILE", type=Path, help="image for commands by intensity")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    """Do what ``medsam3 edit`` was asked to."""
    del interruption
    from MedSAM3AgentLib.editing.apply import apply_commands
    from MedSAM3AgentLib.editing.grammar import parse_commands
    from MedSAM3SegmentLib.io.labelmap_nifti import color_of_label
    from MedSAM3SegmentLib.io.read_volume import read_volume
    from MedSAM3SegmentLib.io.segmentation import read_segmentation, write_segmentation
    from MedSAM3SegmentLib.io.segmentation_paths import check_output

    commands = parse_commands(options.text)
    check_output(options.output)
    check_outputs([options.output], options.input, *([options.image] if options.image else []))
    segments, grid = read_segmentation(options.input)
    number = _chosen(segments, options.segment, options.input)
    volume = None
    if options.image is not None:
        volume = read_volume(options.image)
        if not volume.grid.same_as(grid):
            raise InputError(
                "{image} does not lie on the voxels of {path}; resample one of them.",
                image=options.image,
                path=options.input,
            )
    others = {one.name: one.mask for n, one in enumerate(segments) if n != number}
    edited = apply_commands(segments[number].mask, grid, commands, volume=volume, others=others)
    changed = replace(segments[number], mask=edited.mask, name=edited.name or segments[number].name)
    written = [*segments[:number], changed, *segments[number + 1 :]]
    if edited.pieces:
        pieces = [
            replace(changed, mask=mask, name=f"{changed.name} {n}", color=color_of_label(n))
            for n, mask in enumerate(edited.pieces, start=1)
        ]
        written = [*segments[:number], *pieces, *segments[number + 1 :]]
    write_segmentation(options.output, written, grid, {"edited_from": "segments of a file", "commands": len(commands)})
    for said in edited.said:
        terminal.result(said)
    terminal.result(f"Wrote {options.output}.")


def _chosen(segments: list[Segment], name: str | None, path: Path) -> int:
    """Which segment is meant."""
    names = ", ".join(f"'{one.name}'" for one in segments)
    if not segments:
        raise InputError("{path} holds no segment; give a segmentation that is not empty.", path=path)
    if name is None:
        if len(segments) > 1:
            raise InputError(
                "{path} holds several segments; choose one with --segment: {names}.", path=path, names=names
            )
        return 0
    found = [n for n, one in enumerate(segments) if one.name.casefold() == name.casefold()]
    if len(found) != 1:
        raise InputError("{path} holds no single segment '{name}'; it has {names}.", path=path, name=name, names=names)
    return found[0]
