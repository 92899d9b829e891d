"""Segments that earlier runs made: which they are, and which of them holds the same object as a new result.

Objects of a concept are numbered by size, which another run or threshold changes; so a segment is known by where its
object lies, and keeps its number, and whatever name a user gave it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SceneLib.mrml.segment_masks import labels_under
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for

from .provenance import read_provenance


@dataclass(frozen=True)
class EarlierSegment:
    """A segment that a run made of a concept.

    Attributes:
        number: of the object that it holds, or None where it holds all of the concept.
        created: when the run was, as its provenance says.
        is_renamed: whether a user gave it another name.
    """

    segment_id: str
    number: int | None
    created: str
    is_renamed: bool


def segment_name(concept: str, number: int | None) -> str:
    """What a new segment is called."""
    return concept.strip() if number is None else f"{concept.strip()} {number}"


def earlier_segments(
    segmentation_node: Any, concept: str, volume_name: str, content_hash: str | None = None
) -> list[EarlierSegment]:
    """The segments that earlier runs made of a concept in one volume, in the order of the segmentation.

    Concepts are told apart by their words, not by what the model was asked: of all that is drawn it is asked the same.

    Args:
        segmentation_node: a vtkMRMLSegmentationNode.
        concept: the phrase as typed.
        volume_name: as in the segments' provenance.
        content_hash: of the volume, where another one has its name; None where the name tells which it is, whatever
            became of its voxels.
    """
    segmentation, wanted = segmentation_node.GetSegmentation(), prompt_for(concept)
    found: dict[int | None, EarlierSegment] = {}
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        provenance = read_provenance(segment) or {}
        is_same = prompt_for(str(provenance.get("concept", ""))) == wanted
        source = provenance.get("input")
        if not is_same or not isinstance(source, dict) or source.get("name") != volume_name:
            continue
        if content_hash is not None and source.get("sha256") != content_hash:
            continue
        number = provenance.get("instance")
        number = number if type(number) is int else None
        given = segment_name(str(provenance.get("concept", "")), number)
        is_renamed = segment.GetName().casefold() != given.casefold()
        made = EarlierSegment(str(segment_id), number, str(provenance.get("created", "")), is_renamed)
        # A copy that a user keeps says the same of itself, and comes later.
        found.setdefault(number, made)
    return list(found.values())


def match_instances(
    earlier: Sequence[EarlierSegment],
    contents: Sequence[Any | None],
    labels: NDArray[np.uint16],
    sizes: Mapping[int, int],
    ijk_to_segmentation: Matrix,
) -> dict[int, EarlierSegment]:
    """Which earlier segment each object belongs into; objects that are new are left out. Touches no scene.

    An object is the one of a segment when they share more than half of the smaller one. Segments that hold nothing by
    now are filled again, where that can be with the object of their number. One that was renamed is not: its name may
    mean another object.

    Args:
        earlier: segments of single objects.
        contents: what they hold, from ``labelmaps.content_of``.
        labels: the objects, ``[k, j, i]``, 0 where there is none.
        sizes: voxels of each object by label.
        ijk_to_segmentation: from voxel index ``(i, j, k, 1)`` of ``labels`` to the segmentation's frame.

    Returns:
        By label.
    """
    shared: list[tuple[int, int, int]] = []
    for row, content in enumerate(contents):
        if content is not None:
            counts, size = labels_under(content, labels, ijk_to_segmentation)
            pairs = ((label, int(count)) for label, count in enumerate(counts) if label in sizes)
            shared += [(count, row, label) for label, count in pairs if 2 * count > min(size, sizes[label])]
    homes: dict[int, EarlierSegment] = {}
    for _, row, label in sorted(shared, key=lambda pair: (-pair[0], *pair[1:])):
        if label not in homes and earlier[row] not in homes.values():
            homes[label] = earlier[row]
    empty = {
        segment.number: segment
        for segment, content in zip(earlier, contents, strict=True)
        if content is None and segment.number is not None and not segment.is_renamed
    }
    for label in sorted(sizes, key=lambda label: label not in empty):
        if label not in homes and empty:
            homes[label] = empty.pop(label if label in empty else next(iter(empty)))
    return homes


def free_number(wanted: int, earlier: Sequence[EarlierSegment], given: Mapping[int, int]) -> int:
    """The number of a new segment: ``wanted``, or where another has that, the next that none has.

    Args:
        given: what was given to new segments already, in the same run, by label.
    """
    taken = {segment.number for segment in earlier if segment.number is not None} | set(given.values())
    return wanted if wanted not in taken else max(taken) + 1
