"""A script from Slicer's start to its exit code."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import qt
import slicer

from .lines import Checks, Line
from .session import Session
from .steps import Player, Steps

#: Milliseconds after which Slicer has offered samples and effect, once its window is there.
_START = 1500


def arguments(**choices: tuple[str, ...]) -> argparse.Namespace:
    """What was given behind the script's name: ``lines``, ``model``, and one of ``choices`` each."""
    parser = argparse.ArgumentParser(prog=sys.argv[0] or "script")
    parser.add_argument("--lines", type=Path, help="a file that the lines are written to as well")
    parser.add_argument("--model", choices=("demo", "fake"), help="the demo model where it can run, if left out")
    for name, values in choices.items():
        parser.add_argument(f"--{name}", choices=values, required=True)
    return parser.parse_args(sys.argv[1:])


def play(
    *parts: Callable[[Session], Steps],
    given: argparse.Namespace | None = None,
    leave: Callable[[int], None] = slicer.util.exit,
) -> None:
    """Play the parts of a script one after the other, and end Slicer: exit code 0, or 1 where a check failed.

    Args:
        given: the arguments; by default those that every script takes.
        leave: called with the exit code.
    """
    given = given or arguments()
    lines_file = given.lines

    def say(line: Line) -> None:
        print(line, flush=True)
        if lines_file is not None:
            with lines_file.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    checks = Checks(say)

    def script() -> Steps:
        session = Session(checks, given.model)
        try:
            for part in parts:
                yield from part(session)
        finally:
            session.close()

    def ended(error: Exception | None) -> None:
        if error is not None:
            traceback.print_exception(error, file=sys.stderr)
            checks.check("the script comes to its end", False, f"{type(error).__name__}: {error}")
        qt.QTimer.singleShot(0, lambda: leave(1 if checks.failed else 0))

    qt.QTimer.singleShot(_START, lambda: Player(script(), ended))
