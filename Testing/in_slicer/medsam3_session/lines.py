"""What a script says: one line for each check, for people to read and for ``run.py`` to count."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_LINE = re.compile(r"(ok|FAILED|note) +\| (.*?) \| (.*)")


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        verdict: ``ok``, ``FAILED``, or ``note`` for what is only told.
        name: what was checked.
        value: what was found.
    """

    verdict: str
    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.verdict:<6} | {self.name} | {self.value}"


def read_line(text: str) -> Line | None:
    """The line of a check in ``text``, or None where it is something else that Slicer printed."""
    match = _LINE.fullmatch(text.rstrip("\r\n"))
    return Line(*match.groups()) if match else None


class Checks:
    """The checks of one script.

    Args:
        say: called with each line.

    Attributes:
        lines: all that was said.
    """

    def __init__(self, say: Callable[[Line], None] = print) -> None:
        self._say = say
        self.lines: list[Line] = []

    @property
    def failed(self) -> list[Line]:
        return [line for line in self.lines if line.verdict == "FAILED"]

    def note(self, name: str, value: Any) -> None:
        """Tell a figure that nothing is asked of."""
        self._add("note", name, value)

    def check(self, name: str, is_so: Any, value: Any) -> None:
        """Tell whether it is so, with what was found."""
        self._add("ok" if is_so else "FAILED", name, value)

    def equal(self, name: str, value: Any, wanted: Any) -> None:
        """``value`` must be ``wanted``."""
        self.check(name, value == wanted, value if value == wanted else f"{value}, not {wanted}")

    def at_most(self, name: str, value: float, limit: float, unit: str, more: str = "") -> None:
        """``value`` must not be more than ``limit``."""
        self.check(name, value <= limit, f"{value:.0f} {unit}, at most {limit:.0f}{more}")

    def _add(self, verdict: str, name: str, value: Any) -> None:
        # A sentence of several lines would not be found again.
        line = Line(verdict, " ".join(name.split()), " ".join(str(value).split()))
        self.lines.append(line)
        self._say(line)
