"""Getting a volume to a service: once, by a file where both see the same disk, else compressed."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.engine.protocol.codec import encode
from MedSAM3SegmentLib.engine.protocol.messages import FOLDER_PREFIX, PROOF_NAME, VolumeUpload
from MedSAM3SegmentLib.errors import Cancelled, InputError, MedSAM3Error
from MedSAM3SegmentLib.progress import CancelCheck
from MedSAM3SegmentLib.volume import Volume

from .http import HttpConnection

#: Bytes that are written or compressed at a time; cancelling waits for one.
_CHUNK_BYTES = 4 * 2**20

#: Bytes a second that a service reads back and hashes at the least, on a disk across a network.
SLOWEST_DISK_BYTES_PER_S = 2e7


def read_proof(connection: HttpConnection) -> str:
    """What the service's proof file holds, or empty when this process does not see the same disk.

    Reading it shows the service that client and service run for the same user on the same machine.
    """
    if not connection.is_loopback:
        return ""
    path = _file_of_store(connection.get("/proof").get("path"))
    if path is None or path.name != PROOF_NAME:
        return ""
    try:
        return path.read_text("ascii")
    except (OSError, ValueError):
        return ""


def send_volume(connection: HttpConnection, volume: Volume, proof: str, cancel: CancelCheck) -> str:
    """Make sure that the service has a volume's voxels.

    Returns:
        The content hash, by which jobs name it.

    Raises:
        Cancelled: ``cancel`` said so.
        InputError: the service refuses the volume, or a disk is full.
        EngineError: the service cannot be reached.
    """
    array = np.ascontiguousarray(volume.array)
    offer = VolumeUpload(volume.content_hash, array.dtype.str, array.shape, volume.grid, volume.modality, proof)
    answer = connection.send("POST", "/volumes", encode(offer))
    if answer.get("known"):
        return offer.content_hash
    ticket, path = str(answer.get("ticket")), _file_of_store(answer.get("path"))
    try:
        if path is not None and proof:
            _write(path, array, cancel)
        else:
            connection.send("PUT", f"/volumes/{ticket}", _compressed(array, cancel), encoding="deflate")
    except BaseException:
        # What is there already would take its disk and budget from the next one.
        with suppress(MedSAM3Error):
            connection.send("DELETE", f"/volumes/{ticket}")
        raise
    # The service reads and hashes all of it before it answers.
    connection.send("POST", f"/volumes/{ticket}/complete", patience=array.nbytes / SLOWEST_DISK_BYTES_PER_S)
    return offer.content_hash


def _file_of_store(path: Any) -> Path | None:
    """A file that a service names, if it is this user's own and lies where services keep volumes.

    At the other end of a forwarded port there may be another machine's service: it must not have other files read or
    written here.
    """
    if not isinstance(path, str):
        return None
    file = Path(path)
    try:
        folder, status = file.parent.lstat(), file.lstat()
    except (OSError, ValueError):
        return None
    mine = not hasattr(os, "getuid") or status.st_uid == folder.st_uid == os.getuid()
    plain = stat.S_ISDIR(folder.st_mode) and stat.S_ISREG(status.st_mode)
    return file if mine and plain and file.parent.name.startswith(FOLDER_PREFIX) else None


def _write(path: Path, array: NDArray[Any], cancel: CancelCheck) -> None:
    """Fill the file that the service keeps ready. Written, not mapped: a full disk must be an error, not a crash."""
    try:
        with path.open("r+b") as file:
            for piece in _pieces(array, cancel):
                file.write(piece)
    except OSError as error:
        raise InputError(
            "The volume could not be handed to the engine ({why}); free some space in {folder}.",
            why=str(error.strerror),
            folder=path.parent,
        ) from None


def _compressed(array: NDArray[Any], cancel: CancelCheck) -> Iterator[bytes]:
    packer = zlib.compressobj(1)
    for piece in _pieces(array, cancel):
        yield packer.compress(piece)
    yield packer.flush()


def _pieces(array: NDArray[Any], cancel: CancelCheck) -> Iterator[memoryview]:
    content = array.reshape(-1).view(np.uint8).data
    for start in range(0, len(content), _CHUNK_BYTES):
        if cancel():
            raise Cancelled()
        yield content[start : start + _CHUNK_BYTES]
