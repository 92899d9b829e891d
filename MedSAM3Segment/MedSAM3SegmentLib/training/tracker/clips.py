"""From labeled stacks to what a tracker is trained on: runs of slices, and the objects that it follows on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from MedSAM3SegmentLib.array_types import BoolMask

from .objects import EncodedStack, StackObject

#: A person shows an object where it is well seen: slices with less of it than this share of its largest area are
#: rarely chosen.
_WELL_SEEN = 0.3

#: What goes on so many slices beyond an end, not more than so many pixels from where the object was as many slices
#: before, with this part of the smaller of both, may be taken for it.
_END_REACH, _NEXT_TO, _PART_OF_IT = 3, 3, 0.15


@dataclass(frozen=True)
class ClipPlan:
    """How clips are chosen.

    Attributes:
        run: slices tracked one after another.
        objects: the most followed at once.
        end_probability: how often the run goes past the end of an object, so that stopping is learned.
        neighbor_probability: how often that is an end beyond which another object goes on in the same place or next
            to it, which is the hardest to tell.
        far_probability: how often the object was shown on a slice far from the run, as it is for most of a stack.
        seeds: how often objects are shown by mask, by box and by points.
        correction_probability: how often a later slice is corrected; by a click or by a mask.
    """

    run: int = 6
    objects: int = 3
    end_probability: float = 0.7
    neighbour_probability: float = 0.4
    far_probability: float = 0.5
    seeds: tuple[float, float, float] = (0.6, 0.2, 0.2)
    correction_probability: float = 0.2


@dataclass(frozen=True, eq=False)
class Clip:
    """Slices in the order they are gone through, and objects on them.

    The first slice is where the objects are shown. A few that follow may be given as if they had been tracked (after
    a gap, whatever lay between is left out); the rest is to be tracked.

    Attributes:
        positions: numbers of the slices in their stack, rising or falling.
        given: how many after the first come with their masks.
        depth: slices in the stack.
        tokens: float16 ``[slice, token, channel]``.
        masks: per object, bool ``[slice, row, column]``.
    """

    positions: tuple[int, ...]
    given: int
    depth: int
    tokens: torch.Tensor
    masks: tuple[BoolMask, ...]

    @property
    def reverse(self) -> bool:
        return self.positions[0] > self.positions[-1]


class ClipMaker:
    """Draws clips, reproducibly from a seed.

    Args:
        stacks: what to draw from.
        plan: how.
        seed: of all choices.
    """

    def __init__(self, stacks: Sequence[EncodedStack], plan: ClipPlan, seed: int) -> None:
        self.plan = plan
        self.rng = np.random.default_rng(seed)
        self._stacks = stacks
        self._by_concept: dict[str, list[tuple[int, int]]] = {}
        self._next_to_another: list[tuple[int, int, int]] = []
        for s, stack in enumerate(stacks):
            for number, thing in enumerate(stack.objects):
                self._by_concept.setdefault(thing.concept, []).append((s, number))
                for step in (1, -1):
                    if _gives_way(thing, stack, step):
                        self._next_to_another.append((s, number, step))

    def draw(self) -> Clip:
        """The next clip; its first object was chosen such that all concepts are as frequent."""
        rng, plan = self.rng, self.plan
        at_neighbour = bool(self._next_to_another) and rng.random() < plan.neighbour_probability
        if at_neighbour:
            s, number, step = self._next_to_another[int(rng.integers(len(self._next_to_another)))]
        else:
            concept = str(rng.choice(sorted(self._by_concept)))
            places = self._by_concept[concept]
            s, number = places[int(rng.integers(len(places)))]
            step = 1 if rng.random() < 0.5 else -1
        stack, chosen = self._stacks[s], self._stacks[s].objects[number]
        depth = len(stack.tokens)
        begin, end = (chosen.first, chosen.last) if step > 0 else (chosen.last, chosen.first)
        # The run starts at ``start``, with the object on the slice before it.
        length = abs(end - begin)
        if at_neighbour or rng.random() < plan.end_probability:
            before_end = int(rng.integers(0, min(plan.run, length)))
            start = end + step - step * before_end
        else:
            start = begin + step * int(rng.integers(1, length + 1))
        seed = start - step
        if rng.random() < plan.far_probability or seed in stack.spoiled:
            seed = self._well_seen(stack, chosen, begin, start - step)
        given = [p for p in (start - 2 * step, start - step) if (p - seed) * step > 0]
        run = [p for p in range(start, start + step * plan.run, step) if 0 <= p < depth]
        if not run:  # The object ends with the stack.
            return self.draw()
        positions = (seed, *given, *run)
        others = [
            thing
            for thing in stack.objects
            if thing is not chosen and thing.is_on(start - step) and thing.area(seed) >= _WELL_SEEN * _largest(thing)
        ]
        rng.shuffle(others)  # type: ignore[arg-type]
        objects = [chosen, *others[: plan.objects - 1]]
        masks = tuple(np.stack([thing.on_slice(p, stack.shape) for p in positions]) for thing in objects)
        return Clip(positions, len(given), depth, stack.tokens[list(positions)], masks)

    def _well_seen(self, stack: EncodedStack, thing: StackObject, begin: int, last: int) -> int:
        """A slice from ``begin`` to ``last`` to show an object on, where much of it is seen if there is one."""
        choices = np.arange(min(begin, last), max(begin, last) + 1)
        areas = np.array([0 if int(index) in stack.spoiled else thing.area(int(index)) for index in choices])
        good = choices[areas >= _WELL_SEEN * _largest(thing)]
        return int(self.rng.choice(good if len(good) else choices))


def _gives_way(thing: StackObject, stack: EncodedStack, step: int) -> bool:
    """Whether another object, which is not around it anyway, lies beyond an end of ``thing`` next to where that was.

    Args:
        step: 1 for the end with the highest slice, -1 for the other.
    """
    from scipy import ndimage

    end = thing.last if step > 0 else thing.first
    before = end - step * min(_END_REACH, thing.last - thing.first)
    where = thing.on_slice(before, stack.shape)
    around = ndimage.binary_dilation(where, iterations=_NEXT_TO)

    def takes(other: StackObject, index: int) -> bool:
        there = other.on_slice(index, stack.shape)
        smaller = min(np.count_nonzero(where), np.count_nonzero(there))
        return bool(smaller > 0 and np.count_nonzero(around & there) >= _PART_OF_IT * smaller)

    outside = [other for other in stack.objects if not np.any(where & other.on_slice(before, stack.shape))]
    return any(takes(other, end + step * _END_REACH) for other in outside)


def _largest(thing: StackObject) -> int:
    return int(np.count_nonzero(thing.mask, axis=(1, 2)).max())
