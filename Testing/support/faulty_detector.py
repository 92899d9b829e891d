"""A test double of a detector: it sees an organ on its slices, misses it now and then, and fires on empty slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.results.slice_detections import Detection, SliceDetections

#: Pixels of 2 mm along each side of a slice.
EDGE, PIXEL_MM = 96, 2.0


@dataclass(frozen=True, eq=False)
class SpoiledCase:
    """What the detector said, and what is true.

    Attributes:
        organ: bool ``[slice, row, column]``.
        planted: slices without the organ on which it fired.
        missed: slices of the organ on which it saw nothing.
    """

    stack: SliceStack
    evidence: tuple[SliceDetections, ...]
    organ: NDArray[np.bool_]
    planted: tuple[int, ...]
    missed: tuple[int, ...]

    @property
    def true_slices(self) -> list[int]:
        return np.flatnonzero(self.organ.any(axis=(1, 2))).tolist()


def spoiled_case(seed: int, thickness: float, *, semantic: bool, slices: int | None = None) -> SpoiledCase:
    """An ellipsoid in a stack of 200 mm, seen with scores around the threshold 0.5 and above it.

    A tenth of its inner slices are missed, never two in a row. On a fifth of the places outside of it the detector
    fires, at a random place and size, on one slice or on two in a row, one time in three with a score above 0.8.
    """
    rng = np.random.default_rng([seed, round(thickness)])
    count = slices or round(200 / thickness)
    stack = SliceStack.along(
        VoxelGrid((count, EDGE, EDGE), np.diag([-PIXEL_MM, -PIXEL_MM, thickness, 1.0])), Plane.AXIAL
    )
    half = rng.uniform(16, 45, 3)
    centre = np.array([rng.uniform(60, 140), *rng.uniform(60, 132, 2)])
    z, y, x = np.ogrid[
        0 : count * thickness : thickness, 0 : EDGE * PIXEL_MM : PIXEL_MM, 0 : EDGE * PIXEL_MM : PIXEL_MM
    ]
    organ = ((z - centre[0]) / half[0]) ** 2 + ((y - centre[1]) / half[1]) ** 2 + ((x - centre[2]) / half[2]) ** 2 < 1
    organ = np.asarray(organ)
    true = np.flatnonzero(organ.any(axis=(1, 2)))
    pictures = {int(n): (float(rng.uniform(0.3, 1.0)), organ[n]) for n in true}
    pictures[int(true[len(true) // 2])] = (0.95, organ[true[len(true) // 2]])
    missed: list[int] = []
    for n in true[2:-2]:
        if rng.random() < 0.1 and n - 1 not in missed and pictures[int(n)][0] < 0.95:
            missed.append(int(n))
            del pictures[int(n)]
    planted = _fire(rng, pictures, set(true.tolist()), count)
    evidence = tuple(_item(n, pictures.get(n), semantic) for n in range(count))
    return SpoiledCase(stack, evidence, organ, planted, tuple(missed))


def _fire(
    rng: np.random.Generator, pictures: dict[int, tuple[float, NDArray[np.bool_]]], true: set[int], count: int
) -> tuple[int, ...]:
    planted: set[int] = set()
    for first in range(count):
        run = range(first, first + int(rng.integers(1, 3)))
        beside = {run.start - 1, run.stop}
        if rng.random() > 0.2 or true & set(run) or planted & beside or run.stop > count or planted & set(run):
            continue
        radius, place = rng.uniform(8, 30), rng.uniform(30, 162, 2)
        y, x = np.ogrid[0 : EDGE * PIXEL_MM : PIXEL_MM, 0 : EDGE * PIXEL_MM : PIXEL_MM]
        score = rng.uniform(0.8, 0.99) if rng.random() < 1 / 3 else rng.uniform(0.3, 0.8)
        for n in run:
            shift = rng.normal(0, 3, 2)
            blob = np.hypot(y - place[0] - shift[0], x - place[1] - shift[1]) < radius
            pictures[n] = (float(score), np.asarray(blob))
            planted.add(n)
    return tuple(sorted(planted))


def _item(index: int, seen: tuple[float, NDArray[np.bool_]] | None, semantic: bool) -> SliceDetections:
    if seen is None:
        return SliceDetections(index, 0.02, 0.02)
    score, mask = seen
    soft = SoftMask.of(mask)
    if semantic:
        return SliceDetections(index, score, score, semantic=soft)
    return SliceDetections(index, score, score, (Detection(score, score, 1.0, (0, 0, 1, 1), soft),))
