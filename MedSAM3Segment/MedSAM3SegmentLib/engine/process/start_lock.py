"""One start of an engine at a time for all processes of a user, who would else get several, each with its own model."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: Seconds between two tries.
_LOOK = 0.05


@contextmanager
def one_at_a_time(file: Path, give_up: Callable[[], bool]) -> Iterator[None]:
    """Hold a lock until the end of the block; the system takes it back from a process that dies.

    Args:
        file: what is locked; it is made and left behind, empty. Where that cannot be, the block begins without it.
        give_up: asked while another process holds the lock; True lets the block begin without it.
    """
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        yield
        return
    try:
        while not _lock(descriptor) and not give_up():
            time.sleep(_LOOK)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Try once; returns whether nobody else holds the lock. On a disk that knows no locks nobody does."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True
