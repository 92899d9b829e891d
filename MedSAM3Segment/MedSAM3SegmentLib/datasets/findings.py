"""What is found out about a data set while it is read: what to know, and what forbids to learn from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from MedSAM3SegmentLib.errors import InputError

#: Given what the user should know, one sentence at a time.
Say = Callable[[str], None]

#: Names that a sentence lists.
_MOST_LISTED = 3


@dataclass
class Findings:
    """Notes and faults of a data set.

    Attributes:
        notes: sentences, each with the names of what it is true of.
        faults: sentences, or None where the first fault ends the reading.
    """

    notes: dict[str, list[str]] = field(default_factory=dict)
    faults: list[str] | None = None

    def note(self, sentence: str, name: str = "") -> None:
        """Keep what the user should know; what several have in common is said once."""
        self.notes.setdefault(sentence, []).append(name)

    def refuse(self, sentence: str) -> None:
        """Keep a fault, and go on to look for others.

        Raises:
            InputError: faults are not collected.
        """
        if self.faults is None:
            raise InputError(sentence)
        if sentence not in self.faults:
            self.faults.append(sentence)

    def sentences(self) -> list[str]:
        """The notes, each behind the names that it is true of."""
        said = []
        for sentence, names in self.notes.items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            said.append(f"{names[0]}{more}: {sentence}" if names[0] else sentence)
        return said


def listed(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more
