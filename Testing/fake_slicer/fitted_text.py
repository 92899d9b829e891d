"""A stand-in for CTK's text that is as high as what it says, with details that can be folded away."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets


class FittedTextBrowser(QtWidgets.QTextBrowser):
    """ctkFittedTextBrowser: collapsed it shows what comes before the first line break, or all where there is none."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._text, self._is_collapsed = "", True
        self._more, self._less = "Show details...", "Hide details."
        self._ruler = QtGui.QTextDocument()
        self.setSizePolicy(QtWidgets.QSizePolicy.Ignored, QtWidgets.QSizePolicy.Fixed)
        self.setFrameShape(QtWidgets.QFrame.NoFrame)
        self.setOpenLinks(False)
        self.connect("anchorClicked(QUrl)", self._clicked)

    def collapsibleText(self) -> str:  # noqa: N802
        return self._text

    def setCollapsibleText(self, text: str) -> None:  # noqa: N802
        self._text = text
        # Nothing else counts as a line break of HTML, not even "<br/>".
        is_html = "<html>" in text
        teaser, line_break, _ = text.partition("<br>" if is_html else "\n")
        if not line_break:
            self.setHtml(text)
        elif self._is_collapsed:
            self.setHtml(f'{teaser}&hellip; <a href="#more">{self._more}</a>')
        else:
            shown = text.replace(line_break, "", 1).replace("</html>", "")
            shown = shown if is_html else shown.replace("\n", "<br>")
            self.setHtml(f'{shown} <a href="#less">{self._less}</a>')

    def resizeEvent(self, event: Any) -> None:  # noqa: N802
        super().resizeEvent(event)
        self._fit()

    def setHtml(self, html: str) -> None:  # noqa: N802
        super().setHtml(html)
        self._ruler.setHtml(html)
        self._fit()

    def _fit(self) -> None:
        """Be as high as the text is at this width."""
        self._ruler.setDefaultFont(self.font)
        self._ruler.setTextWidth(self.width)
        self.setFixedHeight(max(int(self._ruler.size.height()), self.fontMetrics().lineSpacing()))

    def _set_collapsed(self, collapsed: bool) -> None:
        self._is_collapsed = collapsed
        self.setCollapsibleText(self._text)

    def _set_more(self, words: str) -> None:
        self._more = words
        self.setCollapsibleText(self._text)

    def _clicked(self, url: Any) -> None:
        self._set_collapsed(url.fragment() == "less")

    collapsed = QtCore.Property(bool, lambda self: self._is_collapsed, _set_collapsed)
    showDetailsText = QtCore.Property(str, lambda self: self._more, _set_more)  # noqa: N815
