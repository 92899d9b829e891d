"""FreeSurfer's MGH and MGZ files to voxels and their grid, their headers taken apart by nibabel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.itk import LPS_TO_RAS, StoredImage, lps_grid
from MedSAM3SegmentLib.messages.message import Message, message

from .voxel_data import VoxelData, read_head, read_voxels

#: Bytes before the voxels.
_HEADER_BYTES = 284

#: The flag that says whether the header tells places; nibabel mends a header without.
_GOOD_RAS = slice(28, 30)

_DTYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}


def is_mgh(path: Path) -> bool:
    """Whether the file's name is that of an MGH file."""
    return path.name.lower().endswith((".mgh", ".mgz", ".mgh.gz"))


def read_mgh(path: Path) -> StoredImage:
    """The voxels ``[k, j, i]`` as stored, and where they lie.

    Raises:
        InputError: it is not MGH, truncated or damaged, empty, or holds several frames.
    """
    from nibabel.freesurfer.mghformat import MGHHeader

    head, compressed = read_head(path, _HEADER_BYTES)
    broken = InputError("{path} is not an MGH file, or its header is damaged; export it again.", path=path)
    if len(head) < _HEADER_BYTES:
        raise broken
    header = MGHHeader(head, check=False)
    if int(header["version"]) != 1 or int(header["type"]) not in _DTYPES:
        raise broken
    *shape, frames = (int(n) for n in header["dims"])
    if min(*shape, frames) < 1:
        raise InputError(
            "{path} is empty: its size is {size} voxels; export it again.", path=path, size=" x ".join(map(str, shape))
        )
    if frames > 1:
        raise InputError(
            "{path} holds {count} volumes (time points or channels); extract one and give that.",
            path=path,
            count=frames,
        )
    messages: tuple[Message, ...] = ()
    matrix = np.eye(4)
    with np.errstate(all="ignore"):
        if int.from_bytes(head[_GOOD_RAS], "big", signed=True) > 0:
            matrix = np.asarray(header.get_affine(), np.float64)
        else:
            # What FreeSurfer assumes: coronal slices of 1 mm, centered.
            matrix[:3, :3] = [[-1, 0, 0], [0, 0, 1], [0, -1, 0]]
            matrix[:3, 3] = -matrix[:3, :3] @ (np.array(shape) / 2)
            messages = (message("The MGH header does not say how the patient lies, so left and right are a guess."),)
    data = VoxelData(path, [path], "gzip" if compressed else "raw", skip_bytes=_HEADER_BYTES)
    values = read_voxels(data, int(np.prod(shape, dtype=object)), _DTYPES[int(header["type"])])
    grid = lps_grid((shape[2], shape[1], shape[0]), LPS_TO_RAS @ matrix, path)
    return StoredImage(values.reshape(shape[::-1]), grid, messages=messages)
