"""What Slicer says to the user in windows of their own: noted down, and answered as a test says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PySide6 import QtWidgets


@dataclass(frozen=True)
class Said:
    """One message.

    Attributes:
        kind: ``error``, ``warning``, ``info``, ``question`` or ``file``.
        text: of it.
        title: of its window; Slicer's own where none was given.
    """

    kind: str
    text: str
    title: str = ""


class Dialogs:
    """Stands in for every window that would wait for the user.

    Attributes:
        said: what was shown, in order.
        confirm: how questions are answered.
        path: what file and folder dialogs give; empty when the user cancels them.
        text: what text dialogs give; None when the user cancels them.
    """

    def __init__(self) -> None:
        self.said: list[Said] = []
        self.confirm = True
        self.path = ""
        self.text: str | None = None

    def texts(self, kind: str) -> list[str]:
        """The messages of one kind."""
        return [said.text for said in self.said if said.kind == kind]

    def install(self, monkeypatch: Any, util: Any) -> None:
        """Take the place of the dialogs of ``slicer.util`` and of Qt for as long as ``monkeypatch`` lasts."""
        for name, kind in (
            ("errorDisplay", "error"),
            ("warningDisplay", "warning"),
            ("infoDisplay", "info"),
            ("messageBox", "info"),
            ("delayDisplay", "info"),
        ):
            monkeypatch.setattr(util, name, self._notes(kind))
        for name in ("confirmOkCancelDisplay", "confirmYesNoDisplay", "confirmRetryCloseDisplay"):
            monkeypatch.setattr(util, name, self._asks)
        files = QtWidgets.QFileDialog
        monkeypatch.setattr(files, "getExistingDirectory", self._gives_path)
        for name in ("getOpenFileName", "getSaveFileName"):
            monkeypatch.setattr(files, name, self._gives_path)
        monkeypatch.setattr(QtWidgets.QInputDialog, "getText", self._gives_text)
        for name in ("exec", "exec_"):
            monkeypatch.setattr(QtWidgets.QDialog, name, self._runs)
            monkeypatch.setattr(QtWidgets.QMessageBox, name, self._runs)

    def _notes(self, kind: str) -> Any:
        def note(text: str, *_arguments: Any, **options: Any) -> int:
            self.said.append(Said(kind, text, options.get("windowTitle") or f"Slicer {kind}"))
            return int(QtWidgets.QMessageBox.Ok)

        return note

    def _asks(self, text: str, *_arguments: Any, **options: Any) -> bool:
        self.said.append(Said("question", text, options.get("windowTitle") or "Slicer confirmation"))
        return self.confirm

    def _gives_path(self, *_arguments: Any, **_options: Any) -> str:
        # PythonQt gives the path alone, where PySide6 gives the filter as well.
        self.said.append(Said("file", self.path))
        return self.path

    def _gives_text(self, *_arguments: Any, **_options: Any) -> str:
        self.said.append(Said("question", self.text or ""))
        return self.text or ""

    def _runs(self, dialog: Any) -> int:
        text = dialog.text if isinstance(dialog, QtWidgets.QMessageBox) else dialog.windowTitle
        self.said.append(Said("question", text))
        if isinstance(dialog, QtWidgets.QMessageBox):
            return int(QtWidgets.QMessageBox.Yes if self.confirm else QtWidgets.QMessageBox.Cancel)
        return int(self.confirm)
