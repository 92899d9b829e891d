"""Changing a part of a segment and nothing else: a few slices, or all but a few.

All is worked out on the lattice that the segment stands on, so what is not to change does not, to the voxel, also where
the volume stands on another lattice. Only ``edited_lattice`` looks at the scene; the rest may run on another thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.grid import Matrix, VoxelGrid

from .labelmaps import binary_labelmap, labelmap_on_lattice, lattice_of, resampled_labelmap
from .segment_voxels import block_of, paste
from .slice_rasterising import cut_voxels
from .voxel_editing import is_masking, reference_lattice


@dataclass(frozen=True, eq=False)
class _Block:
    """Some voxels of a lattice: bool ``[k, j, i]`` and the index ``(i, j, k)`` of the first."""

    voxels: NDArray[np.bool_]
    first: NDArray[np.int64]


def edited_lattice(editor: Any, segment_id: str, ijk_to_segmentation: Matrix) -> Matrix:
    """The lattice to change a segment on: its own where it may keep it.

    Args:
        editor: a vtkMRMLSegmentEditorNode with a segmentation.
        segment_id: of that segmentation.
        ijk_to_segmentation: the voxels of the volume, in the segmentation's frame.
    """
    segmentation = editor.GetSegmentationNode().GetSegmentation()
    labelmap = binary_labelmap(segmentation.GetSegment(segment_id))
    reference = reference_lattice(segmentation)
    if reference is not None and is_masking(editor):
        return reference  # Masks exist on this lattice only.
    if labelmap is not None and not labelmap.IsEmpty():
        return lattice_of(labelmap)
    one = np.ones((1, 1, 1), bool)
    if reference is not None and labelmap_on_lattice(one, ijk_to_segmentation, reference) is not None:
        return reference
    return ijk_to_segmentation


def with_slices_changed(
    content: Any | None,
    lattice: Matrix,
    mask: NDArray[np.bool_],
    region: NDArray[np.bool_],
    ijk_to_segmentation: Matrix,
) -> Any | None:
    """What a segment holds when ``region`` takes the voxels of ``mask`` and all else stays.

    Args:
        content: what it holds now, from ``labelmaps.content_of``.
        lattice: from ``edited_lattice``.
        mask, region: bool ``[k, j, i]`` on the volume's grid.

    Returns:
        A labelmap on ``lattice``, or None where nothing is left.
    """
    new, changing = (_on_lattice(voxels, ijk_to_segmentation, lattice) for voxels in (mask & region, region))
    return _labelmap(_chosen(new, _current(content, lattice), changing), lattice)


def with_slices_kept(
    content: Any | None,
    lattice: Matrix,
    mask: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    ijk_to_segmentation: Matrix,
) -> Any | None:
    """What a segment holds when ``kept`` stays and all else takes the voxels of ``mask``.

    Args and returns as ``with_slices_changed``.
    """
    new, staying = (_on_lattice(voxels, ijk_to_segmentation, lattice) for voxels in (mask & ~kept, kept))
    return _labelmap(_chosen(_current(content, lattice), new, staying), lattice)


def with_cut_changed(
    content: Any | None, lattice: Matrix, mask: NDArray[np.bool_], slice_to_segmentation: Matrix
) -> Any | None:
    """What a segment holds when the voxels that an oblique slice goes through take its mask and all else stays.

    Args:
        content: what it holds now, from ``labelmaps.content_of``.
        lattice: from ``edited_lattice``.
        mask: bool ``[row, column]`` of the slice, with one pixel set at least.
        slice_to_segmentation: 4x4 from ``(column, row, slice, 1)`` to RAS millimetres of the segmentation's frame.

    Returns:
        A labelmap on ``lattice``, or None where nothing is left.
    """
    # The block of the lattice that the slice goes through, and a voxel around it.
    rows, columns = mask.shape
    ends = np.array([[c, r, s, 1.0] for c in (-1, columns) for r in (-1, rows) for s in (-1, 1)]).T
    reached = (np.linalg.inv(lattice) @ slice_to_segmentation @ ends)[:3]
    first = np.floor(reached.min(axis=1)).astype(np.int64) - 1
    size = np.ceil(reached.max(axis=1)).astype(np.int64) - first + 2
    i, j, k = (int(n) for n in size)
    cut = cut_voxels(mask, slice_to_segmentation, VoxelGrid((k, j, i), _moved(lattice, first)))
    new, changing = np.zeros((2, k, j, i), bool)
    changing[tuple(cut.indices.T)] = True
    new[tuple(cut.indices[cut.inside].T)] = True
    return _labelmap(_chosen(_Block(new, first), _current(content, lattice), _Block(changing, first)), lattice)


def _current(content: Any | None, lattice: Matrix) -> _Block:
    if content is None:
        return _Block(np.zeros((0, 0, 0), bool), np.zeros(3, np.int64))
    voxels, first = block_of(content)
    return _on_lattice(voxels, _moved(lattice_of(content), first), lattice)


def _on_lattice(voxels: NDArray[np.bool_], ijk_to_ras: Matrix, lattice: Matrix) -> _Block:
    if not voxels.any():
        return _Block(np.zeros((0, 0, 0), bool), np.zeros(3, np.int64))
    exact = labelmap_on_lattice(voxels, ijk_to_ras, lattice)
    if exact is not None:
        return _Block(*block_of(exact))
    own = labelmap_on_lattice(voxels, ijk_to_ras, ijk_to_ras)
    return _Block(*block_of(resampled_labelmap(own, lattice)))


def _chosen(inside: _Block, outside: _Block, where: _Block) -> _Block:
    """``inside`` where ``where`` is set, else ``outside``."""
    filled = [block for block in (inside, outside) if block.voxels.size]
    if not filled:
        return inside
    first = np.min([block.first for block in filled], axis=0)
    end = np.max([block.first + np.array(block.voxels.shape[::-1]) for block in filled], axis=0)
    canvas = np.zeros((3, *(end - first)[::-1]), bool)
    for voxels, block in zip(canvas, (inside, outside, where), strict=True):
        if block.voxels.size:
            paste(voxels, block.voxels, block.first - first)
    return _Block(np.where(canvas[2], canvas[0], canvas[1]), first)


def _labelmap(block: _Block, lattice: Matrix) -> Any | None:
    if not block.voxels.any():
        return None
    return labelmap_on_lattice(block.voxels, _moved(lattice, block.first), lattice)


def _moved(lattice: Matrix, first: NDArray[np.int64]) -> Matrix:
    """``lattice`` counted from index ``first`` ``(i, j, k)``."""
    moved = lattice.copy()
    moved[:3, 3] += lattice[:3, :3] @ first
    return moved
