"""From labelled stacks to what a tracker is trained on: runs of slices, objects on them, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..intensity import prepare_slices
from ..models.concept_model import ConceptModel
from ..models.tracker import MaskPrompt, PointPrompt
from .samples import LabelledStack
from .spoiling import spoil_stack

Mask = NDArray[np.bool_]

#: Components of fewer voxels or slices than this are crumbs and no objects.
_FEWEST_VOXELS, _FEWEST_SLICES = 60, 3

#: Slices that go through the vision backbone together while stacks are encoded.
_BATCH = 16

#: A person shows an object where it is well seen: slices with less of it than this share of its largest area are
#: rarely chosen.
_WELL_SEEN = 0.3

#: What goes on so many slices beyond an end, not more than so many pixels from where the object was as many slices
#: before, with this part of the smaller of both, may be taken for it.
_END_REACH, _NEXT_TO, _PART_OF_IT = 3, 3, 0.15

#: Share of the slices that are spoiled in a stack with spoiled slices.
_SPOILED_SLICES = 1 / 3


@dataclass(frozen=True, eq=False)
class StackObject:
    """One thing in a stack that can be followed: a 3D component of a concept.

    Attributes:
        concept: what it is a component of.
        box: where it lies, along slices, rows and columns.
        mask: ``[slice, row, column]`` within the box.
    """

    concept: str
    box: tuple[slice, slice, slice]
    mask: Mask

    @property
    def first(self) -> int:
        return int(self.box[0].start)

    @property
    def last(self) -> int:
        return int(self.box[0].stop) - 1

    def is_on(self, index: int) -> bool:
        return self.first <= index <= self.last

    def area(self, index: int) -> int:
        """Pixels on slice ``index``."""
        return int(np.count_nonzero(self.mask[index - self.first])) if self.is_on(index) else 0

    def on_slice(self, index: int, shape: tuple[int, int]) -> Mask:
        """Its mask ``[row, column]`` on the whole of slice ``index``."""
        whole = np.zeros(shape, bool)
        if self.is_on(index):
            whole[self.box[1:]] = self.mask[index - self.first]
        return whole


@dataclass(frozen=True, eq=False)
class EncodedStack:
    """A stack as the vision backbone, which is not trained, sees it.

    Attributes:
        tokens: float16 ``[slice, token, channel]``.
        shape: rows and columns of the masks.
        objects: what can be followed.
        spoiled: slices on which objects are hard to see; nobody would show one there.
    """

    tokens: torch.Tensor
    shape: tuple[int, int]
    objects: tuple[StackObject, ...]
    spoiled: frozenset[int] = frozenset()


def encode_stacks(
    model: ConceptModel, stacks: Iterable[LabelledStack], rng: np.random.Generator, *, spoiled_share: float = 0.0
) -> Iterator[EncodedStack]:
    """Each stack through the vision backbone, once, in a window that varies a little; stacks of no object are left
    out.

    Args:
        spoiled_share: of the stacks of grey slices; a third of the slices of each of these is spoiled.
    """
    for stack in stacks:
        objects = find_objects(stack)
        if not objects:
            continue
        spoiled = frozenset[int]()
        if rng.random() < spoiled_share and stack.slices.ndim == 3:
            stack, spoiled = spoil_stack(stack, _SPOILED_SLICES, rng)
        window, tokens = stack.random_window(rng), []
        for start in range(0, len(stack.slices), _BATCH):
            pictures = prepare_slices(stack.slices[start : start + _BATCH], window, model.image_size)
            with torch.inference_mode():
                tokens.append(model.encode_images(pictures).tokens.half().cpu())
        rows, columns = stack.codes.shape[1:]
        yield EncodedStack(torch.cat(tokens), (rows, columns), objects, spoiled)


def find_objects(stack: LabelledStack) -> tuple[StackObject, ...]:
    """The 3D components of every concept, each once, without crumbs."""
    from scipy import ndimage

    found: dict[tuple[object, ...], StackObject] = {}
    for number, concept in enumerate(stack.concepts):
        labels, _ = ndimage.label((stack.codes >> np.uint32(number)) & 1, np.ones((3, 3, 3)))
        for value, box in enumerate(ndimage.find_objects(labels), start=1):
            mask = labels[box] == value
            if len(mask) < _FEWEST_SLICES or np.count_nonzero(mask) < _FEWEST_VOXELS:
                continue
            # The same body may go by two names: each kidney is also a component of "kidney".
            key = (*((part.start, part.stop) for part in box), np.packbits(mask).tobytes())
            found.setdefault(key, StackObject(concept, box, mask))
    return tuple(found.values())


@dataclass(frozen=True)
class ClipPlan:
    """How clips are chosen.

    Attributes:
        run: slices tracked one after another.
        objects: the most followed at once.
        end_probability: how often the run goes past the end of an object, so that stopping is learned.
        neighbour_probability: how often that is an end beyond which another object goes on in the same place or next
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
    masks: tuple[Mask, ...]

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


def seed_prompt(mask: Mask, plan: ClipPlan, rng: np.random.Generator) -> MaskPrompt | PointPrompt:
    """How a person or a detection may show an object ``[row, column]``: mask, box or points, none of them perfect."""
    kind = rng.choice(3, p=plan.seeds)
    if kind == 0:
        return MaskPrompt(torch.from_numpy(_redrawn(mask, rng)))
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    if kind == 1:
        shake = rng.normal(0, 0.7, 4)
        edges = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) + shake
        x0, y0, x1, y1 = (edges / [width, height, width, height]).clip(0, 1).tolist()
        return PointPrompt(box=(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
    count = int(rng.integers(1, 4))
    inner = rng.integers(0, len(rows), count)
    points = [_fraction(rows[i], columns[i], mask.shape) for i in inner]
    labels = [1] * count
    if count > 1 and rng.random() < 0.4:
        outside = np.argwhere(_ring(mask))
        if len(outside):
            row, column = outside[int(rng.integers(len(outside)))]
            points.append(_fraction(row, column, mask.shape))
            labels.append(0)
    return PointPrompt(tuple(points), tuple(labels))


def correcting_click(found: Mask, wanted: Mask) -> tuple[tuple[float, float], int] | None:
    """The middle of the largest error and whether it belongs to the object; None if there is no error worth a click.

    Args:
        found: ``[row, column]``.
        wanted: of the same shape.
    """
    from scipy import ndimage

    best, click = 1.0, None
    for wrong, label in ((wanted & ~found, 1), (found & ~wanted, 0)):
        depth = ndimage.distance_transform_edt(np.pad(wrong, 1))[1:-1, 1:-1]
        if depth.max() > best:
            best = float(depth.max())
            row, column = np.unravel_index(int(depth.argmax()), depth.shape)
            click = (_fraction(int(row), int(column), wanted.shape), label)
    return click


def _redrawn(mask: Mask, rng: np.random.Generator) -> Mask:
    """As it is, or a pixel wider or narrower, as others would draw it."""
    from scipy import ndimage

    choice = rng.random()
    if choice < 0.7:
        return mask
    changed = ndimage.binary_dilation(mask) if choice < 0.85 else ndimage.binary_erosion(mask)
    return np.asarray(changed) if changed.any() else mask


def _ring(mask: Mask) -> Mask:
    """What lies around a mask, near but not at its edge."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_dilation(mask, iterations=12) & ~ndimage.binary_dilation(mask, iterations=4))


def _fraction(row: int, column: int, shape: tuple[int, ...]) -> tuple[float, float]:
    return (float(column) + 0.5) / shape[1], (float(row) + 0.5) / shape[0]
