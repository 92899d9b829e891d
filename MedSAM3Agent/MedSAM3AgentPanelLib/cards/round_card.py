"""One round as a card: its page, what was tried, what was thought of it, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from MedSAM3AgentSceneLib.rounds.scene_round import SceneRound
from MedSAM3AgentSceneLib.translation.translate import translated
from MedSAM3WidgetsLib.window_timer import WindowTimer
from MedSAM3WidgetsLib.wrapped_labels import WrappedLabel

from .page_picture import PagePicture
from .round_words import cost_words, round_title, target_words


@dataclass(frozen=True)
class CardActions:
    """What a card's buttons do; each is given the round.

    Attributes:
        keep: make its objects ordinary segments.
        go_on: go on from it, with what was typed.
        beside: show it beside the round before.
        opened: its card was opened.
    """

    keep: Callable[[SceneRound], None]
    go_on: Callable[[SceneRound, str], None]
    beside: Callable[[SceneRound], None]
    opened: Callable[[SceneRound], None]


class RoundCard:
    """A section that opens and closes, at the top of a layout.

    Args:
        one: the round.
        layout: a QVBoxLayout that it is put into.
        actions: of its buttons.
        is_open: whether it begins open.
    """

    def __init__(self, one: SceneRound, layout: Any, actions: CardActions, is_open: bool) -> None:
        self.round = one
        self._actions = actions
        self._layout = layout
        self._is_switching = False
        self._has_picture = False
        self._picture_timer = WindowTimer(self._read_picture, is_once=True)
        self._section = ctk.ctkCollapsibleButton()
        self._section.text = round_title(one)
        self._section.setSizePolicy(qt.QSizePolicy.Preferred, qt.QSizePolicy.Preferred)
        column = qt.QVBoxLayout(self._section)
        page_label = qt.QLabel()
        column.addWidget(page_label)
        self._picture = PagePicture(page_label, round_title(one))
        self._labels = []
        for words in (
            _("Asked for: {request}").format(request=one.request) if one.request else "",
            _("Tried: {tried}").format(tried=translated(one.tried)) if one.tried else "",
            *(target_words(verdict, bool(one.parent) or one.number > 1) for verdict in one.verdicts),
            cost_words(one),
        ):
            if words:
                label = _words(words)
                column.addWidget(label)
                self._labels.append(WrappedLabel(label))
        self.goOnEdit = qt.QLineEdit()
        self.goOnEdit.placeholderText = _("Optional: what to change, such as: also the spleen")
        self.goOnEdit.toolTip = _(
            "What you edited, deleted or renamed in the round counts. A further request, or a command such as shrink"
            " 2 mm, can be typed as well."
        )
        self.goOnEdit.connect("returnPressed()", self._go_on)
        column.addWidget(self.goOnEdit)
        row = qt.QHBoxLayout()
        self.goOnButton = _button(_("Go on from here"), _("Begins new rounds from this one as it is now."), row)
        self.keepButton = _button(
            _("Keep"), _("Makes what was kept ordinary segments, in a segmentation of their own."), row
        )
        self.besideButton = _button(
            _("Show beside"), _("Shows it beside the round before, with what was added and taken away."), row
        )
        column.addLayout(row)
        self.goOnButton.connect("clicked()", self._go_on)
        self.keepButton.connect("clicked()", lambda: actions.keep(self.round))
        self.besideButton.connect("clicked()", lambda: actions.beside(self.round))
        layout.insertWidget(0, self._section)
        self._section.collapsed = not is_open
        self._show_picture()
        self._section.connect("contentsCollapsed(bool)", self._switched)

    @property
    def section(self) -> Any:
        """The widget."""
        return self._section

    @property
    def is_open(self) -> bool:
        return not self._section.collapsed

    def enlarge_page(self) -> Any | None:
        """Open a window with the page at full size; None without a page."""
        return self._picture.enlarge()

    def switch(self, is_open: bool) -> None:
        """Open or close it, without calling ``opened``."""
        self._is_switching = True
        self._section.collapsed = not is_open
        self._is_switching = False
        self._show_picture()

    def enable(self, is_free: bool, can_compare: bool) -> None:
        """Enable what can be pressed.

        Args:
            is_free: whether no request is on its way.
            can_compare: whether there is another round to show it beside.
        """
        self.goOnButton.enabled = self.goOnEdit.enabled = self.keepButton.enabled = is_free
        self.besideButton.enabled = can_compare

    def remove(self) -> None:
        """Take it out of the panel."""
        self._picture_timer.stop()
        # Qt frees it once whoever called is done: a button of the card itself may have.
        self._section.visible = False
        self._layout.removeWidget(self._section)
        self._section.deleteLater()

    def _go_on(self) -> None:
        if self.goOnButton.enabled:
            self._actions.go_on(self.round, self.goOnEdit.text.strip())

    def _switched(self, is_collapsed: bool) -> None:
        self._show_picture()
        if not is_collapsed and not self._is_switching:
            self._actions.opened(self.round)

    def _show_picture(self) -> None:
        """Read the page once it is wanted: a scene may hold many."""
        if self.is_open and not self._has_picture:
            self._has_picture = True
            # Not in the same step as the card is made: each holds the window for a moment.
            self._picture_timer.start(0)

    def _read_picture(self) -> None:
        self._picture_timer.stop()
        self._picture.show(self.round.page)


def _words(text: str) -> Any:
    label = qt.QLabel()
    # Names and reasons may hold what somebody typed, or a model wrote.
    label.textFormat = qt.Qt.PlainText
    label.text = text
    label.wordWrap = True
    label.textInteractionFlags = qt.Qt.TextSelectableByMouse | qt.Qt.TextSelectableByKeyboard
    return label


def _button(words: str, tip: str, row: Any) -> Any:
    button = qt.QPushButton(words)
    button.toolTip = tip
    row.addWidget(button)
    return button
