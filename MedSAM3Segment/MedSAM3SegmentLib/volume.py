"""A volume as the engine sees it: voxels, where they lie, and what kind of image they are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.messages.message import Message


@dataclass(frozen=True, eq=False)
class Volume:
    """An image in the patient.

    Attributes:
        array: voxels ``[k, j, i]`` (any real dtype), or ``[k, j, i, 3]`` uint8 for color.
        grid: where the voxels lie; never sheared (readers resample those and say so in ``messages``).
        modality: DICOM modality code in upper case (``CT``, ``MR``, ``US``, ...), or ``""`` when unknown.
        name: what to call the volume in messages: a file or node name, never a patient's.
        messages: what the reader had to do that the user should know, one sentence each.
        is_sequence: whether the slices are frames over time, so that nothing along the third axis is a length.
    """

    array: NDArray  # type: ignore[type-arg]
    grid: VoxelGrid
    modality: str = ""
    name: str = "volume"
    messages: tuple[Message, ...] = ()
    is_sequence: bool = False

    def __post_init__(self) -> None:
        if self.array.shape[:3] != self.grid.shape:
            raise ValueError(f"The array has shape {self.array.shape[:3]}, its grid {self.grid.shape}.")
        if self.array.ndim not in (3, 4):
            raise ValueError(f"A volume has 3 axes, or 4 with colour, not {self.array.ndim}.")

    def renamed(self, name: str, messages: tuple[Message, ...], is_sequence: bool) -> Volume:
        """The same content under another name; what was hashed already is not hashed again."""
        volume = replace(self, name=name, messages=messages, is_sequence=is_sequence)
        if "content_hash" in self.__dict__:
            volume.__dict__["content_hash"] = self.content_hash
        return volume

    @property
    def is_color(self) -> bool:
        return self.array.ndim == 4

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over voxels, dtype and grid: two volumes with the same hash give the same result."""
        digest = hashlib.sha256()
        digest.update(str((self.array.dtype.str, self.array.shape)).encode())
        digest.update(self.grid.ijk_to_ras.tobytes())
        digest.update(self.modality.encode())
        digest.update(np.ascontiguousarray(self.array).data)
        return digest.hexdigest()
