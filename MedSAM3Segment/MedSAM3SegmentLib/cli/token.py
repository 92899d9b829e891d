"""The token that a shell user gives for an engine: by a file or by an environment variable, never on a command line."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from MedSAM3SegmentLib.errors import InputError

#: Shortest token that is taken: 128 bits in hexadecimal digits.
_SHORTEST = 32


def given_token(file: Path | None) -> str | None:
    """The token in ``file``, else that of the environment variable, which is taken out; None without either.

    Raises:
        InputError: it cannot be read, others can read it, or it is too short.
    """
    from MedSAM3SegmentLib.engine.process.engine_process import TOKEN_VARIABLE

    # Taken out, so that no process started from here inherits it.
    token = os.environ.pop(TOKEN_VARIABLE, "")
    if file is not None:
        try:
            if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
                raise InputError(f"Others can read {file}; run 'chmod 600 {file}'.")
            token = file.read_text("ascii").strip()
        except (OSError, ValueError):
            raise InputError(
                f"The token file {file} cannot be read; write one line of letters and digits to it."
            ) from None
    elif not token:
        return None
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(f"The token must have at least {_SHORTEST} letters, digits, '-' and '_'; make a longer one.")
    return token
