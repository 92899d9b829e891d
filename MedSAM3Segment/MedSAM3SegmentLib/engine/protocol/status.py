"""What an engine holds and does at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from MedSAM3SegmentLib.errors import EngineError
from MedSAM3SegmentLib.units import format_bytes


@dataclass(frozen=True)
class CacheUse:
    """One of the engine's caches.

    Attributes:
        name: ``features``, ``volumes`` or ``models``.
        place: ``GPU`` or ``RAM``.
        bytes_held, budget: bytes; what was used least recently goes first once the budget is spent.
        items: slices of features, volumes or models.
    """

    name: str
    place: str
    bytes_held: int
    budget: int
    items: int


@dataclass(frozen=True)
class EngineStatus:
    """An engine at one moment.

    Attributes:
        version: of MedSAM3SegmentLib there.
        pid: of the engine's process, on its own machine.
        model: used last and still loaded, or None.
        device: that model's, such as ``cuda:0``, or None.
        has_tracker: whether that model can follow objects and be shown examples, or None.
        caches: what is kept between jobs.
        running, queued: jobs.
        finished: jobs since the engine was started, whatever their end.
    """

    version: str
    pid: int
    model: str | None
    device: str | None
    has_tracker: bool | None
    caches: tuple[CacheUse, ...]
    running: int
    queued: int
    finished: int

    def in_words(self) -> str:
        """One line for people."""
        tracker = "with its tracker" if self.has_tracker else "without a tracker"
        model = f"{self.model} {tracker} on {self.device}" if self.model else "no model loaded"
        caches = ", ".join(
            f"{cache.name} in {cache.place} {format_bytes(cache.bytes_held)} of {format_bytes(cache.budget)}"
            for cache in self.caches
            if cache.items or cache.place == "RAM"
        )
        jobs = f"{self.running} running, {self.queued} waiting, {self.finished} finished"
        return f"process {self.pid}: {model}; {caches}; jobs: {jobs}"


def status_of(plain: Any) -> EngineStatus:
    """The status in a service's JSON answer.

    Raises:
        EngineError: the answer is none.
    """
    try:
        caches = tuple(CacheUse(**cache) for cache in plain["caches"])
        return EngineStatus(**{**plain, "caches": caches})
    except (TypeError, KeyError):
        raise EngineError("The engine's status cannot be understood; use the same version at both ends.") from None
