"""Bringing widgets into sight where Slicer's window is low."""

from __future__ import annotations

from typing import Any

import qt

#: Layouts find their sizes in several rounds of the event loop.
_MILLISECONDS = 50


def scroll_into_view(first: Any, last: Any, below: int = 0) -> None:
    """Scroll what two widgets are in just so far that all from ``first`` to ``last`` is seen, once they have places.

    Where there is no room for all, ``first`` is seen.

    Args:
        below: pixels below ``last`` that are wanted as well.
    """
    # Goes with the widget, so that nothing is kept for a panel that is closed meanwhile.
    timer = qt.QTimer(first)
    # Not the property of that name, which PythonQt takes for the static slot.
    timer.setSingleShot(True)
    timer.connect("timeout()", lambda: _scroll(timer, first, last, below))
    timer.start(_MILLISECONDS)


def _scroll(timer: Any, first: Any, last: Any, below: int) -> None:
    timer.deleteLater()
    # They may be in a section that is folded away.
    area = _scroll_area(first) if first.visible and last.visible else None
    if area is None:
        return
    # Not ensureWidgetVisible, which shows no more of a table than its chosen row.
    area.ensureVisible(0, _top(last, area) + last.height + below, 0, 0)
    area.ensureVisible(0, _top(first, area), 0, 0)


def _top(widget: Any, area: Any) -> int:
    return int(widget.mapTo(area.widget(), qt.QPoint(0, 0)).y())


def _scroll_area(widget: Any) -> Any | None:
    """The scroll area that a widget is in, or None."""
    parent = widget.parentWidget()
    while parent is not None and not hasattr(parent, "ensureVisible"):
        parent = parent.parentWidget()
    return parent
