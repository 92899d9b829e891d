"""The folder that a service keeps volumes in: for its user only, made again when it is gone, removed after a crash."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from MedSAM3SegmentLib.engine.process_id import ProcessId
from MedSAM3SegmentLib.engine.protocol.messages import FOLDER_PREFIX
from MedSAM3SegmentLib.errors import InputError


class VolumeFolder:
    """A folder of this process. Folders of services of this user that were killed are removed first.

    Args:
        parent: where to make it; the system's temporary folder by default.

    Attributes:
        path: where it is; another one after the system took the first away with all that it lay in.

    Raises:
        InputError: it cannot be made.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = parent
        _remove_left_over(self._place())
        self.path = self._new()

    def make_again(self) -> Path:
        """The folder, made where it is not there any more: the system tidies up temporary files.

        Raises:
            InputError: it cannot be made, or its name, which could be seen, was taken by somebody else.
        """
        try:
            with suppress(FileExistsError):
                self.path.mkdir(mode=0o700, parents=True)
            status = self.path.lstat()
        except OSError:
            if self._parent is None:
                tempfile.tempdir = None  # Python looks for a folder that is there
            self.path = self._new()
            status = self.path.lstat()
        if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
            raise InputError("The folder {folder} is somebody else's; start the engine again.", folder=self.path)
        return self.path

    def remove(self) -> None:
        """Take the folder away with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _place(self) -> Path:
        return Path(self._parent or tempfile.gettempdir())

    def _new(self) -> Path:
        """A folder whose name tells which process made it, so that a later one knows whether that has ended."""
        process, place = ProcessId.of(os.getpid()), self._place()
        try:
            return Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{process.pid}-{process.started}-", dir=place))
        except OSError as error:
            raise disk_error(error, place) from None


def remove_file(path: Path) -> bool:
    """Take a file's name away; what is mapped stays until it is let go. False where Windows refuses it till then."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def disk_error(error: OSError, folder: Path) -> InputError:
    """What is said where volumes cannot be kept."""
    why = str(error.strerror)
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return InputError(
            "The engine could not keep volumes in {folder} ({why}); free some space there.", folder=folder, why=why
        )
    return InputError(
        "The engine could not keep volumes in {folder} ({why}); see that it can be written to, or start the engine "
        "with another folder in TMPDIR.",
        folder=folder,
        why=why,
    )


def _remove_left_over(parent: Path) -> None:
    """Remove the folders of this user's services that were killed: they may hold a patient's voxels."""
    for folder in parent.glob(f"{FOLDER_PREFIX}*"):
        # An older version's names tell no start, by which a process is told from a later one of the same number.
        pid, *started = folder.name.removeprefix(FOLDER_PREFIX).split("-")[:-1] or [""]
        with suppress(OSError):
            mine = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
            if mine and _is_number(pid) and not ProcessId(int(pid), "-".join(started)).is_alive:
                shutil.rmtree(folder, ignore_errors=True)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20
