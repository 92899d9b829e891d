"""A table that a benchmark prints as Markdown, between marks by which ``write_tables.py`` finds its place."""

from __future__ import annotations

import platform

import torch

from MedSAM3SegmentLib.models.devices import name_of
from MedSAM3SegmentLib.models.threads import count_usable_cores

#: What stands before and after a table, in a benchmark's output and in the document.
BEGIN, END = "<!-- measured: {name} -->", "<!-- end of {name} -->"


class MarkdownTable:
    """Rows of text under headings; the first column is read, all others are numbers.

    Args:
        name: of the place in the document; a benchmark with one table gives its own.
        about: what holds for all of it, in a few words that end a sentence.
    """

    def __init__(self, name: str, headings: tuple[str, ...], about: str = "") -> None:
        self.name, self.headings, self.about = name, headings, about
        self._rows: list[tuple[str, ...]] = []

    def add_row(self, *cells: str) -> None:
        """Add a row.

        Raises:
            ValueError: it has not as many cells as there are headings.
        """
        if len(cells) != len(self.headings):
            raise ValueError(f"{len(cells)} cells do not fit {len(self.headings)} headings")
        self._rows.append(cells)

    def __str__(self) -> str:
        rows = [self.headings, ("---", *("---:" for _ in self.headings[1:])), *self._rows]
        lines = [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows]
        where = f"PyTorch {torch.__version__.partition('+')[0]}, {count_usable_cores()} cores of {_processor()}"
        said = f"{self.about}; {where}" if self.about else where
        return "\n".join([BEGIN.format(name=self.name), f"{said}:", "", *lines, END.format(name=self.name)])

    def print(self) -> None:
        """Print it between its marks."""
        print(f"\n{self}", flush=True)


def place_of(name: str, dtype: torch.dtype) -> str:
    """Where a benchmark's table in a number format stands: that in float32 at the benchmark's own name."""
    return name if dtype is torch.float32 else f"{name}_{name_of(dtype)}"


def _processor() -> str:
    """The processor's kind, and what PyTorch uses of it."""
    return f"{platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"
