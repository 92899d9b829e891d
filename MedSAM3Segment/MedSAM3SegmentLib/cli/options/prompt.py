"""The shell's options for what is drawn: points, boxes and masks, for one concept or for several."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.prompts.prompts import (
    BoxPromptRAS,
    BoxReading,
    MaskPromptRAS,
    PointPromptRAS,
    TargetPrompts,
)
from MedSAM3SegmentLib.request import NO_MODEL, Adapt
from MedSAM3SegmentLib.vocabulary.phrases import clean_phrase, has_word

from .values import corners_of, mask_on, position_of

#: What is followed is called so where no concept is named.
NAMELESS = "object"

Mark = TypeVar("Mark")


def add_prompt_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--point``, ``--box``, their negatives, ``--mask`` and what they mean."""
    group = parser.add_argument_group(
        "what is drawn",
        "Positions are R,A,S in millimetres (R to the patient's right), as in --point -12,30,4.\nWith several "
        "concepts put CONCEPT: before each.",
    )
    for option, metavar, meaning in (
        ("--point", "R,A,S", "a place in the object"),
        ("--not-point", "R,A,S", "a place that must not belong to it"),
        ("--box", "R,A,S/R,A,S", "two corners of a box around the object, on one slice or through several"),
        ("--not-box", "R,A,S/R,A,S", "a box around what must not be taken for it"),
        (
            "--mask",
            "FILE",
            "a segmentation with drawn slices of it, in the segment of its name or in all; they come back as they are",
        ),
    ):
        group.add_argument(option, metavar=metavar, action="append", default=[], help=f"{meaning}; may be repeated")
    group.add_argument(
        "--like-this",
        action="store_true",
        help=f"boxes mean '{BoxReading.THINGS_LIKE_THIS}' (default: '{BoxReading.ONLY_THIS_ONE}')",
    )
    group.add_argument(
        "--no-words", action="store_true", help="the concepts are names only; what is drawn alone counts"
    )
    group.add_argument(
        "--adapt",
        action="store_true",
        help="let a copy of the model learn from the slices of --mask first (a minute or two); what it learnt is used "
        "where it does better on drawn slices that are held out, between them and beyond, and then thrown away",
    )
    group.add_argument(
        "--adapt-name",
        metavar="NAME",
        default="",
        help="with --adapt: keep what was learnt, where it is used, as an adapter of this name ('medsam3 adapters')",
    )


def concepts_of(options: argparse.Namespace, named: Sequence[str]) -> tuple[str, ...]:
    """The concepts to ask for: those named, or one without a name where something is drawn."""
    return tuple(named) or ((NAMELESS,) if _is_anything_drawn(options) else ())


def prompts_of(options: argparse.Namespace, named: Sequence[str], grid: VoxelGrid) -> Mapping[str, TargetPrompts]:
    """What was drawn, by concept.

    Args:
        named: the concepts that were typed.
        grid: of the volume; masks are put on it.

    Raises:
        InputError: an option cannot be understood, or a mask lies on another grid.
    """
    concepts = concepts_of(options, named)
    if not _is_anything_drawn(options):
        return {}
    points = [
        (concept, PointPromptRAS(position_of(text), positive))
        for texts, positive in ((options.point, True), (options.not_point, False))
        for concept, text in _owned(texts, concepts)
    ]
    boxes = [
        (concept, BoxPromptRAS(corners_of(text), positive))
        for texts, positive in ((options.box, True), (options.not_box, False))
        for concept, text in _owned(texts, concepts)
    ]
    masks = [
        (concept, MaskPromptRAS(mask_on(Path(text), grid, concept))) for concept, text in _owned(options.mask, concepts)
    ]
    reading = BoxReading.THINGS_LIKE_THIS if options.like_this else BoxReading.ONLY_THIS_ONE
    drawn = dict.fromkeys(concept for concept, _ in (*points, *boxes, *masks))
    is_phrase = bool(named) and not options.no_words
    return {
        concept: TargetPrompts(_of(concept, points), _of(concept, boxes), _of(concept, masks), reading, is_phrase)
        for concept in drawn
    }


def adaptation_of(options: argparse.Namespace) -> Adapt | None:
    """What the model learns from first.

    Raises:
        InputError: nothing was drawn on slices, there is no model, or its name is taken.
    """
    if not options.adapt:
        if options.adapt_name:
            raise InputError("--adapt-name names what --adapt learns; give --adapt too, or leave it out.")
        return None
    if not options.mask:
        raise InputError("--adapt learns from drawn slices; give them with --mask, or leave --adapt out.")
    if options.model == NO_MODEL:
        raise InputError("There is no model that could learn; name one with --model, or leave --adapt out.")
    if options.adapt_name:
        from MedSAM3SegmentLib.model_store.store import check_new_name

        check_new_name(options.adapt_name)
    return Adapt.SLICES


def _is_anything_drawn(options: argparse.Namespace) -> bool:
    return any((options.point, options.not_point, options.box, options.not_box, options.mask))


def _of(concept: str, marks: Sequence[tuple[str, Mark]]) -> tuple[Mark, ...]:
    return tuple(mark for owner, mark in marks if owner == concept)


def _owned(texts: Sequence[str], concepts: Sequence[str]) -> list[tuple[str, str]]:
    """Each text with the concept it is for."""
    owned = []
    for text in texts:
        named = next(filter(None, (_named(text, one) for one in concepts)), None)
        if named is not None:
            owned.append(named)
        elif len(concepts) == 1:
            owned.append((concepts[0], text))
        else:
            raise InputError(f"'{text}' does not say which concept it is for; put one of them and ':' before it.")
    return owned


def _named(text: str, concept: str) -> tuple[str, str] | None:
    """The concept and what comes after it and ':', however it is written; None where it is another one's."""
    for place in (n for n, character in enumerate(text) if character == ":"):
        before = text[:place]
        if before == concept or (has_word(before) and clean_phrase(before) == concept):
            return concept, text[place + 1 :]
    return None
