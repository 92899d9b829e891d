"""A volume as templates are aligned with it: few voxels, all cubes, along the patient's axes, brightness 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.preprocessing.windowing import is_ct
from MedSAM3SegmentLib.volume import Volume

Field = NDArray[np.float32]

#: Edge of the cubes in millimeters. Ends of organs are looked for on the volume's own slices later.
EDGE_MM = 5.0

#: Cubes that are joined along each axis for the first, coarse alignment.
JOINED = 2

#: HU range that tells organs and fat apart.
_CT_RANGE = (-200.0, 300.0)

#: Percentiles that are black and white in other images.
_PERCENTILES = (1.0, 99.5)

#: Brightness above which a voxel is of the body, not of the air: -140 HU in CT.
_BODY = 0.12

#: Width of the blur that shows the uneven brightness of an MR coil, in millimeters.
_COIL_MM = 40.0


@dataclass(frozen=True, eq=False)
class CoarseVolume:
    """A volume in cubes.

    Attributes:
        image: ``[z, y, x]``, 0 to 1.
        there: where the volume has voxels.
        body: where the patient is.
        gain: what the brightness was multiplied by to even out an MR coil's shade; 1 in CT.
        origin: RAS millimeters of the center of the first cube; the axes run to R, A and S.
        edge: of a cube in millimeters.
    """

    image: Field
    there: BoolMask
    body: BoolMask
    gain: Field
    origin: NDArray[np.float64]
    edge: float = EDGE_MM

    @classmethod
    def of(cls, volume: Volume) -> CoarseVolume:
        """``volume`` in cubes, cut to the body in plane."""
        from scipy import ndimage

        bright, grid = reduce_image(brightness(volume), volume.grid, EDGE_MM / 2)
        low, high = _extent(grid)
        shape = np.maximum(1, np.ceil((high - low) / EDGE_MM).astype(int))
        origin = (low + high) / 2 - (shape - 1) / 2 * EDGE_MM
        sigma = [max(0.0, (EDGE_MM / s) ** 2 - 1) ** 0.5 * 0.4 for s in grid.spacing[::-1]]
        inverse = np.linalg.inv(grid.ijk_to_ras)
        turn, start = inverse[:3, :3] * EDGE_MM, inverse[:3, :3] @ origin + inverse[:3, 3]

        def resample(array: Field) -> Field:
            size = tuple(int(n) for n in shape[::-1])
            return np.asarray(ndimage.affine_transform(array, turn[::-1, ::-1], start[::-1], size, order=1), np.float32)

        image = resample(ndimage.gaussian_filter(bright, sigma))
        there = resample(np.ones_like(bright)) > 0.5
        body = _largest((ndimage.gaussian_filter(image, 1) > _BODY) & there)
        if not body.any():
            body = there.copy()
        gain = np.ones_like(image) if is_ct(volume) else _gain(image, body)
        image = np.clip(image * gain, 0, 1)
        part = [slice(0, image.shape[0])]
        for axis in (1, 2):
            found = np.flatnonzero(body.any(axis=tuple({0, 1, 2} - {axis})))
            part.append(slice(max(0, int(found[0]) - 2), int(found[-1]) + 3))
        cut = tuple(part)
        first = np.array([cut[2].start, cut[1].start, 0])
        return cls(image[cut], there[cut], body[cut], gain[cut], origin + first * EDGE_MM)

    def joined(self) -> CoarseVolume:
        """The same in cubes ``JOINED`` times as long."""
        image, there, body, gain = (
            join_cubes(array.astype(np.float32), JOINED) for array in (self.image, self.there, self.body, self.gain)
        )
        origin = self.origin + (JOINED - 1) / 2 * self.edge
        return CoarseVolume(image, there > 0.5, body > 0.5, gain, origin, self.edge * JOINED)

    @property
    def positions(self) -> NDArray[np.float64]:
        """RAS millimeters of the centers, ``[3, z, y, x]``."""
        z, y, x = np.indices(self.image.shape)
        return np.stack([axis * self.edge + start for axis, start in zip((x, y, z), self.origin, strict=True)])

    def indices_of(self, ras: NDArray[np.float64]) -> NDArray[np.float64]:
        """``[3, ...]`` indices in the order ``(z, y, x)`` of places ``[3, ...]``."""
        return np.stack([(ras[axis] - self.origin[axis]) / self.edge for axis in (2, 1, 0)])

    @property
    def sides(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The body's right and left, back and front, as RAS ``(low, high)``, without outliers such as arms' ends."""
        _, y, x = np.nonzero(self.body)
        pairs = zip((x, y), self.origin[:2], strict=True)
        ends = [np.quantile(axis, (0.02, 0.98)) * self.edge + start for axis, start in pairs]
        return np.array([one[0] for one in ends]), np.array([one[1] for one in ends])


def brightness(volume: Volume) -> Field:
    """A volume's voxels from 0 to 1, ``[k, j, i]``: a fixed window of CT, percentiles of anything else."""
    array = np.nan_to_num(volume.array.astype(np.float32), posinf=0.0, neginf=0.0)
    if array.ndim == 4:
        array = array.mean(axis=3)
    low, high = _CT_RANGE if is_ct(volume) else np.percentile(array, _PERCENTILES)
    return np.asarray(np.clip((array - low) / max(float(high - low), 1e-6), 0, 1), np.float32)


def reduce_image(array: Field, grid: VoxelGrid, edge_mm: float) -> tuple[Field, VoxelGrid]:
    """``array`` with as many voxels joined along each axis as fit into ``edge_mm``, and its grid."""
    steps = [max(1, min(n, int(edge_mm / s + 1e-6))) for s, n in zip(grid.spacing[::-1], array.shape, strict=True)]
    size = [n // step * step for n, step in zip(array.shape, steps, strict=True)]
    cut = array[: size[0], : size[1], : size[2]]
    parts = [count for n, step in zip(size, steps, strict=True) for count in (n // step, step)]
    matrix = grid.ijk_to_ras.copy()
    across = np.array(steps[::-1], float)
    matrix[:3, 3] = grid.to_ras((across - 1) / 2)
    matrix[:3, :3] = matrix[:3, :3] * across
    reduced = cut.reshape(parts).mean(axis=(1, 3, 5), dtype=np.float32)
    return reduced, VoxelGrid(reduced.shape, matrix)


def join_cubes(array: Field, count: int) -> Field:
    """The means of ``count`` cubes along each axis; the last ones are repeated where they do not come out even."""
    padded = np.pad(array, [(0, -n % count) for n in array.shape], mode="edge")
    parts = [size for n in padded.shape for size in (n // count, count)]
    return np.asarray(padded.reshape(parts).mean(axis=(1, 3, 5)), np.float32)


def _extent(grid: VoxelGrid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ends = [(-0.5, n - 0.5) for n in grid.shape[::-1]]
    corners = grid.to_ras(np.array(np.meshgrid(*ends)).reshape(3, -1).T)
    return corners.min(axis=0), corners.max(axis=0)


def _largest(mask: BoolMask) -> BoolMask:
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def _gain(image: Field, body: BoolMask) -> Field:
    """What takes the smooth change of brightness that an MR coil makes out of ``image``."""
    from scipy import ndimage

    weight = body.astype(np.float32)
    shade = np.log(np.maximum(image, 0.02)) * weight
    sigma = _COIL_MM / EDGE_MM
    smooth = ndimage.gaussian_filter(shade, sigma) / np.maximum(ndimage.gaussian_filter(weight, sigma), 1e-3)
    return np.asarray(np.exp(np.clip(smooth[body].mean() - smooth, -1.5, 1.5)), np.float32)
