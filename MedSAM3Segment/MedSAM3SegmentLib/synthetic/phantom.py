"""Synthetic abdomens: 3D, CT-like or MR-like, with labels, from a seed.

They show how the program works and let it be tested; they are no evidence of anything in a patient. Organs are smooth
implicit bodies in RAS millimeters around the phantom's center, sampled on any grid, oblique ones too, so that the
same anatomy can be seen through different voxels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.volume import Volume

from .anatomy import Anatomy
from .rendering import Contrast, paint
from .tissues import (
    CONCEPTS,
    ORGANS,
    labels_of,
    rasterise,
)

__all__ = ["CONCEPTS", "ORGANS", "Contrast", "Phantom", "make_phantom", "random_grid", "tilted_grid"]


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic volume and where its organs are.

    Attributes:
        volume: the image; its modality is ``CT`` (in HU) or ``MR`` (arbitrary unit).
        masks: bool ``[k, j, i]`` for each of ``CONCEPTS``; all False where the concept is absent.
    """

    volume: Volume
    masks: Mapping[str, BoolMask]

    @property
    def present(self) -> tuple[str, ...]:
        return tuple(name for name in CONCEPTS if self.masks[name].any())

    @property
    def absent(self) -> tuple[str, ...]:
        return tuple(name for name in CONCEPTS if not self.masks[name].any())


def random_grid(
    rng: np.random.Generator,
    *,
    max_tilt_degrees: float = 10.0,
    pixels: int = 128,
    thickness_mm: tuple[float, float] = (4.0, 8.0),
) -> VoxelGrid:
    """An axial-ish acquisition around the phantom: RAS or LPS, tilted a little, thick or thin slices.

    Args:
        rng: where the randomness comes from.
        max_tilt_degrees: largest rotation about each axis.
        pixels: rows and columns.
        thickness_mm: the range that the distance between slices is drawn from.
    """
    in_plane = rng.uniform(2.7, 3.1) * 128 / pixels
    thickness = rng.uniform(*thickness_mm)
    slices = round(rng.uniform(180, 220) / thickness)
    return tilted_grid(
        (slices, pixels, pixels), (in_plane, in_plane, thickness), rng.uniform(-1, 1, 3) * max_tilt_degrees
    )


def tilted_grid(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    tilt_degrees: NDArray[np.float64] | tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> VoxelGrid:
    """A grid centerd on the phantom.

    Args:
        shape: ``(k, j, i)``.
        spacing: along ``(i, j, k)`` in millimeters.
        tilt_degrees: rotation about R, A and S.
    """
    from scipy.spatial.transform import Rotation

    # i runs to the patient's left and j to posterior, as in nearly every axial DICOM series.
    axes = Rotation.from_euler("xyz", np.asarray(tilt_degrees), degrees=True).as_matrix() @ np.diag([-1.0, -1.0, 1.0])
    matrix = np.eye(4)
    matrix[:3, :3] = axes * np.asarray(spacing)
    centre = (np.asarray(shape[::-1]) - 1) / 2
    matrix[:3, 3] = -matrix[:3, :3] @ centre
    return VoxelGrid(shape, matrix)


def make_phantom(
    seed: int,
    grid: VoxelGrid | None = None,
    contrast: Contrast | None = None,
    absence: float = 0.15,
    kidney_tumor: float = 0.18,
) -> Phantom:
    """The phantom of ``seed``: the same anatomy whatever grid or contrast it is asked for in.

    Args:
        seed: decides anatomy, and grid and contrast where those are not given.
        grid: where to sample; by default a random axial-ish one.
        contrast: CT-like or MR-like; by default either.
        absence: probability that an organ is missing (the spine never is).
        kidney_tumor: probability of a tumor in each kidney that is there.
    """
    anatomy_rng, grid_rng, image_rng = (np.random.default_rng([seed, part]) for part in range(3))
    if grid is None:
        grid = random_grid(grid_rng)
    if contrast is None:
        contrast = Contrast.CT if grid_rng.random() < 0.6 else Contrast.MR
    anatomy = Anatomy.random(anatomy_rng, absence, kidney_tumor)
    tissues = rasterise(anatomy, grid)
    array = paint(tissues, anatomy, grid, contrast, image_rng)
    volume = Volume(array, grid, contrast.value, f"phantom-{seed}")
    return Phantom(volume, labels_of(tissues))
