"""One start of an engine at a time for all processes of a user, who would else get several, each with its own model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def one_at_a_time(file: Path, give_up: Callable[[], bool]) -> Iterator[None]:
    """Hold a lock until the end of the block; the system takes it back from a process that dies.

    Args:
        file: what is locked; it is made and left behind, empty. Where that cannot be, and on a disk that knows no
            locks, the block begins without it.
        give_up: asked while another process holds the lock; True lets the block begin without it.
    """
    # The panel imports this module before it has installed any package.
    from filelock import FileLock

    # A lock that keeps its file never falls back to a mere marker, which would outlive a process that dies.
    lock = FileLock(file, mode=0o600, preserve_lock_file=True)
    # A disk that refuses is an OSError, and so is filelock's Timeout, which giving up ends in.
    with suppress(OSError):
        lock.acquire(cancel_check=give_up)
    try:
        yield
    finally:
        lock.release()
