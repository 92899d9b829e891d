"""Slicer's button Reload, for developers: the agent's packages are loaded again with the module's own file."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: All that is loaded again. What the agent stands on is loaded again by MedSAM3 Segment.
_LOADED_AGAIN = (
    "MedSAM3Agent",
    "MedSAM3AgentPanelLib",
    "MedSAM3AgentWidgetsLib",
    "MedSAM3AgentSceneLib",
    "MedSAM3AgentLib",
)


@contextmanager
def packages_loaded_again() -> Iterator[None]:
    """Let what is imported from now on come from the files as they are now; after an error all is as it was before."""
    before = _forget()
    importlib.invalidate_caches()
    try:
        yield
    except BaseException:
        _forget()
        sys.modules.update(before)
        raise


def _forget() -> dict[str, object]:
    """Take the packages out of Python's list of what is loaded; they are returned, and whoever uses them goes on."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in _LOADED_AGAIN}
