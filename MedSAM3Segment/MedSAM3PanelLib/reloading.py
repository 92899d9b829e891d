"""Slicer's button Reload, for developers: the packages are loaded again together with the module's own file."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from MedSAM3SceneLib.engine import connection

#: All that is loaded again. The effect is made of the same parts as the panel, which must fit together.
_LOADED_AGAIN = (
    "MedSAM3Segment",
    "MedSAM3PanelLib",
    "MedSAM3WidgetsLib",
    "MedSAM3SceneLib",
    "MedSAM3SegmentLib",
    "SegmentEditorMedSAM3Lib",
    # What stands on these, so that all write into the scene through the same one.
    "MedSAM3AgentLib",
    "MedSAM3AgentSceneLib",
    "MedSAM3AgentWidgetsLib",
)


@contextmanager
def packages_loaded_again() -> Iterator[None]:
    """Let what is imported from now on come from the files as they are now; after an error all is as it was before.

    The engine on this computer is ended afterwards, for it runs what was in the files; the next run starts it again.
    """
    before = _forget()
    importlib.invalidate_caches()
    try:
        yield
    except BaseException:
        _forget()
        sys.modules.update(before)
        raise
    # Of the module that was forgotten, which knows the process.
    connection.stop()


def _forget() -> dict[str, object]:
    """Take the packages out of Python's list of what is loaded; they are returned, and whoever uses them goes on."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in _LOADED_AGAIN}
