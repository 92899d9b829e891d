"""Masks as text that a scene keeps: the block that holds all set voxels, one bit a voxel, compressed."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask

#: Fast, and small enough: masks are mostly runs.
_LEVEL = 1

#: What one voxel's bit can become at most; a text that says more is none of ours.
_MOST_VOXELS = 2**33


def pack_mask(mask: BoolMask) -> dict[str, Any]:
    """A mask ``[k, j, i]`` as plain JSON values; ``unpack_mask`` reads them. Touches no scene."""
    ranges = []
    for axis in range(3):
        set_indices = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        ranges.append((int(set_indices[0]), int(set_indices[-1]) + 1) if set_indices.size else (0, 0))
    block = mask[tuple(slice(*one) for one in ranges)]
    bits = zlib.compress(np.packbits(block).tobytes(), _LEVEL)
    return {"ranges": [list(one) for one in ranges], "bits": base64.b64encode(bits).decode()}


def unpack_mask(data: Mapping[str, Any], shape: tuple[int, int, int]) -> BoolMask:
    """The mask ``[k, j, i]`` that ``pack_mask`` wrote.

    Raises:
        ValueError, KeyError, TypeError: it is none, or does not fit into ``shape``.
    """
    ranges = [(int(first), int(end)) for first, end in data["ranges"]]
    if len(ranges) != 3 or any(not 0 <= a <= b <= n for (a, b), n in zip(ranges, shape, strict=True)):
        raise ValueError("a mask that was kept does not fit the volume")
    sizes = [end - first for first, end in ranges]
    count = int(np.prod(sizes, dtype=np.int64))
    mask = np.zeros(shape, bool)
    if count == 0 or count > _MOST_VOXELS:
        return mask
    expander = zlib.decompressobj()
    bits = expander.decompress(base64.b64decode(data["bits"], validate=True), (count + 7) // 8)
    block = np.unpackbits(np.frombuffer(bits, np.uint8), count=count).astype(bool)
    mask[tuple(slice(*one) for one in ranges)] = block.reshape(sizes)
    return mask
