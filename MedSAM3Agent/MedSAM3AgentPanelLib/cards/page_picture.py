"""The page that a round was judged by: as wide as its card, and at full size where it is clicked."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

#: Pixels of height that a card gives to a page at most.
_MOST_HEIGHT = 320

#: Pixels of the window that shows a page at full size, at most: it fits a screen of 1366 x 768.
_WINDOW = (1060, 700)


class PagePicture(qt.QObject):
    """Shows a page in a label, which takes no room where there is none.

    Args:
        label: a QLabel in a layout.
        title: of the window that shows it at full size.
    """

    def __init__(self, label: Any, title: str) -> None:
        qt.QObject.__init__(self, label)
        self._label, self._title = label, title
        self._picture: Any = None
        self._shown_width = 0
        label.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
        # Or the page that it shows would keep the panel from becoming narrower.
        label.minimumWidth = 1
        label.alignment = qt.Qt.AlignCenter
        label.focusPolicy = qt.Qt.TabFocus
        label.toolTip = _("The page that this round was judged by. Click to enlarge it.")
        label.accessibleName = label.toolTip
        label.setCursor(qt.QCursor(qt.Qt.PointingHandCursor))
        label.visible = False
        label.installEventFilter(self)

    def show(self, png: bytes) -> None:
        """Show PNG bytes."""
        picture = qt.QPixmap()
        self._picture = picture if png and picture.loadFromData(png) else None
        self._label.visible = self._picture is not None
        self._shown_width = 0
        self._fit()

    def enlarge(self) -> Any | None:
        """Open a window with the page at full size; the window is returned, None without a page."""
        if self._picture is None:
            return None
        dialog = qt.QDialog(self._label.window())
        dialog.setAttribute(qt.Qt.WA_DeleteOnClose)
        dialog.windowTitle = self._title
        column = qt.QVBoxLayout(dialog)
        column.setContentsMargins(0, 0, 0, 0)
        area = qt.QScrollArea(dialog)
        page = qt.QLabel(area)
        page.setPixmap(self._picture)
        area.setWidget(page)
        column.addWidget(area)
        # Room for a scroll bar, so that a page that fits in one direction needs none in the other.
        dialog.resize(min(_WINDOW[0], self._picture.width() + 20), min(_WINDOW[1], self._picture.height() + 20))
        dialog.show()
        return dialog

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """A click or the space key enlarges; a new width is drawn anew."""
        if event.type() == qt.QEvent.MouseButtonPress:
            self.enlarge()
            return True
        if event.type() == qt.QEvent.KeyPress and event.key() in (qt.Qt.Key_Space, qt.Qt.Key_Return):
            self.enlarge()
            return True
        if event.type() in (qt.QEvent.Resize, qt.QEvent.Show):
            self._fit()
        return False

    def _fit(self) -> None:
        """Scale the page to the label, once for each width: a new height is laid out, which comes back here."""
        width = int(self._label.width)
        if self._picture is None or width < 20 or width == self._shown_width:
            return
        self._shown_width = width
        scaled = self._picture.scaled(width, _MOST_HEIGHT, qt.Qt.KeepAspectRatio, qt.Qt.SmoothTransformation)
        self._label.setPixmap(scaled)
        self._label.setFixedHeight(scaled.height())
