"""Agents of others in the same harness, under the same oracle: their rules on our base.

Written from the descriptions of Meta's SAM 3 agent (phrase; examine each mask; select or report none) and of
MedSAM-Agent (a box, then clicks, to a tracker; stop or five turns).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MedSAM3AgentLib.objects.candidates import objects_of
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS, PointPromptRAS, PositionRAS, TargetPrompts
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.volume import Volume


def meta_policy(
    segmenter: SegmenterProtocol, volume: Volume, phrases: Sequence[str], truth: BoolMask, rounds: int, plane: str
) -> tuple[BoolMask, int]:
    """Meta's rules: a phrase that was not used, each of its masks examined, the accepted ones returned at once.

    The oracle accepts an object that has at least half of its voxels in the truth.

    Returns:
        The mask ``[k, j, i]``, empty where none was accepted, and the questions asked.
    """
    from MedSAM3SegmentLib.geometry.slice_stack import Plane

    calls = 0
    for phrase in phrases[:rounds]:
        calls += 1
        concept = segmenter.segment(volume, SegmentRequest((phrase,), plane=Plane(plane))).concepts[0]
        objects = objects_of(concept)
        calls += len(objects)
        accepted = [one for one in objects if 2 * np.count_nonzero(one & truth) >= np.count_nonzero(one)]
        if accepted:
            return np.logical_or.reduce(accepted), calls + 1
    return np.zeros(truth.shape, bool), calls + 1


def medsam_agent_policy(
    segmenter: SegmenterProtocol, volume: Volume, truths: dict[str, BoolMask], stack: SliceStack, turns: int
) -> dict[str, BoolMask]:
    """MedSAM-Agent's rules: the oracle's box on the largest true slice, then a click where the error is largest.

    All structures are followed in one run; the best mask of all turns is returned, as its reward asks for.

    Args:
        truths: by name; empty ones are left out.
        turns: boxes and clicks for each structure.

    Returns:
        Masks by name.
    """
    present = {name: truth for name, truth in truths.items() if truth.any()}
    drawn = {name: TargetPrompts(boxes=(_box(truth, stack),), is_phrase=False) for name, truth in present.items()}
    best: dict[str, BoolMask] = {}
    for turn in range(turns):
        request = SegmentRequest(tuple(drawn), plane=stack.plane, mode=Mode.FROM_PROMPTS, prompts=drawn)
        found = {one.concept: one.mask for one in segmenter.segment(volume, request).concepts}
        for name, mask in found.items():
            if name not in best or _dice(mask, present[name]) > _dice(best[name], present[name]):
                best[name] = mask
        if turn + 1 < turns:
            drawn = {
                name: TargetPrompts(
                    points=(*drawn[name].points, _click(found[name], present[name], stack)),
                    boxes=drawn[name].boxes,
                    is_phrase=False,
                )
                for name in drawn
            }
    return best


def _box(truth: BoolMask, stack: SliceStack) -> BoxPromptRAS:
    index, plane = _largest_slice(truth, stack)
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    corners = ((index, rows[0] - 0.5, columns[0] - 0.5), (index, rows[-1] + 0.5, columns[-1] + 0.5))
    first, second = (_ras(stack, corner) for corner in corners)
    return BoxPromptRAS((first, second))


def _click(mask: BoolMask, truth: BoolMask, stack: SliceStack) -> PointPromptRAS:
    from scipy import ndimage

    index, wrong = _largest_slice(mask ^ truth, stack) if (mask ^ truth).any() else _largest_slice(truth, stack)
    distance = ndimage.distance_transform_edt(np.pad(wrong, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(distance)), distance.shape)
    is_in = bool(stack.extract(truth)[index][row, column])
    return PointPromptRAS(_ras(stack, (index, int(row), int(column))), is_in)


def _largest_slice(mask: BoolMask, stack: SliceStack) -> tuple[int, BoolMask]:
    slices = stack.extract(mask)
    index = int(np.argmax(np.count_nonzero(slices, axis=(1, 2))))
    return index, np.asarray(slices[index])


def _ras(stack: SliceStack, place: tuple[float, float, float]) -> PositionRAS:
    ijk = np.zeros(3)
    for n, axis in enumerate(stack.array_axes):
        last = stack.grid.shape[axis] - 1
        ijk[2 - axis] = last - place[n] if stack.flips[n] else place[n]
    right, anterior, superior = stack.grid.to_ras(ijk).tolist()
    return right, anterior, superior


def _dice(mask: BoolMask, truth: BoolMask) -> float:
    total = int(np.count_nonzero(mask)) + int(np.count_nonzero(truth))
    return 2.0 * int(np.count_nonzero(mask & truth)) / max(total, 1)
