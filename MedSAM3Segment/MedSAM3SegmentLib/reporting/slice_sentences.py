"""What is said of single slices of a result: what each rests on, and which to draw next."""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby

from MedSAM3SegmentLib.messages.message import Message, joined, message
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.results.tracks import SliceSource, SuggestedSlice

#: Ranges of slices that a sentence lists.
_MOST_RANGES = 6


def words_of_source(source: SliceSource) -> Message:
    """What a slice rests on, as it goes on after "is"."""
    match source:
        case SliceSource.DRAWN:
            return message("drawn")
        case SliceSource.INTERPOLATED:
            return message("interpolated")
        case SliceSource.MOVED:
            return message("interpolated and moved by the image")
        case SliceSource.TRACKED:
            return message("tracked")
        case SliceSource.TRACKED_MOVED:
            return message("tracked and moved by the image")
        case SliceSource.DETECTED:
            return message("detected")


def describe_sources(concept: ConceptResult) -> tuple[Message, ...]:
    """What the slices of a concept rest on, as one sentence; none where nobody drew any."""
    if not any(track.drawn for track in concept.tracks):
        return ()
    parts = [
        message("{source}: {slices}", source=words_of_source(source), slices=_ranges(indices))
        for source in SliceSource
        if (indices := [index for index, one in concept.sources.items() if one is source])
    ]
    if not parts:
        return ()
    return (message("What the slices rest on: {parts}.", parts=joined(parts, "; ")),)


def describe_next_slice(concept: ConceptResult) -> tuple[Message, ...]:
    """Which slice to draw next, and why, as one sentence; none where none is suggested."""
    return () if concept.next_slice is None else (_describe_suggestion(concept.next_slice),)


def _describe_suggestion(suggested: SuggestedSlice) -> Message:
    index, away = suggested.slice_index, suggested.drawn_mm
    if suggested.source is None:
        return message(
            "Drawing slice {slice} next would help most: the object may go on there, where nothing looked for it.",
            slice=index,
        )
    source = words_of_source(suggested.source)
    if away is None:
        return message(
            "Correcting slice {slice} would help most: it is {source} and least sure.", slice=index, source=source
        )
    return message(
        "Drawing slice {slice} next would help most: it is {source}, {away:.0f} mm from the nearest drawn slice.",
        slice=index,
        source=source,
        away=away,
    )


def _ranges(indices: Collection[int]) -> str:
    """``2-5, 7``: whole numbers, those in a row as a range."""
    runs = [
        [index for _, index in run]
        for _, run in groupby(enumerate(sorted(indices)), key=lambda pair: pair[1] - pair[0])
    ]
    shown = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs[:_MOST_RANGES]]
    return ", ".join(shown) + (", ..." if len(runs) > _MOST_RANGES else "")
