"""The shell's option for segmenting without words: what was segmented in another volume, or on some slices of this."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.errors import InputError

from .values import mask_on

if TYPE_CHECKING:
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
        help="segment what MASK shows in IMAGE, without words: its segment with the name that --concept gives, or all "
        "of it; without IMAGE what it shows on some slices of INPUT; needs a model with a tracker; may be repeated",
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
        name: of the structure; a segment that is called so is the example, otherwise all that MASK holds.
        volume: that is to be segmented.

    Raises:
        InputError: a file cannot be read, or a mask is empty or lies on other voxels than its image.
    """
    from MedSAM3SegmentLib.io.read_volume import read_volume
    from MedSAM3SegmentLib.prompts.examples import Example

    examples = []
    for pair in files:
        image = volume if pair.image is None else read_volume(pair.image)
        examples.append(Example(image, mask_on(pair.mask, image.grid, name), None))
    return examples
