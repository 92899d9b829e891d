"""Where the voxels of a NRRD file lie."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, VoxelGrid
from MedSAM3SegmentLib.io.itk import lps_grid
from MedSAM3SegmentLib.messages.message import Message, message

from .header_text import broken_header, numbers

#: Coordinates of each space that NRRD knows: how many, and which signs turn the first three into LPS.
SPACES: dict[str, tuple[int, tuple[int, int, int]]] = {
    "right-anterior-superior": (3, (-1, -1, 1)),
    "ras": (3, (-1, -1, 1)),
    "left-anterior-superior": (3, (1, -1, 1)),
    "las": (3, (1, -1, 1)),
    "left-posterior-superior": (3, (1, 1, 1)),
    "lps": (3, (1, 1, 1)),
    "right-anterior-superior-time": (4, (-1, -1, 1)),
    "rast": (4, (-1, -1, 1)),
    "left-anterior-superior-time": (4, (1, -1, 1)),
    "last": (4, (1, -1, 1)),
    "left-posterior-superior-time": (4, (1, 1, 1)),
    "lpst": (4, (1, 1, 1)),
    "scanner-xyz": (3, (1, 1, 1)),
    "scanner-xyz-time": (4, (1, 1, 1)),
    "3d-right-handed": (3, (1, 1, 1)),
    "3d-left-handed": (3, (1, 1, 1)),
    "3d-right-handed-time": (4, (1, 1, 1)),
    "3d-left-handed-time": (4, (1, 1, 1)),
}

#: Spaces that say where the patient's left is.
_OF_PATIENT = ("right-", "left-", "ras", "las", "lps")


def nrrd_grid(
    fields: Mapping[str, str], dimension: int, sizes: Sequence[int], spatial: Sequence[int], path: Path
) -> tuple[VoxelGrid, tuple[Message, ...]]:
    """The grid of the axes ``spatial``, as ITK has it, and what was guessed.

    A space that is not the patient's is taken for LPS; without any the axes run along L, P and S.

    Args:
        fields: of the header, their names in lower case and without spaces.
        dimension: axes of the file; ``sizes`` along each.
        spatial: up to three axes, the fastest first.

    Raises:
        InputError: the header is damaged, or voxels have no size or place.
    """
    shape = (*(sizes[axis] for axis in spatial), 1, 1)[:3]
    space = fields.get("space", "").lower()
    if space and space not in SPACES:
        raise broken_header(path)
    coordinates, signs = SPACES.get(space, (0, (1, 1, 1)))
    if not space and "spacedimension" in fields:
        coordinates = int(numbers(fields["spacedimension"], 1, path)[0])
    is_told = space.startswith(_OF_PATIENT) and "spacedirections" in fields
    said = (
        ()
        if is_told
        else (message("The NRRD header does not say how the patient lies, so left and right are a guess."),)
    )
    lps: Matrix = np.eye(4)
    used = min(3, coordinates)
    if not coordinates:
        steps, firsts = (each[list(spatial)] for each in _steps(fields, dimension, sizes, path))
        lps[range(len(spatial)), range(len(spatial))] = steps
        if np.isfinite(firsts).all():
            lps[: len(spatial), 3] = firsts
        return lps_grid(shape[::-1], lps, path), said
    if "spaceorigin" in fields:
        origin = _vector(fields["spaceorigin"], coordinates, path)
        if np.isfinite(origin[0]):
            lps[:used, 3] = origin[:used] * np.array(signs)[:used]
    if "spacedirections" in fields:
        vectors = re.findall(r"none|\([^()]*\)", fields["spacedirections"])
        if len(vectors) != dimension:
            raise broken_header(path)
        for number, axis in enumerate(spatial):
            if vectors[axis] == "none":
                raise broken_header(path)
            lps[:3, number] = 0.0
            lps[:used, number] = _vector(vectors[axis], coordinates, path)[:used] * np.array(signs)[:used]
        lps[:3, :3] = _filled_up(lps[:3, :3], len(spatial))
    return lps_grid(shape[::-1], lps, path), said


def _filled_up(axes: Matrix, count: int) -> Matrix:
    """The columns of ``axes`` from ``count`` on made perpendicular to the ones before, 1 mm long."""
    if count == 3 or not np.isfinite(axes[:, :count]).all():
        return axes
    if count == 1:
        axes[:, 1] = np.eye(3)[int(np.argmin(np.abs(axes[:, 0])))]
        axes[:, 1] -= axes[:, 0] * (axes[:, 1] @ axes[:, 0]) / max(float(axes[:, 0] @ axes[:, 0]), 1e-300)
    normal = np.cross(axes[:, 0], axes[:, 1])
    length = float(np.linalg.norm(normal))
    axes[:, 2] = normal / length if length > 0 else 0.0
    # A plain picture lies as it does in ITK.
    if axes[:, 2].tolist() == [0, 0, -1]:
        axes[:, 2] = 0, 0, 1
    return axes


def _vector(text: str, count: int, path: Path) -> Matrix:
    return np.array(numbers(text.strip("() ").replace(",", " "), count, path))


def _steps(fields: Mapping[str, str], dimension: int, sizes: Sequence[int], path: Path) -> tuple[Matrix, Matrix]:
    """Distance and first position along every axis; a position is NaN where the header does not tell it."""

    def each(name: str) -> list[float]:
        return numbers(fields[name], dimension, path) if name in fields else [np.nan] * dimension

    centers = fields.get("centers", fields.get("centerings", "")).split() or ["???"] * dimension
    if len(centers) != dimension:
        raise broken_header(path)
    steps, lows, highs = (np.array(each(name)) for name in ("spacings", "axismins", "axismaxs"))
    is_node = np.array([center == "node" for center in centers])
    parts = np.array(sizes) - is_node
    lengths = np.where(np.isfinite(highs), highs - lows, steps * parts)
    firsts = np.where(is_node, lows, lows + 0.5 * lengths / sizes)
    # The ends of the axes give places, and no distances, as ITK has it.
    return np.where(np.isnan(steps), 1.0, steps), firsts
