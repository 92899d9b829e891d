"""From typed words to commands by rules: no model, and what is not understood is said with the nearest thing that is.

A clause is one command; ``;``, ``then`` and commas stand between clauses. Lengths are millimeters unless ``cm``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from MedSAM3SegmentLib.errors import InputError

from .commands import AddressedCommand, Command, Rename
from .patterns import PATTERNS

#: What is understood, as people may type it; the nearest is offered where something is not.
EXAMPLES = (
    "grow 3 mm", "shrink 2 mm", "keep the largest", "keep the 2 largest", "remove pieces below 100 voxels",
    "remove small pieces", "keep piece 2", "remove piece 3", "split into pieces", "smooth 3 mm", "gaussian 2 mm",
    "remove spikes", "close gaps", "fill holes", "make a shell 2 mm", "only inside liver", "without liver",
    "remove what lies in the liver", "add spleen", "invert", "clear", "keep the left part", "remove the lower half",
    "nothing above slice 40", "only slices 20 to 50", "remove slices 3 to 7", "nothing below the liver",
    "only above 150 HU", "only between -50 and 120 HU", "rename to lesion", "how big is it",
)  # fmt: skip

_FILLER = re.compile(
    r"^(?:please|now|and|then|also|next|finally|first|second|ok|okay|can you|could you|would you|kindly|just|simply"
    r"|let's|lets|i want (?:you )?to|i'd like to|go ahead and)[\s,]+"
)


def parse_commands(text: str) -> tuple[Command, ...]:
    """The commands that a text names, in its order.

    Raises:
        InputError: a clause is not understood, or a number in it cannot be used; nothing of the text counts then.
    """
    commands = [parse_clause(clause) for clause in split_clauses(text)]
    if not commands:
        raise InputError("No command was given; type one, such as 'keep the largest; shrink 2 mm'.")
    return tuple(commands)


def parse_addressed(text: str, names: Sequence[str]) -> tuple[AddressedCommand, ...]:
    """As ``parse_commands``, where a clause may name the segment that it changes, as in ``shrink the liver 3 mm``.

    Args:
        names: of the segments that there are.

    Raises:
        InputError: as ``parse_commands``.
    """
    addressed = []
    for clause in split_clauses(text):
        command = _match(clause)
        said_of_it = None if command is None else AddressedCommand(command)
        # A name alone may be what another segment is added to or taken from; in a new name it is the old one.
        if said_of_it is None or isinstance(said_of_it.command, Rename):
            named = _address(_plain(clause), names)
            said_of_it = named if named is not None and _keeps_name(named.command, command) else said_of_it
        addressed.append(said_of_it or AddressedCommand(parse_clause(clause)))
    if not addressed:
        raise InputError("No command was given; type one, such as 'keep the largest; shrink 2 mm'.")
    return tuple(addressed)


def _keeps_name(named: Command, command: Command | None) -> bool:
    """Whether a new name is still the whole one when the name of a segment before it is left out."""
    if not isinstance(named, Rename) or not isinstance(command, Rename):
        return True
    return command.name.endswith(f" {named.name}")


def _address(words: str, names: Sequence[str]) -> AddressedCommand | None:
    """The command that ``words`` give when a segment's name in them is read as *it*."""
    # Longest first: "left kidney" is not "kidney".
    for name in sorted(names, key=len, reverse=True):
        said, found = re.subn(rf"(?:\bthe )?(?<!\w){re.escape(name.lower())}(?!\w)", "it", words, count=1)
        command = _match(said) if found else None
        if command is not None:
            return AddressedCommand(command, name)
    return None


def split_clauses(text: str) -> list[str]:
    """The clauses of a text; ``and`` stands between two only where both are commands."""
    clauses: list[str] = []
    for part in re.split(
        r"\s*(?:;|\n|\.(?=\s|$)|,?\s*\b(?:and )?then\b|,?\s+after(?:wards| that)\b,?)\s*", text.strip()
    ):
        for piece in re.split(r"\s*,\s+(?:and\s+)?", part):
            halves = re.split(r"\s+and\s+", piece)
            if len(halves) > 1 and all(_match(half) is not None for half in halves):
                clauses += halves
            else:
                clauses.append(piece)
    return [clause for clause in clauses if _plain(clause)]


def parse_clause(clause: str) -> Command:
    """The command that one clause names.

    Raises:
        InputError: it is not understood, or a number in it cannot be used.
    """
    command = _match(clause)
    if command is None:
        near = get_close_matches(_plain(clause), EXAMPLES, n=1, cutoff=0.0)[0]
        raise InputError("'{clause}' is not understood; the nearest command is '{near}'.", clause=clause, near=near)
    return command


def _plain(clause: str) -> str:
    words = " ".join(clause.lower().replace("\u2212", "-").replace("\u2013", "-").split()).strip(" .!?,:'\"")
    while begun := _FILLER.match(words):
        words = words[begun.end() :]
    return re.sub(r"\s*,?\s*please$", "", words)


def _match(clause: str) -> Command | None:
    words = _plain(clause)
    for pattern, build in PATTERNS:
        found = pattern.fullmatch(words)
        if found is not None:
            command = build(found)
            if command is not None:
                return command
    return None
