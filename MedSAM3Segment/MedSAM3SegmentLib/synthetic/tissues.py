"""From bodies to voxels: which tissue each voxel of a synthetic abdomen is, and where each concept lies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid

from .anatomy import Anatomy, Body

#: The organs that can be asked for; each may be missing from a phantom except the spine.
ORGANS = ("liver", "spleen", "left kidney", "right kidney", "spine", "aorta", "stomach")

#: Everything a phantom has labels for. ``kidney`` is both kidneys, ``tumor`` every tumour wherever it sits.
CONCEPTS = (*ORGANS, "kidney", "tumor", "liver tumor", "kidney tumor")


class Tissue:
    """Codes of the tissue map; organs follow from ``FIRST_ORGAN`` in the order of ``ORGANS``."""

    AIR, FAT, MUSCLE, CAVITY, VEIN, CLUTTER = range(6)
    FIRST_ORGAN = 6
    TUMOUR_BIT = 32
    LIVER_TUMOUR = TUMOUR_BIT | FIRST_ORGAN

    @staticmethod
    def of(organ: str) -> int:
        """The code of one of ``ORGANS`` where it is healthy."""
        return Tissue.FIRST_ORGAN + ORGANS.index(organ)


def rasterise(anatomy: Anatomy, grid: VoxelGrid) -> NDArray[np.uint8]:
    """Tissue codes ``[k, j, i]``."""
    k, j, i = np.indices(grid.shape, dtype=np.float32)
    positions = grid.to_ras(np.stack([i, j, k], axis=-1)).astype(np.float32)
    x, y, z = (np.ascontiguousarray(positions[..., axis]) for axis in range(3))
    tissues = np.zeros(grid.shape, np.uint8)

    skin = np.sqrt((x / anatomy.trunk[0]) ** 2 + (np.abs(y) / anatomy.trunk[1]) ** 2.4)
    tissues[skin < 1] = Tissue.FAT
    tissues[skin < 0.9] = Tissue.MUSCLE
    tissues[skin < 0.82] = Tissue.CAVITY

    def fill(body: Body, code: int, where: Callable[[NDArray[np.uint8]], BoolMask]) -> None:
        for part in body.parts:
            away = (
                np.square(place - center)
                for place, center in zip((x, y, z), part.centre.astype(np.float32), strict=True)
            )
            near = sum(away) < part.reach**2
            if not near.any():
                continue
            inside = np.zeros(grid.shape, bool)
            inside[near] = part.field(positions[near]) + body.wobble.field(positions[near]) < 1
            tissues[inside & where(tissues)] = code

    for body in anatomy.clutter:
        fill(body, Tissue.CLUTTER, lambda t: t == Tissue.CAVITY)

    sway_x = anatomy.curve[0] * np.sin(z / 60 + anatomy.curve[2])
    sway_y = anatomy.curve[1] * np.cos(z / 70 + anatomy.curve[2])
    radius = anatomy.curve[3]
    # The vena cava looks like the aorta and lies on the other side: only position tells them apart.
    vein = np.hypot((x - 20 - sway_x) / 1.15, y + 40 - sway_y) < radius
    tissues[vein & (skin < 0.82)] = Tissue.VEIN
    for name in ("stomach", "liver", "spleen", "left kidney", "right kidney"):
        if name in anatomy.organs:
            fill(
                anatomy.organs[name],
                Tissue.of(name),
                lambda t: (t >= Tissue.CAVITY) & (t != Tissue.VEIN) & (t < Tissue.FIRST_ORGAN),
            )
    if "aorta" in anatomy.organs:
        wobble = anatomy.organs["aorta"].wobble.field(positions)
        tissues[np.hypot(x + 13 - sway_x, y + 36 - sway_y) / (radius * 1.1) + wobble < 1] = Tissue.of("aorta")
    wobble = anatomy.organs["spine"].wobble.field(positions)
    vertebra = np.hypot((x - sway_x) / 23, (y + 68 - sway_y) / 18) + wobble < 1
    arch = np.hypot((x - sway_x) / 9, (y + 92 - sway_y) / 15) + wobble < 1
    tissues[(vertebra | arch) & (skin < 0.97)] = Tissue.of("spine")
    for host, body in anatomy.tumours:
        code = Tissue.of(host)
        fill(body, code | Tissue.TUMOUR_BIT, lambda t, code=code: t == code)  # type: ignore[misc]
    return tissues


def labels_of(tissues: NDArray[np.uint8]) -> dict[str, BoolMask]:
    """Masks by concept; an organ includes the tumours in it, as in LiTS and KiTS."""
    organ = tissues & ~np.uint8(Tissue.TUMOUR_BIT)
    tumour = (tissues & Tissue.TUMOUR_BIT) > 0
    masks: dict[str, BoolMask] = {name: organ == Tissue.of(name) for name in ORGANS}
    masks["kidney"] = masks["left kidney"] | masks["right kidney"]
    masks["tumor"] = tumour
    masks["liver tumor"] = tumour & masks["liver"]
    masks["kidney tumor"] = tumour & masks["kidney"]
    return masks
