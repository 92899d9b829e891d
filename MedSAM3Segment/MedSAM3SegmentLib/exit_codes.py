"""The shell's exit codes."""

from __future__ import annotations

#: Done, also when nothing was found.
DONE = 0

#: A defect of the program.
DEFECT = 1

#: Bad input or usage.
BAD_INPUT = 2

#: A model is missing or broken.
BAD_MODEL = 3

#: The engine is not reached.
NO_ENGINE = 4

#: A Python package is missing, of a version that does not fit, or cannot be loaded.
BAD_PACKAGE = 5

#: Interrupted by the user.
INTERRUPTED = 130
