"""Windows that wait for the user: noted down, and answered so that the session goes on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import qt
import slicer

#: Milliseconds between two looks.
_INTERVAL = 50

#: Words on the buttons of Slicer's own questions at closing, the strongest first.
_GO_ON = ("discard", "exit", "close", "ok", "yes")


def button_to_press(texts: Sequence[str]) -> int | None:
    """The number of the button that lets a session go on, by the words on them; None where there is none."""
    plain = [text.replace("&", "").casefold() for text in texts]
    for word in _GO_ON:
        for number, text in enumerate(plain):
            if word in re.findall(r"\w+", text) and "cancel" not in text:
                return number
    return None


class Dialogs:
    """Answers whatever waits for the user, as who goes on.

    Attributes:
        said: what was asked or told.
    """

    def __init__(self) -> None:
        self.said: list[str] = []
        self._timer = qt.QTimer(slicer.app)
        self._timer.setInterval(_INTERVAL)
        self._timer.connect("timeout()", self._answer)
        self._timer.start()

    def close(self) -> None:
        """Look no more."""
        self._timer.stop()
        self._timer.disconnect("timeout()", self._answer)
        self._timer.deleteLater()

    def _answer(self) -> None:
        window = qt.QApplication.activeModalWidget()
        if window is None or not window.visible:
            return
        self.said.append(str(getattr(window, "text", "") or window.windowTitle))
        buttons: list[Any] = list(window.buttons()) if hasattr(window, "buttons") else []
        number = button_to_press([str(button.text) for button in buttons])
        if number is not None:
            buttons[number].click()
        elif buttons:
            buttons[0].click()
        else:
            window.close()
