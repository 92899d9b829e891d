"""Completing a command that is being typed: from what is understood, and from the names of segments."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .grammar import EXAMPLES, split_clauses

#: How many completions are offered.
_OFFERED = 10

#: What is understood of another segment, and of one that is named; ``{name}`` is its name.
_OF_SEGMENTS = (
    "only inside {name}", "without {name}", "remove what lies in the {name}", "add {name}", "nothing above the {name}",
    "nothing below the {name}", "grow the {name} 3 mm", "shrink the {name} 2 mm", "smooth the {name} 3 mm",
)  # fmt: skip

#: The names of segments in ``EXAMPLES``, which a scene need not have.
_EXAMPLE_NAMES = re.compile(r"\b(?:liver|spleen)\b")

_SEPARATORS = re.compile(r"[;\n]|,\s|\bthen\s")


def complete_command(text: str, names: Sequence[str], most: int = _OFFERED) -> tuple[str, ...]:
    """What a text may become whose last clause is being typed; the whole text each time, clauses before it as typed.

    Args:
        text: up to the cursor.
        names: of the segments that there are.
    """
    cut = max((found.end() for found in _SEPARATORS.finditer(text)), default=0)
    started = text[cut:].lstrip()
    before = text[: len(text) - len(started)]
    if not started.strip():
        return ()
    typed = started.casefold()
    plain = [example for example in EXAMPLES if not _EXAMPLE_NAMES.search(example)]
    known = [*plain, *(clause.replace("{name}", name) for name in names for clause in _OF_SEGMENTS)]
    begun = [clause for clause in known if clause.casefold().startswith(typed)]
    named = [*_with_names(started, names)]
    words = typed.split()
    holding = [clause for clause in known if all(word in clause.casefold() for word in words)]
    offered = [one for one in dict.fromkeys([*named, *begun, *holding]) if one.casefold() != typed]
    # Not what would be read as more than one clause: a name may hold a semicolon.
    return tuple(before + one for one in offered if len(split_clauses(one)) == 1)[:most]


def _with_names(started: str, names: Sequence[str]) -> list[str]:
    """``started`` with the name at its end completed, if one begins there."""
    completed = []
    for name in names:
        for place in [found.end() for found in re.finditer(r"\s", started)]:
            begun = started[place:]
            if len(begun) >= 2 and len(begun) < len(name) and name.casefold().startswith(begun.casefold()):
                completed.append(started[:place] + name)
                break
    return completed
