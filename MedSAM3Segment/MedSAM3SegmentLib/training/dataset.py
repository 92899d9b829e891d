"""Labelled slices to train on, from phantoms or from the user's own images and label maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.preprocessing.windowing import Window, choose_window, is_ct
from MedSAM3SegmentLib.synthetic.corruption import corrupt_slices, stored_as
from MedSAM3SegmentLib.synthetic.phantom import CONCEPTS, make_phantom, random_grid
from MedSAM3SegmentLib.volume import Volume

#: CT windows a training slice may be seen through besides its own, so that the user's choice of window does no harm.
_OTHER_CT_WINDOWS = ("bone", "liver", "mediastinum")
_OTHER_WINDOW_PROBABILITY = 0.2


@dataclass(frozen=True, eq=False)
class LabelledStack:
    """One volume's slices with the masks of every concept.

    Attributes:
        slices: ``[slice, row, column]`` or ``[slice, row, column, 3]``, upright.
        window: the volume's own window.
        is_ct: whether other CT windows make sense too.
        codes: uint32 ``[slice, row, column]``; bit ``n`` is set where ``concepts[n]`` is.
        concepts: the concepts that are labeled here; any of them may be absent, which is a fact worth learning.
    """

    slices: NDArray  # type: ignore[type-arg]
    window: Window
    is_ct: bool
    codes: NDArray[np.uint32]
    concepts: tuple[str, ...]

    def mask(self, index: int, concept: str) -> BoolMask:
        """Where ``concept`` is on slice ``index``."""
        return np.asarray((self.codes[index] >> np.uint32(self.concepts.index(concept))) & 1, dtype=bool)

    def present(self, index: int) -> tuple[str, ...]:
        """The concepts on slice ``index``."""
        bits = int(np.bitwise_or.reduce(self.codes[index], axis=None))
        return tuple(concept for number, concept in enumerate(self.concepts) if bits >> number & 1)

    def random_window(self, rng: np.random.Generator) -> Window:
        """The volume's window, shifted and stretched a little; for CT now and then quite another one."""
        window = self.window
        if self.is_ct and rng.random() < _OTHER_WINDOW_PROBABILITY:
            window = Window.preset(str(rng.choice(_OTHER_CT_WINDOWS)))
        width = window.high - window.low
        low = window.low + width * rng.normal(0, 0.04)
        return Window(low, low + width * rng.uniform(0.85, 1.18))


def stack_with_labels(volume: Volume, masks: Mapping[str, BoolMask], plane: Plane = Plane.ACQUIRED) -> LabelledStack:
    """Cut a volume and its masks ``[k, j, i]`` into upright slices."""
    if len(masks) > 32:
        raise InputError(f"'{volume.name}' has {len(masks)} labelled concepts; train on at most 32 at a time.")
    stack = SliceStack.along(volume.grid, plane)
    codes = np.zeros(volume.grid.shape, np.uint32)
    for number, mask in enumerate(masks.values()):
        codes |= mask.astype(np.uint32) << np.uint32(number)
    return LabelledStack(
        np.ascontiguousarray(stack.extract(volume.array)),
        choose_window(volume),
        is_ct(volume),
        np.ascontiguousarray(stack.extract(codes)),
        tuple(masks),
    )


def phantom_stacks(seeds: Sequence[int], thickness_mm: tuple[float, float] | None = None) -> Iterator[LabelledStack]:
    """The phantoms of ``seeds``, axially.

    Args:
        seeds: as ``make_phantom`` takes them.
        thickness_mm: the range that the distance between slices is drawn from, or None for each phantom's own.
    """
    for seed in seeds:
        grid = None
        if thickness_mm is not None:
            grid = random_grid(np.random.default_rng([seed, 3]), thickness_mm=thickness_mm)
        phantom = make_phantom(seed, grid)
        yield stack_with_labels(phantom.volume, {name: phantom.masks[name] for name in CONCEPTS}, Plane.AXIAL)


def corrupt_stack(stack: LabelledStack, share: float, rng: np.random.Generator) -> tuple[LabelledStack, frozenset[int]]:
    """A stack of grey slices with ``share`` of them spoiled, and which; its labels stay true."""
    slices = stack.slices.astype(np.float32)
    spoiled = corrupt_slices(slices, stack.codes != 0, share, rng)
    return replace(stack, slices=stored_as(slices, stack.slices.dtype)), frozenset(spoiled)
