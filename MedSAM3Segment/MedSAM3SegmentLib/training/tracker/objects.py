"""Labelled stacks as a tracker is trained on them: encoded once, with the 3D objects that can be followed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.preprocessing.model_input import to_model_input
from MedSAM3SegmentLib.training.dataset import LabelledStack, corrupt_stack, known_runs

#: Components of fewer voxels or slices than this are crumbs and no objects.
_FEWEST_VOXELS, _FEWEST_SLICES = 60, 3

#: Slices that go through the vision backbone together while stacks are encoded.
_BATCH = 16

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
    mask: BoolMask

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

    def on_slice(self, index: int, shape: tuple[int, int]) -> BoolMask:
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


def encode_stack(
    model: Sam3Detector, whole: LabelledStack, rng: np.random.Generator, *, spoiled_share: float = 0.0
) -> Iterator[EncodedStack]:
    """A stack's runs of known slices, each through the vision backbone, once, in a window that varies a little; runs of
    no object are left out.

    Args:
        spoiled_share: how often a third of the slices is spoiled, where they are grey.
    """
    for stack in known_runs(whole):
        objects = find_objects(stack)
        if not objects:
            continue
        spoiled = frozenset[int]()
        if rng.random() < spoiled_share and stack.slices.ndim == 3:
            stack, spoiled = corrupt_stack(stack, _SPOILED_SLICES, rng)
        window, tokens = stack.random_window(rng), []
        for start in range(0, len(stack.slices), _BATCH):
            pictures = to_model_input(stack.slices[start : start + _BATCH], window, model.image_size)
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
