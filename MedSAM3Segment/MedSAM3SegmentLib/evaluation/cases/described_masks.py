"""Reading references as the description of a data set says that they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.datasets.findings import listed
from MedSAM3SegmentLib.datasets.label_files import HALF, LOSSY_SUFFIXES, is_picture_file, read_gray, size
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.read_volume import read_stored

from .case import Reference
from .dataset_catalog import ConceptFiles, MaskKind
from .outlines import read_outlines


@dataclass(frozen=True, eq=False)
class DescribedReferences:
    """Reads the references of one case.

    Attributes:
        image: of the case.
        files: by concept how they are stored, and the files.
        copies_geometry: whether they lie on the image's voxels whatever their own header says.
    """

    image: Path
    files: Mapping[str, tuple[ConceptFiles, tuple[Path, ...]]]
    copies_geometry: bool = False

    def __call__(self, grid: VoxelGrid | None) -> dict[str, Reference]:
        """By concept.

        Raises:
            InputError: a file cannot be read, or holds what its description does not know.
        """
        del grid  # that of the volume, which a sheared image does not share with its file
        read: dict[Path, tuple[NDArray[Any], VoxelGrid]] = {}
        return {concept: self._read(how, paths, read) for concept, (how, paths) in self.files.items()}

    def _read(
        self, how: ConceptFiles, paths: Sequence[Path], read: dict[Path, tuple[NDArray[Any], VoxelGrid]]
    ) -> Reference:
        if how.kind is MaskKind.ABSENT or how.kind is MaskKind.OUTLINES:
            _, grid = read_gray(self.image)
            if how.kind is MaskKind.ABSENT:
                return Reference(np.zeros(grid.shape, bool), grid, True)
            objects = read_outlines(paths[0], grid.shape[1:])[None]
            return Reference(objects != 0, grid, True, objects)
        if how.kind is MaskKind.VALUES:
            return self._read_values(how, paths[0], read)
        masks = []
        for path in paths:
            values, grid = read_gray(path)
            masks.append(_bright(values, path))
            if masks[0].shape != masks[-1].shape:
                raise InputError(f"{paths[0]} and {path} are masks of one image and have other sizes; check them.")
        if how.kind is MaskKind.MASK:
            return Reference(np.logical_or.reduce(masks), grid, True)
        numbered = np.zeros(masks[0].shape, np.int32)
        for number, mask in enumerate(masks, start=1):
            numbered[mask] = number
        return Reference(numbered != 0, grid, True, numbered)

    def _read_values(
        self, how: ConceptFiles, path: Path, read: dict[Path, tuple[NDArray[Any], VoxelGrid]]
    ) -> Reference:
        is_picture = is_picture_file(path)
        if path not in read:
            read[path] = read_gray(path) if is_picture else _label_map(path)
            strange = np.setdiff1d(np.unique(read[path][0]), how.known)
            if strange.size:
                raise InputError(
                    f"{path} holds {listed([f'{one:g}' for one in strange])}, and the values of this data set are "
                    f"{', '.join(map(str, how.known))}; take the original file."
                )
        values, grid = read[path]
        if self.copies_geometry:
            theirs = read_stored(self.image).grid
            if theirs.shape != grid.shape:
                raise InputError(
                    f"{path} has {size(grid)} voxels and its image {size(theirs)}; take the original files."
                )
            grid = theirs
        return Reference(np.isin(values, how.values), grid, is_picture)


def _bright(values: NDArray[Any], path: Path) -> NDArray[np.bool_]:
    """Where a mask is: above half, or where it only has 0 and one low value that is not zero, there."""
    if path.suffix.lower() not in LOSSY_SUFFIXES and values.max(initial=0) <= 1:
        return np.asarray(values > 0)
    return np.asarray(values > HALF)


def _label_map(path: Path) -> tuple[NDArray[Any], VoxelGrid]:
    """Whole numbers, from whatever they are stored as."""
    stored = read_stored(path)
    if stored.array.ndim != 3:
        raise InputError(f"{path} has several values for each voxel and is no label map; take the original file.")
    whole = np.rint(stored.array)
    if stored.array.dtype.kind == "f" and not np.allclose(whole, stored.array, rtol=0, atol=0.01):
        raise InputError(f"{path} has values that are not whole numbers and is no label map; take the original file.")
    return whole.astype(np.int32), stored.grid
