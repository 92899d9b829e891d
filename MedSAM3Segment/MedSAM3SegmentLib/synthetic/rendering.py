"""From tissues to an image: brightness, texture, noise and gas, as CT or MR shows them."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid

from .anatomy import Anatomy, Field
from .tissues import Tissue

# HU of a portal venous CT, mean and spread between patients.
_HOUNSFIELD: dict[int, tuple[float, float]] = {
    Tissue.AIR: (-1000, 0),
    Tissue.FAT: (-100, 10),
    Tissue.MUSCLE: (55, 8),
    Tissue.CAVITY: (-60, 25),
    Tissue.VEIN: (150, 25),
    Tissue.of("liver"): (105, 14),
    Tissue.of("spleen"): (125, 14),
    Tissue.of("left kidney"): (180, 22),
    Tissue.of("right kidney"): (180, 22),
    Tissue.of("spine"): (260, 60),
    Tissue.of("aorta"): (165, 25),
    Tissue.of("stomach"): (25, 18),
}

# Brightness in T1- and T2-weighted MR, arbitrary unit: fat bright in both, water dark in T1 and bright in T2, flowing
# blood dark.
_T1: dict[int, float] = {
    Tissue.AIR: 10,
    Tissue.FAT: 850,
    Tissue.MUSCLE: 290,
    Tissue.CAVITY: 620,
    Tissue.VEIN: 90,
    Tissue.CLUTTER: 230,
    Tissue.of("liver"): 430,
    Tissue.of("spleen"): 310,
    Tissue.of("left kidney"): 365,
    Tissue.of("right kidney"): 365,
    Tissue.of("spine"): 240,
    Tissue.of("aorta"): 90,
    Tissue.of("stomach"): 170,
}
_T2: dict[int, float] = {
    Tissue.AIR: 10,
    Tissue.FAT: 700,
    Tissue.MUSCLE: 160,
    Tissue.CAVITY: 520,
    Tissue.VEIN: 85,
    Tissue.CLUTTER: 620,
    Tissue.of("liver"): 260,
    Tissue.of("spleen"): 410,
    Tissue.of("left kidney"): 740,
    Tissue.of("right kidney"): 740,
    Tissue.of("spine"): 350,
    Tissue.of("aorta"): 80,
    Tissue.of("stomach"): 900,
}


class Contrast(StrEnum):
    """What kind of image a phantom imitates."""

    CT = "CT"
    MR = "MR"


def paint(
    tissues: NDArray[np.uint8], anatomy: Anatomy, grid: VoxelGrid, contrast: Contrast, rng: np.random.Generator
) -> NDArray[np.int16]:
    """The image ``[k, j, i]`` of a tissue map: HU for CT, arbitrary units for MR."""
    from scipy import ndimage

    table = np.zeros(64, np.float32)
    if contrast is Contrast.CT:
        for code, (mean, spread) in _HOUNSFIELD.items():
            table[code] = mean + rng.normal(0, spread)
        table[Tissue.of("right kidney")] = table[Tissue.of("left kidney")]
        table[Tissue.CLUTTER] = rng.uniform(-20, 90)
        lesion_step = (-75.0, -40.0) if rng.random() < 0.75 else (45.0, 80.0)
    else:
        weighting = _T1 if rng.random() < 0.5 else _T2
        for code, mean in weighting.items():
            table[code] = mean * (1 + rng.normal(0, 0.06))
        table[Tissue.of("right kidney")] = table[Tissue.of("left kidney")]
        # Lesions hold water: dark in T1, bright in T2.
        lesion_step = (-220.0, -150.0) if weighting is _T1 else (200.0, 300.0)
    for host in ("liver", "left kidney", "right kidney"):
        code = Tissue.of(host)
        table[code | Tissue.TUMOUR_BIT] = table[code] + rng.uniform(*lesion_step)
    image = table[tissues]

    k = np.arange(grid.shape[0], dtype=np.float32)[:, None, None] * grid.spacing[2]
    spine = tissues == Tissue.of("spine")
    image += np.where(spine, 0.16 * np.abs(table[Tissue.of("spine")]) * np.sin(k / rng.uniform(4.5, 6)), 0)
    if "stomach" in anatomy.organs and rng.random() < 0.5:
        # Gas rises to the front of the stomach of a patient who lies on the back.
        stomach = tissues == Tissue.of("stomach")
        anterior = np.broadcast_to(_anterior(grid), grid.shape)
        if stomach.any():
            level = np.quantile(anterior[stomach], rng.uniform(0.75, 0.95))
            image[stomach & (anterior > level)] = -800 if contrast is Contrast.CT else 20

    sigma_mm = rng.uniform(0.8, 2.2)
    image = ndimage.gaussian_filter(image, [sigma_mm / spacing / 2 for spacing in grid.spacing[::-1]])
    texture = ndimage.gaussian_filter(rng.normal(0, 1, grid.shape).astype(np.float32), [0.5, 1.2, 1.2])
    texture /= max(float(texture.std()), 1e-6)
    if contrast is Contrast.CT:
        noise = rng.uniform(5, 18)
        image = image + texture * noise * 0.6 + rng.normal(0, noise * 0.7, grid.shape)
    else:
        noise = rng.uniform(12, 45)
        real = image * _bias_field(grid, rng) + rng.normal(0, noise, grid.shape) + texture * noise * 0.5
        image = np.hypot(real, rng.normal(0, noise, grid.shape)) * rng.uniform(0.3, 3.0)
    painted: NDArray[np.int16] = np.rint(np.clip(image, -1024, 30000)).astype(np.int16)
    return painted


def _anterior(grid: VoxelGrid) -> Field:
    """RAS A coordinate of every voxel in millimeters."""
    k, j, i = np.ogrid[: grid.shape[0], : grid.shape[1], : grid.shape[2]]
    row = grid.ijk_to_ras[1]
    return np.asarray(row[0] * i + row[1] * j + row[2] * k + row[3], dtype=np.float32)


def _bias_field(grid: VoxelGrid, rng: np.random.Generator) -> Field:
    """A coil's smooth brightness field around 1."""
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in grid.shape], indexing="ij")
    a, b, c, d = rng.normal(0, 0.12, 4)
    return np.asarray(np.exp(a * i + b * j + c * k + d * i * j), dtype=np.float32)
