"""Tracks that turn out to show the same object become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from MedSAM3SegmentLib.geometry.soft_mask import soft_mask_to_binary
from MedSAM3SegmentLib.results.tracks import Track

#: Tracks show the same object if, where both are, they share this much of the smaller one.
SAME_OBJECT = 0.6


def merge_tracks(tracks: Sequence[Track], shape: tuple[int, int]) -> list[Track]:
    """The tracks of one concept, those of the same object merged, the surest first.

    An object that was detected in pieces is followed from each of them; the surest piece's track is the one that
    counts on slices that several have.

    Args:
        shape: (rows, columns) of a slice.
    """
    kept: list[Track] = []
    for track in sorted(tracks, key=lambda track: track.sureness, reverse=True):
        for n, other in enumerate(kept):
            if _overlap(track, other, shape) >= SAME_OBJECT:
                kept[n] = _joined(other, track)
                break
        else:
            kept.append(track)
    return kept


def _overlap(one: Track, other: Track, shape: tuple[int, int]) -> float:
    """What both have on the slices that both are on, as a part of the smaller one there."""
    both, first, second = 0, 0, 0
    for index in one.masks.keys() & other.masks.keys():
        a, b = (soft_mask_to_binary(track.masks[index], shape) for track in (one, other))
        both += int(np.count_nonzero(a & b))
        first, second = first + int(np.count_nonzero(a)), second + int(np.count_nonzero(b))
    return both / max(min(first, second), 1)


def _joined(one: Track, other: Track) -> Track:
    """``one`` with what ``other`` adds on slices of its own; what was drawn stays as it is."""
    masks, scores = dict(other.masks) | dict(one.masks), dict(other.object_scores) | dict(one.object_scores)
    masks |= {index: other.masks[index] for index in other.drawn if index not in one.drawn}
    return replace(
        one,
        seeds=tuple(sorted({*one.seeds, *other.seeds})),
        masks=dict(sorted(masks.items())),
        object_scores=dict(sorted(scores.items())),
        drawn=tuple(sorted({*one.drawn, *other.drawn})),
        stops=(*one.stops, *other.stops),
        shown=one.shown or other.shown,
        sources={**other.sources, **{index: one.source_of(index) for index in one.masks}},
        doubts={**other.doubts, **one.doubts},
    )
