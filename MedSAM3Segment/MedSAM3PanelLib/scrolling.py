"""Bringing widgets into sight where Slicer's window is low."""

from __future__ import annotations

from typing import Any

import qt

#: Layouts find their sizes in several rounds of the event loop.
_MILLISECONDS = 50


def bring_into_sight(*widgets: Any, margin: int = 0) -> None:
    """Scroll what ``widgets`` are in just so far that they are seen, once they have their places.

    Args:
        widgets: where there is no room for all, the last one is seen.
        margin: pixels above and below that are wanted as well.
    """
    qt.QTimer.singleShot(_MILLISECONDS, lambda: _scroll(widgets, margin))


def _scroll(widgets: tuple[Any, ...], margin: int) -> None:
    for widget in widgets:
        # Who asked may be gone by now.
        area = _scroll_area(widget) if widget and widget.visible else None
        if area is not None:
            area.ensureWidgetVisible(widget, 0, margin)


def _scroll_area(widget: Any) -> Any | None:
    """The scroll area that a widget is in, or None."""
    parent = widget.parentWidget()
    while parent is not None and not hasattr(parent, "ensureWidgetVisible"):
        parent = parent.parentWidget()
    return parent
