"""What kept pip from installing packages, in one sentence for the user, by what pip printed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from slicer.i18n import tr as _

#: Numbers and names that systems and pip use in all languages, and their English words.
_NO_SPACE = re.compile(r"Errno 28\b|No space left|WinError 112\b|Disk quota exceeded")
_NOT_ALLOWED = re.compile(r"Errno (13|30)\b|WinError (5|32)\b|Permission denied|Access is denied|Read-only file system")
_NOT_REACHED = re.compile(
    r"after connection broken by|connection-failed|connection-timeout|ssl-verification-failed|proxy-connection-failed"
    r"|Failed to establish a (new|secure) connection|Max retries exceeded|Cannot connect to proxy|ProxyError"
    r"|CERTIFICATE_VERIFY_FAILED|Name or service not known|getaddrinfo failed|Network is unreachable"
    r"|Temporary failure in name resolution|Read timed out|URLError"
)
_NO_FIT = re.compile(r"ResolutionImpossible|conflicting dependencies")
_NO_VERSION = re.compile(r"No matching distribution found for ([^\s(]+)")

#: Lines that say what went wrong.
_COMPLAINT = re.compile("\\s*(error|\N{MULTIPLICATION SIGN}|╰)", re.IGNORECASE)


def is_not_reached(lines: Sequence[str]) -> bool:
    """Whether pip could not reach the package index."""
    return any(_NOT_REACHED.search(line) for line in lines)


def reason_of(lines: Sequence[str]) -> str:
    """Why pip ended without success, and what to do, in one sentence.

    Args:
        lines: what pip printed.
    """
    printed = "\n".join(lines)
    if _NO_SPACE.search(printed):
        return str(
            _("Nothing more was installed, because no space is left on the disk; free some, and press Install again.")
        )
    if _NOT_ALLOWED.search(printed):
        return str(
            _(
                "Nothing more was installed, because Slicer's folder may not be written to or a file in it is in use;"
                " restart Slicer and press Install again, or let somebody do it who may change that folder."
            )
        )
    # Before what pip says at the end, for it takes an index that cannot be reached for an empty one.
    if is_not_reached(lines):
        return str(
            _(
                "Nothing more was installed, because the Python package index cannot be reached; connect this computer"
                " to the internet, or set a proxy or a mirror in pip's configuration, and press Install again."
            )
        )
    if _NO_FIT.search(printed):
        return str(
            _(
                "Nothing more was installed, because versions that other extensions need do not fit; the Python console"
                " names them, so uninstall those, and press Install again."
            )
        )
    missing = _NO_VERSION.search(printed)
    if missing is not None:
        return str(
            _(
                "Nothing more was installed, because the package index has no {package} for this Slicer; update Slicer,"
                " or the mirror that pip is set to, and press Install again."
            ).format(package=missing[1])
        )
    return str(
        _("Nothing more was installed, because pip failed; the Python console says why, so mend that, and try again.")
    )


def complaints_of(lines: Sequence[str]) -> str:
    """The lines of pip that say what went wrong, for those who want to know."""
    return "\n".join(line for line in lines if _COMPLAINT.match(line))
