"""The question before anything of a volume leaves this computer: for where, what, and the very picture."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MedSAM3AgentSceneLib.translation.translate import translated

#: Pixels of the window; a page fits in its width, and it fits a screen of 1366 x 768.
_WIDTH, _HEIGHT = 1060, 680


def ask_consent(disclosure: Any) -> bool:
    """Ask a person whether it may leave; only a button that says so is a yes, and it is never the default.

    Args:
        disclosure: a ``MedSAM3AgentLib.sending.disclosure.Disclosure``.
    """
    question = _("May this leave your computer for {host}?").format(host=disclosure.host)
    if not _is_agreed(question, disclosure, _("Send to {host}").format(host=disclosure.host)):
        return False
    if not disclosure.may_have_burnt_in_text:
        return True
    question = _(
        "Pictures of this kind may have text in them, such as a name or a date of birth. Did you look at the whole"
        " picture, and does it show nothing of the kind?"
    )
    return _is_agreed(question, disclosure, _("It shows no name, send it"))


def _is_agreed(question: str, disclosure: Any, yes: str) -> bool:
    dialog = qt.QDialog(slicer.util.mainWindow())
    dialog.windowTitle = _("MedSAM3 Agent: before anything is sent")
    dialog.objectName = "MedSAM3AgentConsent"
    column = qt.QVBoxLayout(dialog)
    what = translated(disclosure.what)
    for words, is_question in ((question, True), (what, False)):
        label = qt.QLabel(dialog)
        # Words that somebody typed are shown as they are.
        label.textFormat = qt.Qt.PlainText
        label.text = words
        label.wordWrap = True
        if is_question:
            font = label.font
            font.setBold(True)
            label.setFont(font)
        column.addWidget(label)
    column.addWidget(_picture(dialog, disclosure.picture), 1)
    buttons = qt.QDialogButtonBox(dialog)
    agree = buttons.addButton(yes, qt.QDialogButtonBox.AcceptRole)
    refuse = buttons.addButton(_("Do not send"), qt.QDialogButtonBox.RejectRole)
    agree.objectName, refuse.objectName = "consentYes", "consentNo"
    agree.autoDefault = False
    refuse.setDefault(True)
    refuse.setFocus()
    buttons.connect("accepted()", dialog.accept)
    buttons.connect("rejected()", dialog.reject)
    column.addWidget(buttons)
    dialog.resize(_WIDTH, _HEIGHT)
    answer = dialog.exec_()
    dialog.deleteLater()
    return int(answer) == int(qt.QDialog.Accepted)


def _picture(dialog: Any, png: bytes) -> Any:
    """The picture as it would be sent, in a frame that scrolls."""
    area = qt.QScrollArea(dialog)
    label = qt.QLabel(area)
    picture = qt.QPixmap()
    if png and picture.loadFromData(png):
        label.setPixmap(picture)
    else:
        label.text = _("There is no picture; words and numbers only would be sent.")
    area.setWidget(label)
    return area
