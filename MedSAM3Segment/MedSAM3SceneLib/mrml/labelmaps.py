"""Masks as Slicer's oriented images: cropped to what is set, on the voxels they belong to.

Masks are bool ``[k, j, i]``; their matrices map ``(i, j, k, 1)`` to RAS millimeters of the segmentation's frame. An
oriented image has the same matrix as the whole mask and says by its extent which part of it it holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, turn_onto_lattice

from .transforms import array_of, matrix_of


def labelmap_on_lattice(mask: BoolMask, ijk_to_ras: Matrix, lattice: Matrix) -> Any | None:
    """The labelmap of ``mask`` on the voxels of ``lattice``, exactly, or None where voxel centers do not coincide.

    Args:
        mask: bool ``[k, j, i]`` with at least one voxel set.
        ijk_to_ras: where the mask's voxels lie.
        lattice: ``(i, j, k, 1)`` to RAS of the wanted voxels; may be flipped, permuted and shifted by whole voxels.

    Returns:
        A vtkOrientedImageData of 0 and 1 whose matrix is ``lattice``, cropped to the voxels that are set.
    """
    block, corner = _crop(mask)
    turned = turn_onto_lattice(block, np.linalg.inv(lattice) @ ijk_to_ras, corner)
    return None if turned is None else oriented_image(*turned, lattice)


def cropped(mask: BoolMask, ijk_to_ras: Matrix) -> tuple[BoolMask, Matrix]:
    """The smallest block of ``mask`` that holds all set voxels, and where that block's voxels lie.

    Touches no scene, so that it can be done on another thread.
    """
    block, corner = _crop(mask)
    shifted = ijk_to_ras.copy()
    shifted[:3, 3] += ijk_to_ras[:3, :3] @ corner
    return np.ascontiguousarray(block), shifted


def resampled_labelmap(labelmap: Any, lattice: Matrix) -> Any:
    """The nearest voxels of ``lattice`` to those of ``labelmap``, cropped to where it has any."""
    target = slicer.vtkOrientedImageData()
    target.SetImageToWorldMatrix(matrix_of(lattice))
    target.SetExtent(0, -1, 0, -1, 0, -1)
    resampled = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        labelmap, target, resampled, False, True
    )
    return resampled


def lattice_of(labelmap: Any) -> Matrix:
    """``(i, j, k, 1)`` to RAS of an oriented image."""
    from vtk import vtkMatrix4x4

    matrix = vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    return array_of(matrix)


def binary_labelmap_name() -> str:
    """What Slicer calls the representation of a segment as a labelmap."""
    return str(slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName())


def binary_labelmap(segment: Any) -> Any | None:
    """The labelmap that holds ``segment`` (a vtkSegment), and perhaps others; None where it is stored otherwise."""
    return segment.GetRepresentation(binary_labelmap_name())


def voxels_of(labelmap: Any) -> NDArray[Any]:
    """The labels of an oriented image that is not empty, ``[k, j, i]``: its own memory and no copy."""
    from vtk.util.numpy_support import vtk_to_numpy

    scalars = vtk_to_numpy(labelmap.GetPointData().GetScalars())
    return np.asarray(scalars.reshape(labelmap.GetDimensions()[::-1]))


def content_of(segment: Any) -> Any | None:
    """A labelmap of ``segment`` (a vtkSegment) alone, as 0 and 1; None where it is empty."""
    labelmap = binary_labelmap(segment)
    if labelmap is None or labelmap.IsEmpty():
        return None
    voxels, value = voxels_of(labelmap), segment.GetLabelValue()
    # Slice by slice, because a labelmap that many segments share is much larger than one of them.
    filled = [index for index, part in enumerate(voxels) if (part == value).any()]
    if not filled:
        return None
    mask = voxels[filled[0] : filled[-1] + 1] == value
    corner = np.array(labelmap.GetExtent()[::2])
    corner[2] += filled[0]
    return oriented_image(mask, corner, lattice_of(labelmap))


def content_version(segmentation: Any) -> tuple[tuple[str, str, int], ...]:
    """What differs as soon as a voxel of a vtkSegmentation does, after undo too."""
    labelmaps = {str(name): binary_labelmap(segmentation.GetSegment(name)) for name in segmentation.GetSegmentIDs()}
    return tuple(
        (name, str(image.__this__), image.GetMTime()) for name, image in labelmaps.items() if image is not None
    )


def _crop(mask: BoolMask) -> tuple[BoolMask, NDArray[np.int64]]:
    """The smallest block of ``mask`` that holds all set voxels, and the index ``(i, j, k)`` of its first voxel."""
    if all(mask.take(end, axis).any() for axis in range(3) for end in (0, -1)):
        return mask, np.zeros(3, np.int64)
    ranges = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        set_indices = np.flatnonzero(mask.any(axis=others))
        ranges.append(slice(int(set_indices[0]), int(set_indices[-1]) + 1))
    return mask[tuple(ranges)], np.array([part.start for part in reversed(ranges)])


def oriented_image(block: BoolMask, corner: NDArray[np.int64], lattice: Matrix) -> Any:
    """An image of 0 and 1; touches no scene.

    Args:
        block: bool ``[k, j, i]``.
        corner: the index ``(i, j, k)`` of its first voxel.
        lattice: ``(i, j, k, 1)`` to RAS.
    """
    from vtk import VTK_UNSIGNED_CHAR
    from vtk.util.numpy_support import numpy_to_vtk

    image = slicer.vtkOrientedImageData()
    k, j, i = block.shape
    first_i, first_j, first_k = (int(index) for index in corner)
    image.SetExtent(first_i, first_i + i - 1, first_j, first_j + j - 1, first_k, first_k + k - 1)
    image.SetImageToWorldMatrix(matrix_of(lattice))
    # True and False are stored as 1 and 0, so a whole block can be shown as it is; VTK keeps its array alive.
    voxels = np.ascontiguousarray(block).view(np.uint8).ravel()
    scalars = numpy_to_vtk(voxels, deep=False, array_type=VTK_UNSIGNED_CHAR)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image
