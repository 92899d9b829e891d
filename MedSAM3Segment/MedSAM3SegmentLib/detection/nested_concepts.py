"""Concepts inside of another one ("tumor inside liver"): that one is found first, and its mask cuts the others.

Holes in its slices are inside too: models often leave out of an organ what is in it, such as a tumor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.assembly.assemble import assemble
from MedSAM3SegmentLib.geometry.voxel_grid import SliceStack
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.progress import Watch
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.search_region import Gate

#: Finds the concepts of a request within a gate: what comes back has evidence or tracks and is not assembled.
Find = Callable[[SegmentRequest, Gate], Sequence[ConceptResult]]


@dataclass(frozen=True, eq=False)
class Found:
    """What was found of a request.

    Attributes:
        concepts: in the order of the request, not assembled.
        gate: outside of which nothing but the container is.
        inside: what that container was, in words; empty where there was none.
    """

    concepts: tuple[ConceptResult, ...]
    gate: Gate
    inside: str


def parts_of(request: SegmentRequest) -> tuple[SegmentRequest, ...]:
    """What is to be found one after the other: the container and what lies in it, or all at once.

    A container that is not asked for itself is only looked for on every slice, where the others are followed from what
    was drawn.
    """
    container = request.container
    if container is None:
        return (request,)
    is_looked_for = request.mode is Mode.FROM_PROMPTS and container not in request.concepts
    contained = tuple(concept for concept in request.concepts if concept != container)
    return (
        _part(request, (container,), Mode.SLICES if is_looked_for else request.mode),
        _part(request, contained, request.mode),
    )


def find_in_order(request: SegmentRequest, gate: Gate, threshold: float, find: Find, watch: Watch) -> Found:
    """All concepts of ``request``: the container first, if words name one, and then what lies in its mask.

    Args:
        gate: of the request.
        threshold: from which score the container counts.
    """
    outer, *inner = parts_of(request)
    container = request.container
    if not inner or container is None:
        return Found(tuple(find(outer, gate)), gate, _in_words(request.inside))
    (around,) = find(outer, gate)
    mask = _without_holes(assemble(around, gate.stack, threshold, request.assembly, gate).mask, gate.stack)
    within = gate.within(container, mask)
    if not within.slices:
        watch.tell(
            message("'{concept}' was not found, so nothing could be looked for inside of it.", concept=container)
        )
    found = {concept.concept: concept for concept in (around, *find(inner[0], within))}
    how = "a concept of the same request" if container in request.concepts else "looked for first"
    words = f"{container} ({how}, {f'{_voxels(mask)}, holes included' if mask.any() else 'not found'})"
    return Found(tuple(found[concept] for concept in request.concepts), within, words)


def _part(request: SegmentRequest, concepts: tuple[str, ...], mode: Mode) -> SegmentRequest:
    """The request for some of its concepts, wherever they are."""
    prompts = {concept: prompts for concept, prompts in request.prompts.items() if concept in concepts}
    return replace(request, concepts=concepts, prompts=prompts, inside=None, mode=mode)


def _without_holes(mask: NDArray[np.bool_], stack: SliceStack) -> NDArray[np.bool_]:
    """``mask`` ``[k, j, i]`` with what it encloses on each slice of ``stack``."""
    from scipy import ndimage

    filled = stack.extract(mask).copy()
    for index in np.flatnonzero(filled.any(axis=(1, 2))):
        rows, columns = (np.flatnonzero(filled[index].any(axis=axis)) for axis in (1, 0))
        part = filled[index, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        part |= ndimage.binary_fill_holes(part)
    return np.ascontiguousarray(stack.insert(filled))


def _in_words(inside: NDArray[np.bool_] | str | None) -> str:
    return f"a mask that was given ({_voxels(inside)})" if isinstance(inside, np.ndarray) else ""


def _voxels(mask: NDArray[np.bool_]) -> str:
    count = int(np.count_nonzero(mask))
    return "1 voxel" if count == 1 else f"{count} voxels"
