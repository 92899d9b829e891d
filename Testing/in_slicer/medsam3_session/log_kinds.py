"""The lines of Slicer's error log by kind, and which of them are Slicer's own."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable

from .lines import read_line

#: What Slicer logs of itself, with or without the extension.
_SLICERS_OWN = (
    re.compile(r"^Switch to module: "),
    # Of windows where no window manager runs.
    re.compile(r"^QXcbConnection: XCB error: \d+ \(BadMatch\).*SetInputFocus"),
    # Of views that Slicer was built without.
    re.compile(r"vtkMRMLThreeDSliceEdgeDisplayableManager"),
    # What it says when it does what it was asked for.
    re.compile(r"Reader has successfully read the file|^Clear and import into main MRML scene|^saved "),
    re.compile(r"^Reloading module: |^-+$"),
)

#: Packages that talk for the extension.
_TALKERS = ("urllib3", "requests", "MedSAM3")


def is_slicers_own(line: str) -> bool:
    """Whether Slicer would have logged it without the extension; what a script says is not counted either."""
    return not line.strip() or read_line(line) is not None or any(own.search(line) for own in _SLICERS_OWN)


def kind_of(line: str) -> str:
    """The line without what is different each time: numbers, addresses, names in quotes."""
    kind = re.sub(r"0x[0-9a-fA-F]+|\b[0-9a-f]{16,}\b|\d+(\.\d+)?", "#", line.strip())
    return re.sub(r"'[^']*'|\"[^\"]*\"", "'...'", kind)[:160]


def kinds(lines: Iterable[str]) -> Counter[str]:
    """How many lines of each kind the extension is the cause of."""
    return Counter(kind_of(line) for line in lines if not is_slicers_own(line))


def with_names(lines: Iterable[str], names: Iterable[str]) -> list[str]:
    """The lines that have a phrase, or the name of a segment or node, as a word in it."""
    words = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names), re.IGNORECASE)
    return [line for line in lines if not is_slicers_own(line) and words.search(line)]


class Records(logging.Handler):
    """What Python's loggers are told, by the extension and by packages that it uses.

    Attributes:
        heard: ``<logger> <level>: <message>`` of each.
    """

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.split(".")[0] in _TALKERS or "MedSAM3" in record.pathname:
            self.heard.append(f"{record.name} {record.levelname}: {record.getMessage()}")
