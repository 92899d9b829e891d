"""The effects that there are in Slicer, to give them the effect's class anew when a developer loads it again."""

from __future__ import annotations

import weakref
from typing import Any

#: The Python object of the effect that is registered, and of one for each Segment Editor.
_effects: weakref.WeakSet[Any] = weakref.WeakSet()


def remember_effect(host: Any) -> None:
    """Know of the effect of ``host`` for as long as Slicer has it."""
    _effects.add(host.self())


def living_hosts() -> list[Any]:
    """The hosts of all effects that there are."""
    return [effect.scriptedEffect for effect in _effects if effect.scriptedEffect]


def renew_effect(host: Any) -> None:
    """Give ``host`` an object of the effect's class as it is loaded now, in place of an earlier one."""
    earlier = host.self()
    has_options = earlier.options is not None
    earlier.cleanup()
    layout = host.optionsLayout()
    while layout.rowCount() > 0:
        layout.removeRow(0)
    host.setPythonSource(host.pythonSource())
    remember_effect(host)
    if has_options:
        host.self().setupOptionsFrame()
    if host.active():
        host.self().activate()
