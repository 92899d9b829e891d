"""``medsam3``: the engine from a shell.

Results go to standard output, all else to standard error. The exit codes are in ``exit_codes``.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NoReturn

from MedSAM3SegmentLib import __version__
from MedSAM3SegmentLib.errors import (
    Cancelled,
    EngineError,
    InputError,
    ModelError,
    PackageError,
)
from MedSAM3SegmentLib.exit_codes import BAD_INPUT, BAD_MODEL, BAD_PACKAGE, DEFECT, DONE, INTERRUPTED, NO_ENGINE
from MedSAM3SegmentLib.models.threads import ask_for_threads, wait_passively
from MedSAM3SegmentLib.reporting.packages import find_broken_package

from .signals import Interruption
from .terminal import Terminal, flush_results

#: The shell's own commands, modules of ``cli.commands``, as help lists them.
_COMMANDS = ("segment", "cohort", "demo", "models", "train", "learn", "adapters", "evaluate", "serve", "info")

#: The library that brings more commands, in Slicer beside this one.
_AGENT = "MedSAM3AgentLib"


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, of the command that they belong to."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse's, but a command refuses what it does not know by itself, instead of handing it upwards."""
        namespace, unknown = super().parse_known_args(args, namespace)
        options = [word for word in unknown if word.startswith("-")]
        if options:
            near = get_close_matches(options[0].partition("=")[0], self._option_string_actions, n=1)
            self.error(f"there is no option {options[0]}" + (f" (did you mean {near[0]}?)" if near else ""))
        if unknown:
            self.error(f"'{unknown[0]}' is one word too many (words with spaces need quotes)")
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message[:1].upper()}{message[1:]}; see '{self.prog} --help'.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``medsam3``; those of the process by default.

    Returns:
        The exit code.
    """
    interruption = Interruption()
    terminal = Terminal()
    with interruption.handled():
        try:
            words = _with_joined_values(sys.argv[1:] if argv is None else argv)
            options = _parser(words[:1]).parse_args(words)
            terminal = Terminal(options.quiet, options.verbose)
            wait_passively()
            if getattr(options, "threads", None):
                ask_for_threads(options.threads)
            with warnings.catch_warnings():
                _silence_libraries(options.verbose)
                options.run(options, terminal, interruption)
        except SystemExit as exit_:  # argparse after --help and --version
            return int(exit_.code or DONE)
        except (Exception, KeyboardInterrupt) as error:
            terminal.detail(traceback.format_exc())
            return _explain(error, interruption, terminal)
        finally:
            flush_results()
    return DONE


def _explain(error: BaseException, interruption: Interruption, terminal: Terminal) -> int:
    """Say what happened in one line; the exit code for it."""
    if isinstance(error, Cancelled):
        terminal.error(str(error))
        return INTERRUPTED
    # What was interrupted may have turned Ctrl-C into an error of its own.
    if isinstance(error, KeyboardInterrupt) or interruption.happened:
        terminal.error("Interrupted.")
        return INTERRUPTED
    if isinstance(error, InputError):
        terminal.error(str(error))
        return BAD_INPUT
    if isinstance(error, ModelError):
        terminal.error(str(error))
        return BAD_MODEL
    if isinstance(error, EngineError):
        terminal.error(str(error))
        return NO_ENGINE
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, for GPUs
        terminal.error("There was not enough memory; take fewer --slices, a smaller model or another --device.")
        return DEFECT
    broken = error if isinstance(error, PackageError) else find_broken_package()
    if broken is not None:
        terminal.error(str(broken))
        return BAD_PACKAGE
    hint = "" if terminal.verbose else " Repeat with --verbose to see where."
    terminal.error(f"Something went wrong that should not ({type(error).__name__}: {error}).{hint}")
    return DEFECT


def _parser(first_word: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The whole parser; where the first word names a command that of this one alone, since importing all takes long."""
    parser = _Parser(
        prog="medsam3",
        description="Segment CT and MR volumes by naming what to segment, with MedSAM-3.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"medsam3 {__version__}")
    talk = _Parser(add_help=False, allow_abbrev=False)
    talk.add_argument("--verbose", action="store_true", help="show details, and where an error came from")
    talk.add_argument("--quiet", action="store_true", help="print errors only")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    named = [name for name in _COMMANDS if name in first_word]
    commands = [import_module(f"MedSAM3SegmentLib.cli.commands.{name}") for name in named or _COMMANDS]
    for command in (*commands, *(() if named else _agent_commands())):
        command.add_parser(subparsers, parents=[talk], allow_abbrev=False)
    return parser


def _agent_commands() -> Sequence[Any]:
    """The agent's commands where it is installed; the engine knows it by name only and runs without it."""
    if find_spec(_AGENT) is None:
        return ()
    commands: Sequence[Any] = import_module(f"{_AGENT}.cli.commands").COMMANDS
    return commands


def _with_joined_values(argv: Sequence[str]) -> list[str]:
    """``--window -160,240`` as ``--window=-160,240``: argparse takes every word with a leading dash for an option.

    No option of ours begins with a digit, so that such a word can only be the value of the one before it.
    """
    words = list(argv)
    for place in range(len(words) - 2, -1, -1):
        option, value = words[place : place + 2]
        if re.fullmatch(r"--[a-z-]+", option) and re.match(r"-\.?\d", value):
            words[place : place + 2] = [f"{option}={value}"]
    return words


def _silence_libraries(verbose: bool) -> None:
    """Keep the chatter of libraries out of the log unless it is wanted."""
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
        return
    warnings.simplefilter("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
