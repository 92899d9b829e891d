"""The intensities that commands look at, on the voxels of a segment."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, common_part, turn_onto_lattice
from MedSAM3SegmentLib.volume import Volume

from .edit_geometry import Block


def intensities_on(
    volume: Volume, ijk_to_segmentation: Matrix, mask: BoolMask, block: Block
) -> tuple[NDArray[Any], bool]:
    """The intensities of a volume where a mask is set, on the voxels of ``block``; not a number outside of the volume.

    As they are where voxels coincide, else between the nearest ones, as Slicer's editable intensity range takes them.
    Colors count by their mean. Touches no scene.

    Args:
        ijk_to_segmentation: from the volume's indices ``(i, j, k, 1)`` to RAS millimeters of the segmentation's frame.
        mask: bool ``[k, j, i]`` on the voxels of ``block``.

    Returns:
        ``[k, j, i]``, and whether the voxels coincide.
    """
    array = volume.array if volume.array.ndim == 3 else volume.array.mean(axis=3)
    to_block = np.linalg.inv(block.ijk_to_segmentation) @ ijk_to_segmentation
    turned = turn_onto_lattice(array, to_block, np.zeros(3, np.int64))
    if turned is not None:
        voxels, first = turned
        common = common_part(mask.shape, voxels, first)
        if common is not None and voxels[common[1]].shape == mask.shape:
            return voxels[common[1]], True
        found = np.full(mask.shape, np.nan)
        if common is not None:
            found[common[0]] = voxels[common[1]]
        return found, True
    return _between(array, np.linalg.inv(to_block), mask), False


def _between(array: NDArray[Any], block_to_ijk: Matrix, mask: BoolMask) -> NDArray[np.float64]:
    from scipy import ndimage

    found = np.full(mask.shape, np.nan)
    places = np.argwhere(mask)[:, ::-1] @ block_to_ijk[:3, :3].T + block_to_ijk[:3, 3]
    last = np.array(array.shape[::-1]) - 0.5
    inside = ((places >= -0.5) & (places < last)).all(axis=1)
    values = np.full(len(places), np.nan)
    # What lies between the outermost centers and the edge of the volume has the outermost intensity.
    values[inside] = ndimage.map_coordinates(
        array, places[inside][:, ::-1].T, output=np.float64, order=1, mode="nearest"
    )
    found[mask] = values
    return found
