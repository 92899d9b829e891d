"""The volumes that a service was given: files in a folder of its own, mapped, checked, and kept within a budget."""

from __future__ import annotations

import errno
import hmac
import os
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.engine.process_id import ProcessId
from MedSAM3SegmentLib.engine.protocol.messages import FOLDER_PREFIX, PROOF_NAME, VolumeUpload
from MedSAM3SegmentLib.engine.protocol.status import CacheUse
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.units import format_bytes
from MedSAM3SegmentLib.volume import Volume

#: Bytes of volumes that are kept by default: eight CTs of 512 x 512 x 1000 voxels.
DEFAULT_BUDGET = 4 * 1024**3

#: Seconds without a new byte after which a volume on its way is forgotten; its client has crashed.
_TIMEOUT_S = 60.0


@dataclass(eq=False)
class _Arrival:
    """A volume on its way."""

    offer: VolumeUpload
    path: Path
    last_seen: float = field(default_factory=time.monotonic)
    size: int = 0

    def is_late(self) -> bool:
        """Whether nothing was heard of it for long: neither a request, nor bytes that a local client has written."""
        with suppress(OSError):
            size = self.path.stat().st_size
            if size != self.size:
                self.size, self.last_seen = size, time.monotonic()
        return time.monotonic() - self.last_seen > _TIMEOUT_S


class VolumeStore:
    """Keeps volumes by their content; what was used least recently goes first.

    Files lie in a folder of this user alone, which goes with the store. Methods may be called from any thread.

    Args:
        budget: most bytes to keep; a larger volume is refused.
        parent: where to make the folder; the system's temporary one by default.

    Raises:
        InputError: the folder cannot be made.
    """

    def __init__(self, budget: int = DEFAULT_BUDGET, parent: Path | None = None) -> None:
        self.budget = budget
        parent = Path(parent or tempfile.gettempdir())
        _remove_left_over(parent)
        try:
            self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-", dir=parent))
        except OSError as error:
            raise _disk_error(error, parent) from None
        self._proof = secrets.token_hex(32)
        self._volumes: OrderedDict[str, Volume] = OrderedDict()
        self._files: dict[str, Path] = {}
        self._unwanted: list[Path] = []
        self._arrivals: dict[str, _Arrival] = {}
        self._lock = threading.Lock()
        try:
            self.proof_path()
        except InputError:
            self.close()
            raise

    def proof_path(self) -> Path:
        """The file to read the proof in, made where it is not there, or no more: the system tidies up temporary files.

        Raises:
            InputError: the disk is full, or the folder somebody else's.
        """
        path = self.folder / PROOF_NAME
        try:
            self._make_folder_again()
            if not path.exists():
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(self._proof)
        except OSError as error:
            _remove(path)
            raise _disk_error(error, self.folder) from None
        return path

    def is_proof(self, text: str) -> bool:
        """Whether somebody has read the proof file, which only this user's processes on this machine can."""
        return hmac.compare_digest(text.encode(errors="replace"), self._proof.encode())

    def holds(self, content_hash: str) -> bool:
        """Whether a volume is kept; one that is counts as used, since a job that needs it is on its way."""
        with self._lock:
            if content_hash in self._volumes:
                self._volumes.move_to_end(content_hash)
                return True
            return False

    def get(self, content_hash: str) -> Volume:
        """A volume by its content.

        Raises:
            InputError: it is not there, or no more.
        """
        with self._lock:
            volume = self._volumes.get(content_hash)
            if volume is None:
                raise InputError(
                    "The engine no longer has a volume that was sent; try again, or start it with a larger "
                    "--volume-budget."
                )
            self._volumes.move_to_end(content_hash)
            return volume

    def expect(self, offer: VolumeUpload) -> tuple[str, Path]:
        """Make ready for a volume.

        Returns:
            A ticket, and the file that its voxels belong in.

        Raises:
            InputError: the volume cannot be one, or is too large.
        """
        size = offer.checked_size()
        if size > self.budget:
            raise InputError(
                "The volume takes {size} and the engine keeps {budget} at most; crop it, or start the engine "
                "with a larger --volume-budget.",
                size=format_bytes(size),
                budget=format_bytes(self.budget),
            )
        self._forget_late_ones()
        with self._lock:
            on_the_way = sum(arrival.offer.checked_size() for arrival in self._arrivals.values())
        if on_the_way + size > self.budget:
            raise InputError("Too many volumes are being sent to the engine at once; try again in a moment.")
        ticket = secrets.token_hex(16)
        path = self.folder / f"{ticket}.voxels"
        try:
            self._make_folder_again()
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise _disk_error(error, self.folder) from None
        with self._lock:
            self._arrivals[ticket] = _Arrival(offer, path)
        return ticket, path

    def append(self, ticket: str, piece: bytes) -> None:
        """Add bytes to a volume on its way.

        Raises:
            InputError: it is not expected, more comes than was offered, or the disk is full; nothing is kept then.
        """
        arrival = self._arrival(ticket)
        try:
            # Not by "ab", which would make a file anew that was dropped a moment ago.
            with arrival.path.open("r+b") as file:
                if file.seek(0, os.SEEK_END) + len(piece) > arrival.offer.checked_size():
                    raise InputError("More voxels came than the volume has; send it again.")
                file.write(piece)
        except FileNotFoundError:
            self.drop(ticket)
            raise _not_expected() from None
        except OSError as error:
            self.drop(ticket)
            raise _disk_error(error, self.folder) from None
        except InputError:
            self.drop(ticket)
            raise

    def complete(self, ticket: str) -> None:
        """Check a volume that has arrived, and keep it.

        Raises:
            InputError: voxels are missing, or are not those that were offered.
            MemoryError: there is no room to map it into.
        """
        arrival = self._arrival(ticket)
        try:
            volume = _open(arrival)
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError from None
            raise _disk_error(error, self.folder) from None
        finally:
            self.drop(ticket)
        with self._lock:
            self._volumes[volume.content_hash] = volume
            self._volumes.move_to_end(volume.content_hash)
            self._files[volume.content_hash] = arrival.path
            while sum(kept.array.nbytes for kept in self._volumes.values()) > self.budget:
                oldest = self._volumes.popitem(last=False)[0]
                self._unwanted.append(self._files.pop(oldest))
            self._unwanted = [path for path in self._unwanted if not _remove(path)]

    def drop(self, ticket: str) -> None:
        """Forget a volume on its way."""
        with self._lock:
            arrival = self._arrivals.pop(ticket, None)
        if arrival is not None:
            _remove(arrival.path)

    def use(self) -> CacheUse:
        """What is kept."""
        with self._lock:
            held = sum(volume.array.nbytes for volume in self._volumes.values())
            return CacheUse("volumes", "RAM", held, self.budget, len(self._volumes))

    def close(self) -> None:
        """Remove the folder."""
        with self._lock:
            self._volumes.clear()
            self._arrivals.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make_folder_again(self) -> None:
        """The system may have tidied up its temporary files; its name is known then, and somebody may have taken it."""
        with suppress(FileExistsError):
            self.folder.mkdir(mode=0o700)
        status = self.folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
            raise InputError("The folder {folder} is somebody else's; start the engine again.", folder=self.folder)

    def _arrival(self, ticket: str) -> _Arrival:
        with self._lock:
            arrival = self._arrivals.get(ticket)
        if arrival is None:
            raise _not_expected()
        arrival.last_seen = time.monotonic()
        return arrival

    def _forget_late_ones(self) -> None:
        with self._lock:
            late = [ticket for ticket, arrival in self._arrivals.items() if arrival.is_late()]
        for ticket in late:
            self.drop(ticket)


