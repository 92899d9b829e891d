"""The volumes on their way to a service: what has come of each, and which give way to others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from MedSAM3SegmentLib.engine.protocol.messages import VolumeUpload
from MedSAM3SegmentLib.errors import InputError

#: Seconds without a new byte after which a volume on its way is forgotten; its client has crashed.
_TIMEOUT_S = 60.0

#: Seconds without a new byte after which it gives way to one that needs its room.
_GIVES_WAY_S = 5.0

#: Most volumes that are on their way at once.
MOST_ARRIVALS = 256


@dataclass(eq=False)
class Arrival:
    """A volume on its way.

    Attributes:
        path: of the file that its voxels belong in.
        last_seen: when it was heard of last, in the seconds of ``time.monotonic``.
        size: bytes that were there then.
        is_checked: whether it has arrived and is being read.
    """

    offer: VolumeUpload
    path: Path
    last_seen: float = field(default_factory=time.monotonic)
    size: int = 0
    is_checked: bool = False

    def look(self) -> int:
        """Bytes that are there; a local client writes them without a word to the service."""
        with suppress(OSError):
            size = self.path.stat().st_size
            if size != self.size:
                self.size, self.last_seen = size, time.monotonic()
        return self.size

    def silent_s(self) -> float:
        """Seconds since it was heard of."""
        return 0.0 if self.is_checked else time.monotonic() - self.last_seen


class Arrivals:
    """Volumes on their way by their tickets.

    An offer takes no room before its bytes come, so that one without bytes keeps nobody out. Methods may be called from
    any thread.

    Args:
        budget: most bytes of all that are on their way.
        remove: takes a file away that is not wanted any more.
    """

    def __init__(self, budget: int, remove: Callable[[Path], object]) -> None:
        self._budget = budget
        self._remove = remove
        self._arrivals: dict[str, Arrival] = {}
        self._lock = threading.Lock()

    def add(self, ticket: str, arrival: Arrival) -> None:
        """Wait for a volume; where too many are on their way, the one that was heard of least recently goes."""
        with self._lock:
            self._arrivals[ticket] = arrival
            too_many = len(self._arrivals) > MOST_ARRIVALS
        if too_many:
            self.drop(self._least_wanted(ticket))

    def get(self, ticket: str) -> Arrival:
        """A volume on its way, which was heard of now.

        Raises:
            InputError: it is not expected.
        """
        with self._lock:
            arrival = self._arrivals.get(ticket)
        if arrival is None:
            raise not_expected()
        arrival.last_seen = time.monotonic()
        return arrival

    def make_room(self, size: int, ticket: str = "") -> None:
        """Let what is silent give way where ``size`` more bytes would be too many.

        Args:
            ticket: whose bytes they are; it stays.

        Raises:
            InputError: all that is on its way is being sent right now.
        """
        while self._bytes_there() + size > self._budget:
            oldest = self._least_wanted(ticket)
            with self._lock:
                arrival = self._arrivals.get(oldest)
            if arrival is None or arrival.silent_s() < _GIVES_WAY_S:
                raise InputError("Too many volumes are being sent to the engine at once; try again in a moment.")
            self.drop(oldest)

    def forget_late_ones(self) -> None:
        """Let go of volumes whose clients have crashed."""
        self._bytes_there()
        with self._lock:
            late = [ticket for ticket, arrival in self._arrivals.items() if arrival.silent_s() > _TIMEOUT_S]
        for ticket in late:
            self.drop(ticket)

    def drop(self, ticket: str) -> None:
        """Forget a volume on its way."""
        with self._lock:
            arrival = self._arrivals.pop(ticket, None)
        if arrival is not None:
            self._remove(arrival.path)

    def clear(self) -> None:
        """Forget all, and leave their files to others."""
        with self._lock:
            self._arrivals.clear()

    def _bytes_there(self) -> int:
        with self._lock:
            arrivals = list(self._arrivals.values())
        return sum(arrival.look() for arrival in arrivals)

    def _least_wanted(self, kept: str) -> str:
        """Of all but one: first those of which nothing has come, and of these what was silent longest."""
        self._bytes_there()
        with self._lock:
            others = [(known, arrival) for known, arrival in self._arrivals.items() if known != kept]
        return max(others, key=lambda pair: (pair[1].size == 0, pair[1].silent_s()), default=("", None))[0]


def not_expected() -> InputError:
    """What is said to whoever sends a volume that was not offered, or has been given up."""
    return InputError("The engine does not expect this volume; send it again.")
