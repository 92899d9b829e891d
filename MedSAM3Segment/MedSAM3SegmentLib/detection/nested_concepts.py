"""Concepts inside of another one ("tumor inside liver"): that one is found first, and its mask cuts the others.

Holes in its slices are inside too: models often leave out of an organ what is in it, such as a tumor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.progress import RunReporter
from MedSAM3SegmentLib.reporting.sentences import describe_container, describe_region
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.search_region import SearchRegion


@dataclass(frozen=True, eq=False)
class NestedRegion:
    """Where the concepts of a request may be.

    Attributes:
        search_region: outside of which nothing but the container is.
        container: the concept that the others lie in; empty where there is none.
        description: what they lie in, in words; empty where that is anything.
    """

    search_region: SearchRegion
    container: str
    description: str

    @classmethod
    def of(cls, request: SegmentRequest, search_region: SearchRegion) -> NestedRegion:
        """Of a request in which no concept is a container."""
        return cls(search_region, "", describe_region(request.inside))


def split_request(request: SegmentRequest) -> tuple[SegmentRequest, ...]:
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


def nest_concepts(
    request: SegmentRequest, search_region: SearchRegion, mask: BoolMask, reporter: RunReporter
) -> NestedRegion:
    """Where the other concepts of ``request`` may be, now that its container is known.

    Args:
        search_region: of the request.
        mask: the container's, bool ``[k, j, i]``.
    """
    container = request.container
    assert container is not None
    filled = _without_holes(mask, search_region.stack)
    within = search_region.restricted_to(container, filled)
    if not within.slices:
        reporter.add_message(
            message("'{concept}' was not found, so nothing could be looked for inside of it.", concept=container)
        )
    return NestedRegion(within, container, describe_container(container, container in request.concepts, filled))


def _part(request: SegmentRequest, concepts: tuple[str, ...], mode: Mode) -> SegmentRequest:
    """The request for some of its concepts, wherever they are."""
    prompts = {concept: prompts for concept, prompts in request.prompts.items() if concept in concepts}
    return replace(request, concepts=concepts, prompts=prompts, inside=None, mode=mode)


def _without_holes(mask: BoolMask, stack: SliceStack) -> BoolMask:
    """``mask`` ``[k, j, i]`` with what it encloses on each slice of ``stack``."""
    from scipy import ndimage

    filled = stack.extract(mask).copy()
    for index in np.flatnonzero(filled.any(axis=(1, 2))):
        rows, columns = (np.flatnonzero(filled[index].any(axis=axis)) for axis in (1, 0))
        part = filled[index, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        part |= ndimage.binary_fill_holes(part)
    return np.ascontiguousarray(stack.insert(filled))
