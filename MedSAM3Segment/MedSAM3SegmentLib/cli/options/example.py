"""The shell's option for segmenting without words: what was segmented in another volume, or on some slices of this."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.vocabulary.segment_names import find_named, is_nameless, may_be_meant

from .prompt import NAMELESS
from .values import mask_on

if TYPE_CHECKING:
    from MedSAM3SegmentLib.io.segment import Segment
    from MedSAM3SegmentLib.prompts.examples import Example
    from MedSAM3SegmentLib.volume import Volume


@dataclass(frozen=True)
class ExampleFiles:
    """An example as it was named.

    Attributes:
        image: None for the volume that is to be segmented.
        mask: a segmentation of it.
    """

    image: Path | None
    mask: Path


def add_example_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--example``."""
    parser.add_argument(
        "--example",
        metavar="[IMAGE=]MASK",
        action="append",
        default=[],
        help="segment what MASK shows in IMAGE, without words: its segment with the name that --concept gives, or the "
        "only one; without IMAGE what it shows on some slices of INPUT; needs a model with a tracker, without which "
        "only what lies between slices of INPUT is filled; may be repeated",
    )


def examples_of(options: argparse.Namespace) -> tuple[ExampleFiles, ...]:
    """The files that were named with ``--example``.

    Raises:
        InputError: one of them is missing.
    """
    examples = []
    for text in options.example:
        image, _, mask = text.rpartition("=")
        for path in filter(None, (image, mask)):
            if not Path(path).exists():
                raise InputError(f"{path} does not exist; check the path of the example.")
        examples.append(ExampleFiles(Path(image) if image else None, Path(mask)))
    return tuple(examples)


def read_examples(files: Sequence[ExampleFiles], name: str, volume: Volume) -> list[Example]:
    """The examples themselves.

    Args:
        name: of the structure, which says what segment is meant (see ``choose_segment``).
        volume: that is to be segmented.

    Raises:
        InputError: a file cannot be read, no segment in it is meant, or a mask is empty or lies on other voxels than
            its image.
    """
    from MedSAM3SegmentLib.io.read_volume import read_volume
    from MedSAM3SegmentLib.prompts.examples import Example

    examples = []
    for pair in files:
        image = volume if pair.image is None else read_volume(pair.image)
        examples.append(
            Example(image, mask_on(pair.mask, image.grid, choose=partial(choose_segment, pair.mask, name)), None)
        )
    return examples


def choose_segment(path: Path, concept: str, segments: Sequence[Segment]) -> list[Segment]:
    """The segment of a file that shows a concept.

    It is the one that is called so, or names the same concept ("livers"); the only one where no concept was named, or
    where its name says nothing else.

    Raises:
        InputError: there is none, or more than one might be meant; the message has their names. Empty segments show
            nothing.
    """
    segments = [segment for segment in segments if segment.mask.any()]
    if not segments:
        raise InputError(f"{path} holds no segment that is not empty; give one that shows the structure.")
    names = [segment.name for segment in segments]
    unnamed = [name for name in names if is_nameless(name)]
    listed = ", ".join(f"'{name}'" for name in names)
    meant = find_named(names, concept)
    if len({names[n].casefold() for n in meant}) > 1:
        same = ", ".join(f"'{names[n]}'" for n in meant)
        raise InputError(f"{path} shows '{concept}' in {same}; give one of these names as --concept.")
    if meant:
        return [segments[n] for n in meant]
    if len(segments) == 1 and (concept == NAMELESS or may_be_meant(names[0], concept)):
        return [segments[0]]
    if len(unnamed) == len(names):
        raise InputError(
            f"{path} shows {len(names)} structures without names; give one as --concept: {listed}, or name them in a "
            f'{_names_file(path)} beside it, as {{"labels": {{"1": "liver"}}}}.'
        )
    if concept == NAMELESS:
        raise InputError(f"{path} shows several structures; give one as --concept: {listed}.")
    raise InputError(f"{path} does not show '{concept}'; there is {listed}.")


def _names_file(path: Path) -> str:
    return f"{path.name.removesuffix('.gz').removesuffix('.nii')}.labels.json"
