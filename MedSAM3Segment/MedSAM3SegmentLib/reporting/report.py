"""A result in plain JSON values: the report of a run, and what each segment says about where it came from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.results.result import ConceptResult, SegmentResult
from MedSAM3SegmentLib.results.tracks import Track
from MedSAM3SegmentLib.search_region import SearchRegion
from MedSAM3SegmentLib.volume import Volume

from .place_sentences import place_as_dict
from .sentences import describe_cut_off
from .slice_sentences import describe_next_slice, describe_sources


def report_of(
    result: SegmentResult,
    volume: Volume,
    seconds: Mapping[str, float] | None = None,
    covered: Mapping[str, Mapping[str, int]] | None = None,
) -> dict[str, Any]:
    """All that is known of a run, without its masks.

    Args:
        result: of ``volume``.
        volume: what was segmented.
        seconds: by stage, where there were more than the result's own (reading, loading).
        covered: of each concept, how many of its voxels a label map that was written shows as others, by their names.

    Returns:
        The keys of ``provenance.Provenance.as_dict`` (``model``, ``device``, ``plane``, ``threshold``, ``created``,
        ``versions``), ``input`` with modality, voxel counts and spacing along ``(i, j, k)`` in millimeters, ``slices``
        (first and last that were looked at, and how many the stack has), ``window`` (that of all concepts, or one named
        ``by concept`` without ends where they differ), ``clean_up`` (which steps of ``AssemblyOptions`` were on),
        ``concepts`` in the order of the request, ``seconds`` by stage, and ``messages``.
    """
    report = result.provenance.as_dict()
    windows = list(dict.fromkeys(concept.window for concept in result.concepts))
    looked_at = sorted({index for concept in result.concepts for index in concept.score_by_slice})
    return {
        **report,
        "input": {
            **report["input"],
            "modality": volume.modality,
            "voxels": list(volume.grid.shape[::-1]),
            "spacing_mm": [round(spacing, 6) for spacing in volume.grid.spacing],
        },
        "slices": {
            "first": looked_at[0] if looked_at else None,
            "last": looked_at[-1] if looked_at else None,
            "of": result.stack.count,
        },
        "window": _window(windows[0]) if len(windows) == 1 else {"name": "by concept", "low": None, "high": None},
        "clean_up": asdict(result.assembly),
        "concepts": [
            _concept(concept, result.stack, (covered or {}).get(concept.concept, {})) for concept in result.concepts
        ],
        "seconds": {stage: round(value, 3) for stage, value in (seconds or result.seconds).items()},
        "messages": list(result.messages),
    }


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report as JSON, UTF-8."""
    path.write_text(json.dumps(report, ensure_ascii=False, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def segment_provenance(result: SegmentResult, concept: ConceptResult, instance: int | None = None) -> dict[str, Any]:
    """What was asked for one segment, and the run's own provenance.

    Args:
        instance: the label of the only object that is in the segment; None for the whole concept.

    Keys besides those of ``Provenance.as_dict``: ``concept`` (as typed), ``prompt`` (as the model was asked),
    ``window`` (name, low, high), ``window_reason`` (why that one), ``slices`` (first and last slice that was looked
    at), ``clean_up`` (which steps of ``AssemblyOptions`` were on), ``cut_off`` where what was found goes on beyond
    what was looked at (``results.cut_off.CutOff.as_dict``), ``instance`` where the segment is one object and, where
    only a part of the volume was segmented, ``limited_to``: index ranges ``i``, ``j``, ``k`` and whether another
    segment's ``mask`` was
    one. In Slicer, a segment of which only a slice was written anew has under ``joined_to`` the same of the run that
    its other slices came from.
    """
    looked_at = list(concept.score_by_slice)
    of_instance = [one.cut_off for one in concept.instances if one.label == instance]
    cut_off = concept.cut_off if instance is None else of_instance[0] if of_instance else ()
    return {
        "concept": concept.concept,
        "prompt": concept.prompt,
        "window": _window(concept.window),
        "window_reason": concept.window.reason.value,
        "slices": [min(looked_at), max(looked_at)] if looked_at else None,
        "clean_up": asdict(result.assembly),
        **_limits(result.search_region_of(concept.concept)),
        **({} if concept.place is None else {"located": place_as_dict(concept.place, result.stack)}),
        **({"cut_off": [part.as_dict() for part in cut_off]} if cut_off else {}),
        **result.provenance.as_dict(),
        **({} if instance is None else {"instance": instance}),
    }


def _limits(search_region: SearchRegion | None) -> dict[str, Any]:
    if search_region is None or not search_region.slices or search_region.is_unrestricted:
        return {}
    ranges = {axis: [part.start, part.stop - 1] for axis, part in zip("kji", search_region.box, strict=True)}
    return {"limited_to": {**ranges, "mask": search_region.inside is not None}}


def _concept(concept: ConceptResult, stack: SliceStack, covered: Mapping[str, int]) -> dict[str, Any]:
    voxels, voxel_volume_mm3 = concept.voxels, stack.grid.voxel_volume_mm3
    return {
        "concept": concept.concept,
        "prompt": concept.prompt,
        "found": concept.found,
        "reason": concept.reason,
        "voxels": voxels,
        "volume_mm3": round(voxels * voxel_volume_mm3, 3),
        "covered": [
            {"by": by, "voxels": count, "volume_mm3": round(count * voxel_volume_mm3, 3)}
            for by, count in covered.items()
        ],
        "cut_off": [part.as_dict() for part in concept.cut_off],
        "located": None if concept.place is None else place_as_dict(concept.place, stack),
        "window": _window(concept.window),
        "window_reason": concept.window.reason.value,
        "score_by_slice": {str(index): _score(score) for index, score in sorted(concept.score_by_slice.items())},
        "instances": [
            {
                "label": instance.label,
                "voxels": instance.voxels,
                "volume_mm3": round(instance.volume_mm3, 3),
                "first_slice": instance.first_slice,
                "last_slice": instance.last_slice,
                "score": _score(instance.score),
                "cut_off": [part.as_dict() for part in instance.cut_off],
            }
            for instance in concept.instances
        ],
        "source_by_slice": {str(index): source.value for index, source in concept.sources.items()},
        "next_slice": None if concept.next_slice is None else concept.next_slice.slice_index,
        "tracks": [_track(track) for track in concept.tracks],
        "clean_up": list(concept.clean_up),
        "messages": [
            *concept.messages,
            *describe_cut_off(concept),
            *describe_sources(concept),
            *describe_next_slice(concept),
        ],
    }


def _track(track: Track) -> dict[str, Any]:
    return {
        "seeds": list(track.seeds),
        "drawn": list(track.drawn),
        "score": _score(track.score),
        "object_score_by_slice": {str(index): _score(score) for index, score in track.object_scores.items()},
        "stops": [
            {
                "slice": stop.slice_index,
                "direction": "up" if stop.forward else "down",
                "reason": stop.reason.value,
                "detail": stop.detail,
            }
            for stop in track.stops
        ],
    }


def _score(score: float) -> float | None:
    """JSON knows no NaN, which a broken model may well give."""
    return round(score, 4) if math.isfinite(score) else None


def _window(window: Window) -> dict[str, Any]:
    return {"name": window.name, "low": window.low, "high": window.high}
