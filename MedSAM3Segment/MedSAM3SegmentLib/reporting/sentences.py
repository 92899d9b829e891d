"""What is said of a result: why a concept was found or not, what each clean-up step did, how tracks ended.

Reports and the shell have some of them in English only: what was drawn or shown, and where a track went.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.messages.message import (
    Message,
    as_message,
    joined,
    message,
)
from MedSAM3SegmentLib.prompts.prompts import TargetPrompts
from MedSAM3SegmentLib.results.cut_off import CutOff, Limit, Side
from MedSAM3SegmentLib.results.result import ConceptResult, Instance
from MedSAM3SegmentLib.results.tracks import Stop, StopReason, Track
from MedSAM3SegmentLib.units import format_count

from .place_sentences import describe_not_searched


def reason_of(concept: ConceptResult, instances: Sequence[Instance], dropped: int, threshold: float) -> Message:
    """Why a concept was found, or why not.

    Args:
        instances: the objects that are believed.
        dropped: how many were not.
    """
    if concept.place is not None and not concept.place.is_searched and not instances:
        return describe_not_searched(concept.place)
    by_score = sorted(concept.tracks, key=lambda track: track.score)
    scores = concept.score_by_slice or {n: track.score for track in by_score for n in track.seeds}
    best = max(scores, key=lambda index: scores[index], default=None)
    if best is None:
        return message("Not found: no slice was looked at.")
    score = scores[best]
    if instances:
        first = min(instance.first_slice for instance in instances)
        last = max(instance.last_slice for instance in instances)
        return _describe_found(first, last, score, best)
    if score < threshold:
        return message(
            "Not found: the best score is {score:.2f} on slice {best}, below the threshold {threshold:g}.",
            score=score,
            best=best,
            threshold=threshold,
        )
    return _no_object(score, best) if dropped else _no_mask(score, best)


def reason_on_this_slice(reason: Message) -> Message:
    """The reason why a concept was not found, of the only slice there is: people know it by no number."""
    facts, score = reason.facts, reason.facts.get("score", 0.0)
    if facts.keys() >= {"score", "best", "threshold"}:
        return message(
            "Not found: the best score is {score:.2f} on this slice, below the threshold {threshold:g}.",
            score=score,
            threshold=facts["threshold"],
        )
    if reason.template == _no_mask(0.0, 0).template:
        return message("Not found: this slice scores {score:.2f}, but no mask came with it.", score=score)
    if reason.template == _no_object(0.0, 0).template:
        return message(
            "Not found: the best score is {score:.2f} on this slice, but nothing goes on through enough slices to be "
            "an object.",
            score=score,
        )
    return reason


def _no_object(score: float, best: int) -> Message:
    return message(
        "Not found: the best score is {score:.2f} on slice {best}, but nothing goes on through enough slices to be "
        "an object.",
        score=score,
        best=best,
    )


def _no_mask(score: float, best: int) -> Message:
    return message("Not found: slice {best} scores {score:.2f}, but no mask came with it.", score=score, best=best)


def _describe_found(first: int, last: int, score: float, best: int) -> Message:
    """Where a concept was found, with the best score and its slice."""
    if first == last:
        return message(
            "Found on slice {first}; the best score is {score:.2f} on slice {best}.",
            first=first,
            score=score,
            best=best,
        )
    return message(
        "Found on slices {first} to {last}; the best score is {score:.2f} on slice {best}.",
        first=first,
        last=last,
        score=score,
        best=best,
    )


def describe_short(count: int, where: Collection[int]) -> Message:
    """What was left out because too few slices show it."""
    slices = _listed(where)
    if count == 1 and len(where) == 1:
        return message("1 object was dropped as too short to be real: Slice {slice} was left out.", slice=slices)
    if count == 1:
        return message("1 object was dropped as too short to be real: Slices {slices} were left out.", slices=slices)
    if len(where) == 1:
        return message(
            "{count} objects were dropped as too short to be real: Slice {slice} was left out.",
            count=count,
            slice=slices,
        )
    return message(
        "{count} objects were dropped as too short to be real: Slices {slices} were left out.",
        count=count,
        slices=slices,
    )


def describe_weak(where: Collection[int]) -> Message:
    """Slices that were kept although they score low."""
    slices = _listed(where)
    if len(where) == 1:
        return message("Slice {slice} was kept below the threshold, because an object goes on there.", slice=slices)
    return message("Slices {slices} were kept below the threshold, because an object goes on there.", slices=slices)


def describe_filled(where: Collection[int]) -> Message:
    """Slices between two that have the object."""
    slices = _listed(where)
    if len(where) == 1:
        return message("Slice {slice} was filled, because the object is on both sides.", slice=slices)
    return message("Slices {slices} were filled, because the object is on both sides.", slices=slices)


def describe_smaller(count: int) -> Message:
    """What was left out beside the largest object."""
    if count == 1:
        return message("1 object was dropped, because only the largest was asked for.")
    return message("{count} objects were dropped, because only the largest was asked for.", count=count)


def describe_cut_off(concept: ConceptResult) -> tuple[Message, ...]:
    """Where a concept goes on beyond what was looked at, as one sentence; none where it does not."""
    if not concept.cut_off:
        return ()
    limits = dict.fromkeys(part.limit for part in concept.cut_off)
    where = joined((_place_of(limit, [one for one in concept.cut_off if one.limit is limit]) for limit in limits), ", ")
    return (
        message(
            "'{name}' is cut off {where}, so its volume is not that of the whole structure.",
            name=concept.concept.strip(),
            where=where,
        ),
    )


def _place_of(limit: Limit, parts: Sequence[CutOff]) -> Message:
    """Where an object is cut off by one limit, as it goes on after "cut off"."""
    sides = joined((_side_of(part) for part in parts if part.side is not None), "; ")
    match limit:
        case Limit.VOLUME:
            return message("at the edge of the image ({sides})", sides=sides)
        case Limit.SLICES:
            return message("at the end of the slices that were looked at ({sides})", sides=sides)
        case Limit.REGION:
            return message("at the edge of the region ({sides})", sides=sides)
    if not sides:
        return message("at the border of what it had to lie in")
    return message("at the border of what it had to lie in ({sides})", sides=sides)


def _side_of(part: CutOff) -> Message:
    assert part.side is not None
    side = words_of_side(part.side)
    return side if part.slice_index is None else message("{side}, slice {slice}", side=side, slice=part.slice_index)


#: Sides in a sentence.
_SIDES = {
    Side.LEFT: message("left"),
    Side.RIGHT: message("right"),
    Side.POSTERIOR: message("posterior"),
    Side.ANTERIOR: message("anterior"),
    Side.INFERIOR: message("inferior"),
    Side.SUPERIOR: message("superior"),
    Side.PICTURE_LEFT: message("left in the picture"),
    Side.PICTURE_RIGHT: message("right in the picture"),
    Side.PICTURE_TOP: message("top of the picture"),
    Side.PICTURE_BOTTOM: message("bottom of the picture"),
}


def words_of_side(side: Side) -> Message:
    """A side in a sentence."""
    return _SIDES[side]


def _listed(indices: Collection[int]) -> Message:
    """``3``, or ``3 to 5, 9``."""
    runs: list[list[int]] = []
    for index in sorted(set(indices)):
        if runs and runs[-1][-1] == index - 1:
            runs[-1] = [runs[-1][0], index]
        else:
            runs.append([index])
    return joined((_run(run[0], run[-1]) for run in runs), ", ")


def _run(first: int, last: int) -> Message:
    return as_message(str(first)) if first == last else message("{first} to {last}", first=first, last=last)


def describe_prompts(prompts: TargetPrompts) -> str:
    """What was drawn, for reports: ``2 points, 1 negative box (only this one)``."""
    counts = {
        "point": sum(point.positive for point in prompts.points),
        "negative point": sum(not point.positive for point in prompts.points),
        "box": sum(box.positive for box in prompts.boxes),
        "negative box": sum(not box.positive for box in prompts.boxes),
        "mask": len(prompts.masks),
    }
    parts = [format_count(n, name) for name, n in counts.items() if n]
    reading = f" ({prompts.reading})" if prompts.boxes else ""
    return ", ".join(parts) + reading + ("" if prompts.is_phrase else ", without words")


def describe_examples(names: Sequence[str]) -> str:
    """What was shown, by the names of the volumes, for reports: ``2 examples (CT of 40 slices, brain.nii.gz)``."""
    return f"{len(names)} example{'' if len(names) == 1 else 's'} ({', '.join(names)})"


def describe_region(inside: BoolMask | str | None) -> str:
    """What mask was given for everything to lie in, for reports; empty where none was."""
    return f"a mask that was given ({_voxels(inside)})" if isinstance(inside, np.ndarray) else ""


def describe_container(concept: str, is_asked_for: bool, mask: BoolMask) -> str:
    """The concept that the others had to lie in, for reports.

    Args:
        is_asked_for: whether it is a concept of the same request.
        mask: what was found of it, holes included.
    """
    how = "a concept of the same request" if is_asked_for else "looked for first"
    return f"{concept} ({how}, {f'{_voxels(mask)}, holes included' if mask.any() else 'not found'})"


def describe_track(track: Track) -> str:
    """Where an object was shown and why its track ended, in one sentence."""
    begun = f"shown on slice{'s' if len(track.seeds) > 1 else ''} {', '.join(map(str, track.seeds))}"
    return "; ".join([begun, *(describe_stop(stop) for stop in track.stops)]) + "."


def describe_stop(stop: Stop) -> str:
    """``ended before slice 43 upwards, because the area jumped (200 to 900 mm2)``."""
    way = "upwards" if stop.forward else "downwards"
    if stop.reason is StopReason.END_OF_RANGE:
        return f"{stop.detail} {way}, where {stop.reason}"
    return f"ended before slice {stop.slice_index} {way}, because {stop.reason} ({stop.detail})"


def _voxels(mask: BoolMask) -> str:
    return format_count(int(np.count_nonzero(mask)), "voxel")
