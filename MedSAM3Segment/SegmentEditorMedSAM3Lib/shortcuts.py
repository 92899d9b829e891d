"""The keys of the effect, which it hears in the slice view that was clicked last: Qt gives keys to no other widget.

They are keys of the view and not shortcuts of the window, so that they do nothing elsewhere. None is a key of Slicer's
Segment Editor (digits, Escape, Space, z, y, q, w, i, and ``/ * , . < >``), of slice views (f, b, g, t, v, r, arrows,
brackets), of markups (Delete, Backspace), or one that other prompt tools are known to take for the whole window
(p, b, s, l, t, e, r, v, Delete).
"""

from __future__ import annotations

from enum import StrEnum


class KeyCommand(StrEnum):
    """What a key does."""

    SWITCH_POLARITY = "switch between what is meant and what is not"
    REMOVE_MARK = "remove the mark under the pointer, or the last one on the slice"
    THIS_SLICE = "this slice"
    PROPAGATE = "propagate from edited slices"


_COMMANDS = {
    ("n", False): KeyCommand.SWITCH_POLARITY,
    ("x", False): KeyCommand.REMOVE_MARK,
    ("Return", False): KeyCommand.THIS_SLICE,
    ("Return", True): KeyCommand.PROPAGATE,
}


def command_of(key: str, shift: bool, control: bool, alt: bool) -> KeyCommand | None:
    """What a key press over a slice view asks for, or None.

    Args:
        key: VTK's name of the key.
    """
    if control or alt:
        return None
    name = "Return" if key in ("Return", "KP_Enter") else key
    return _COMMANDS.get((name, shift))
