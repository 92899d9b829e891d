"""Phantoms as cases: volumes that are made when they are read, with their truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.evaluation.cases.case import CaseSet, EvaluationCase, Reference
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.synthetic.corruption import corrupt_slices, stored_as
from MedSAM3SegmentLib.synthetic.phantom import Phantom, make_phantom, tilted_grid
from MedSAM3SegmentLib.volume import Volume

#: Millimeters from the first slice to the last, and rows and columns of a slice with their spacing.
_HEIGHT_MM, _PIXELS, _PIXEL_MM = 200.0, 128, 2.9


def phantom_cases(
    seeds: Sequence[int], concepts: Sequence[str], spacing: float | None = None, *, with_absent: bool = False
) -> CaseSet:
    """A case for each seed.

    Args:
        spacing: millimeters between slices, or None for each phantom's own grid.
        with_absent: whether concepts that a phantom does not show have an empty reference, or none.
    """
    cases = []
    for seed in seeds:
        recipe = _Recipe(seed, spacing)
        name = f"phantom-{seed}" + ("" if spacing is None else f"-{spacing:g}mm")
        references = _PhantomReferences(recipe, tuple(concepts), with_absent)
        cases.append(EvaluationCase(name, references, (), make_image=recipe))
    note = "Phantoms are synthetic: what they show says nothing about a patient."
    apart = "as each has them" if spacing is None else f"{spacing:g} mm apart"
    described = f"phantoms {min(seeds)} to {max(seeds)}, slices {apart}"
    return CaseSet("Phantoms", {name: name for name in concepts}, cases, notes=(note,), split=described)


def phantom_of(seed: int, spacing: float | None) -> Phantom:
    """A phantom on its own grid, or of 200 mm with slices ``spacing`` millimeters apart."""
    if spacing is None:
        return make_phantom(seed)
    grid = tilted_grid((round(_HEIGHT_MM / spacing) + 1, _PIXELS, _PIXELS), (_PIXEL_MM, _PIXEL_MM, spacing))
    return make_phantom(seed, grid)


def spoil_volume(volume: Volume, masks: Mapping[str, BoolMask], seed: int, share: float = 1 / 3) -> Volume:
    """The volume with ``share`` of its axial slices spoiled: every other by noise, the rest without organ contrast.

    Args:
        masks: of all organs, bool ``[k, j, i]``.
    """
    stack = SliceStack.along(volume.grid, Plane.AXIAL)
    array = volume.array.astype(np.float32)
    organs = np.logical_or.reduce(list(masks.values()))
    corrupt_slices(stack.extract(array), stack.extract(organs), share, np.random.default_rng(seed))
    return replace(volume, array=stored_as(array, volume.array.dtype))


@dataclass(frozen=True)
class _Recipe:
    """How a phantom is made."""

    seed: int
    spacing: float | None

    def __call__(self) -> Volume:
        return _made(self).volume


@dataclass(frozen=True)
class _PhantomReferences:
    """The truth of a phantom."""

    recipe: _Recipe
    concepts: tuple[str, ...]
    with_absent: bool

    def __call__(self, grid: VoxelGrid | None) -> dict[str, Reference]:
        del grid
        phantom = _made(self.recipe)
        own = phantom.volume.grid
        masks = {name: phantom.masks.get(name, np.zeros(own.shape, bool)) for name in self.concepts}
        return {name: Reference(mask, own) for name, mask in masks.items() if self.with_absent or mask.any()}


@lru_cache(maxsize=2)
def _made(recipe: _Recipe) -> Phantom:
    """Image and truth are asked for one after the other, of the next phantom while one is segmented."""
    return phantom_of(recipe.seed, recipe.spacing)
