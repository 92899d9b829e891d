"""The volumes that a service was given: files in a folder of its own, mapped, checked, and kept within a budget."""

from __future__ import annotations

import errno
import hmac
import os
import secrets
import threading
from collections import OrderedDict
from pathlib import Path

from MedSAM3SegmentLib.engine.protocol.messages import PROOF_NAME, VolumeUpload
from MedSAM3SegmentLib.engine.protocol.status import CacheUse
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.units import format_bytes
from MedSAM3SegmentLib.volume import Volume

from .arrivals import Arrival, Arrivals, not_expected
from .mapped_files import MappedFiles
from .volume_folder import VolumeFolder, disk_error, remove_file

#: Bytes of volumes that are kept by default: eight CTs of 512 x 512 x 1000 voxels.
DEFAULT_BUDGET = 4 * 1024**3

#: Most volumes that are kept; each takes some memory beside its voxels.
MOST_VOLUMES = 1000

#: Most volumes that are mapped at once; each takes a file number.
MOST_MAPPED = 256


class VolumeStore:
    """Keeps volumes by their content; what was used least recently goes first.

    Files lie in a folder of this user alone, which goes with the store. Methods may be called from any thread.

    Args:
        budget: most bytes to keep; a larger volume is refused.
        parent: where to make the folder; the system's temporary one by default.

    Attributes:
        mapped: the volumes that are mapped.

    Raises:
        InputError: the folder cannot be made.
    """

    def __init__(self, budget: int = DEFAULT_BUDGET, parent: Path | None = None) -> None:
        self.budget = budget
        self.mapped = MappedFiles(MOST_MAPPED)
        self._arrivals = Arrivals(budget, remove_file)
        self._folder = VolumeFolder(parent)
        self._proof = secrets.token_hex(32)
        self._volumes: OrderedDict[str, Volume] = OrderedDict()
        self._files: dict[str, Path] = {}
        self._unwanted: list[Path] = []
        self._held = 0
        self._lock = threading.Lock()
        try:
            self.proof_path()
        except InputError:
            self.close()
            raise

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self._folder.path

    def proof_path(self) -> Path:
        """The file to read the proof in, made where it is not there, or no more: the system tidies up temporary files.

        Raises:
            InputError: the disk is full, or the folder somebody else's.
        """
        path = self._folder.make_again() / PROOF_NAME
        try:
            if not path.exists():
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(self._proof)
        except OSError as error:
            remove_file(path)
            raise disk_error(error, self.folder) from None
        return path

    def count_files(self, most_mapped: int) -> None:
        """Map no more volumes at once than there are file numbers for."""
        self.mapped.most = min(MOST_MAPPED, most_mapped)

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
        self._arrivals.forget_late_ones()
        self._arrivals.make_room(size)
        ticket = secrets.token_hex(16)
        path = self._folder.make_again() / f"{ticket}.voxels"
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise disk_error(error, self.folder) from None
        self._arrivals.add(ticket, Arrival(offer, path))
        return ticket, path

    def check_expected(self, ticket: str) -> None:
        """Refuse bytes of a volume that was not offered.

        Raises:
            InputError: it was not, or has been given up.
        """
        self._arrivals.get(ticket)

    def append(self, ticket: str, piece: bytes) -> None:
        """Add bytes to a volume on its way.

        Raises:
            InputError: it is not expected, more comes than was offered, or the disk is full; nothing is kept then.
        """
        arrival = self._arrivals.get(ticket)
        try:
            self._arrivals.make_room(len(piece), ticket)
            # Not by "ab", which would make a file anew that was dropped a moment ago.
            with arrival.path.open("r+b") as file:
                if file.seek(0, os.SEEK_END) + len(piece) > arrival.offer.checked_size():
                    raise InputError("More voxels came than the volume has; send it again.")
                file.write(piece)
        except FileNotFoundError:
            self.drop(ticket)
            raise not_expected() from None
        except OSError as error:
            self.drop(ticket)
            raise disk_error(error, self.folder) from None
        except InputError:
            self.drop(ticket)
            raise

    def complete(self, ticket: str) -> None:
        """Check a volume that has arrived, and keep it.

        Raises:
            InputError: voxels are missing, or are not those that were offered.
            MemoryError: there is no room to map it into.
        """
        arrival = self._arrivals.get(ticket)
        arrival.is_checked = True
        try:
            volume = self._open(arrival)
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError from None
            raise disk_error(error, self.folder) from None
        finally:
            self.drop(ticket)
        with self._lock:
            self._let_go(volume.content_hash)
            self._volumes[volume.content_hash] = volume
            self._files[volume.content_hash] = arrival.path
            self._held += volume.array.nbytes
            while self._held > self.budget or len(self._volumes) > MOST_VOLUMES:
                self._let_go(next(iter(self._volumes)))
            self._unwanted = [path for path in self._unwanted if not remove_file(path)]

    def drop(self, ticket: str) -> None:
        """Forget a volume on its way."""
        self._arrivals.drop(ticket)

    def forget_late_ones(self) -> None:
        """Let go of volumes on their way whose clients have crashed: they hold a patient's voxels."""
        self._arrivals.forget_late_ones()

    def use(self) -> CacheUse:
        """What is kept."""
        with self._lock:
            return CacheUse("volumes", "RAM", self._held, self.budget, len(self._volumes))

    def close(self) -> None:
        """Remove the folder."""
        with self._lock:
            self._volumes.clear()
            self._held = 0
        self._arrivals.clear()
        self._folder.remove()

    def _open(self, arrival: Arrival) -> Volume:
        """The volume in a file that has arrived whole."""
        offer = arrival.offer
        if arrival.path.stat().st_size != offer.checked_size():
            raise InputError("The volume did not arrive whole; send it again.")
        array = self.mapped.open(arrival.path, offer.dtype, offer.shape)
        volume = Volume(array, offer.grid, offer.modality)
        if volume.content_hash != offer.content_hash:
            raise InputError("The volume that arrived is not the one that was offered; send it again.")
        return volume

    def _let_go(self, content_hash: str) -> None:
        """Keep a volume no more, if it is kept; jobs that have it may use it still."""
        volume = self._volumes.pop(content_hash, None)
        if volume is not None:
            self._held -= volume.array.nbytes
            self._unwanted.append(self._files.pop(content_hash))