def _open(arrival: _Arrival) -> Volume:
    """The volume in a file that has arrived whole."""
    offer, size = arrival.offer, arrival.offer.checked_size()
    if arrival.path.stat().st_size != size:
        raise InputError("The volume did not arrive whole; send it again.")
    array: NDArray[Any] = np.zeros(offer.shape, offer.dtype)
    if size:
        array = np.memmap(arrival.path, offer.dtype, "r", shape=offer.shape).view(np.ndarray)
    volume = Volume(array, offer.grid, offer.modality)
    if volume.content_hash != offer.content_hash:
        raise InputError("The volume that arrived is not the one that was offered; send it again.")
    return volume


def _remove(path: Path) -> bool:
    """Take a file's name away; what is mapped stays until it is let go. False where Windows refuses it till then."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _remove_left_over(parent: Path) -> None:
    """Remove the folders of this user's services that were killed: they may hold a patient's voxels."""
    for folder in parent.glob(f"{FOLDER_PREFIX}*"):
        pid = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        with suppress(OSError):
            mine = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
            if mine and pid.isdigit() and not ProcessId(int(pid)).is_alive:
                shutil.rmtree(folder, ignore_errors=True)


def _not_expected() -> InputError:
    return InputError("The engine does not expect this volume; send it again.")


def _disk_error(error: OSError, folder: Path) -> InputError:
    return InputError(
        "The engine could not keep volumes in {folder} ({why}); free some space there.",
        folder=folder,
        why=str(error.strerror),
    )
