"""The shell's option for template scans, which say where structures lie before anything is segmented."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.vocabulary.segment_names import find_named, may_be_meant

from .example import ExampleFiles

if TYPE_CHECKING:
    from MedSAM3SegmentLib.array_types import BoolMask
    from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
    from MedSAM3SegmentLib.io.segment import Segment
    from MedSAM3SegmentLib.localization.place import Place
    from MedSAM3SegmentLib.prompts.examples import Example
    from MedSAM3SegmentLib.volume import Volume


def add_locate_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--locate``."""
    parser.add_argument(
        "--locate",
        metavar="TEMPLATE=LABELS",
        action="append",
        default=[],
        help="search each concept only where it lies by a volume of the same kind, TEMPLATE, in which LABELS shows it, "
        "by its name; a concept whose place lies outside of INPUT is not searched; may be repeated",
    )


def templates_of(options: argparse.Namespace) -> tuple[ExampleFiles, ...]:
    """The files that were named with ``--locate``.

    Raises:
        InputError: one of them is missing, or there are no two.
    """
    templates = []
    for text in options.locate:
        image, _, labels = text.rpartition("=")
        if not image or not labels:
            raise InputError(f"--locate {text} is not TEMPLATE=LABELS, an image and a segmentation of it; give both.")
        for path in (image, labels):
            if not Path(path).exists():
                raise InputError(f"{path} does not exist; check the path of the template.")
        templates.append(ExampleFiles(Path(image), Path(labels)))
    return tuple(templates)


def locate(
    files: Sequence[ExampleFiles],
    concepts: Sequence[str],
    volume: Volume,
    advance: Callable[[int, int], None] = lambda _done, _of: None,
) -> dict[str, Place]:
    """Where the concepts lie in ``volume`` by the templates.

    Args:
        advance: told how many steps are done of how many at most.

    Raises:
        InputError: a file cannot be read, a template is of another kind, or none shows any of the concepts.
    """
    from MedSAM3SegmentLib.io.read_volume import read_volume
    from MedSAM3SegmentLib.io.segmentation import read_segmentation
    from MedSAM3SegmentLib.localization.locate import locate_structures
    from MedSAM3SegmentLib.prompts.examples import Example

    templates: dict[str, list[Example]] = {concept: [] for concept in concepts}
    names: list[str] = []
    for pair in files:
        assert pair.image is not None
        image = read_volume(pair.image)
        segments, grid = read_segmentation(pair.mask)
        segments = [segment for segment in segments if segment.mask.any()]
        names += [segment.name for segment in segments]
        for concept in concepts:
            meant = _meant(segments, concept, is_only=len(concepts) == 1)
            if meant:
                mask = _mask(pair.mask, meant, grid, image)
                templates[concept].append(Example(image, mask))
    if not any(templates.values()):
        shown = ", ".join(f"'{name}'" for name in dict.fromkeys(names)) or "nothing"
        wanted = ", ".join(f"'{concept}'" for concept in concepts)
        raise InputError(f"No template shows {wanted}; there is {shown}.")
    return locate_structures(volume, templates, advance=advance)


def _meant(segments: Sequence[Segment], concept: str, is_only: bool) -> list[Segment]:
    """The segments that show a concept: called so, or the only one where that may be."""
    names = [segment.name for segment in segments]
    meant = find_named(names, concept)
    if not meant and is_only and len(names) == 1 and may_be_meant(names[0], concept):
        meant = (0,)
    return [segments[n] for n in meant]


def _mask(path: Path, segments: Sequence[Segment], grid: VoxelGrid, image: Volume) -> BoolMask:
    """Where any of the segments is, on the voxels of ``image``."""
    import numpy as np

    from MedSAM3SegmentLib.prompts.slice_prompts import placed_on

    placed = placed_on(image.grid, np.logical_or.reduce([segment.mask for segment in segments]), grid)
    if placed is None:
        raise InputError(f"{path} does not lie on the voxels of its template; resample it to the template.")
    return placed
