"""Who is asked where checks are unsure: chosen, tested, and what would leave this computer for it, in words."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ctk
from slicer.i18n import tr as _

from MedSAM3AgentSceneLib.translation.translate import translated
from MedSAM3SceneLib.failure_log import log_failure
from MedSAM3SegmentLib.errors import MedSAM3Error
from MedSAM3WidgetsLib.background_task import BackgroundTask
from MedSAM3WidgetsLib.window_timer import WindowTimer

from .language_settings import (
    KeyRing,
    LanguageChoice,
    LanguageSettings,
    keep_settings,
    language_options,
    read_settings,
)
from .probe_language_model import TestedModel, probe_language_model

#: Milliseconds that a test may take.
_TEST_MS = 5000


class LanguageSection:
    """The widgets that a language model is chosen and tested with.

    Args:
        ui: the panel's widgets.
        changed: called when another choice was made.
        take_request: called with the request of a transcript that was tested.
        record: the transcript that comes with the module.
    """

    def __init__(
        self, ui: Any, changed: Callable[[], None], take_request: Callable[[str], None], record: str = ""
    ) -> None:
        self._ui = ui
        self._changed = changed
        self._take_request = take_request
        self._keys = KeyRing()
        self._key_task, self._test_task = BackgroundTask(), BackgroundTask()
        self._deadline = WindowTimer(self._give_test_up, is_once=True)
        settings = read_settings()
        # Another version of the module may have lain elsewhere.
        is_there = bool(settings.record) and Path(settings.record).is_file()
        self._settings = settings if is_there else replace(settings, record=record)
        for choice, words in (
            (LanguageChoice.RULES, _("None: rules")),
            (LanguageChoice.LOCAL, _("On this computer")),
            (LanguageChoice.SERVER, _("Server")),
            (LanguageChoice.RECORDED, _("Recorded replies")),
        ):
            ui.languageSelector.addItem(words, choice.value)
        # Otherwise its button offers files only.
        ui.folderEdit.filters = ctk.ctkPathLineEdit.Dirs
        self._show()
        ui.languageSelector.connect("currentIndexChanged(int)", self._take)
        for edit in (ui.addressEdit, ui.modelNameEdit):
            edit.connect("editingFinished()", self._take)
        ui.keyEdit.connect("editingFinished()", self._keep_key)
        for edit in (ui.folderEdit, ui.certificateEdit, ui.recordEdit):
            edit.connect("currentPathChanged(QString)", self._take)
        ui.testButton.connect("clicked()", self.test)
        self._find_key()

    @property
    def settings(self) -> LanguageSettings:
        """What is chosen."""
        return self._settings

    def why_not(self) -> str:
        """Why the chosen language model cannot be asked, in one sentence; empty when it can."""
        settings = self._settings
        if settings.choice is LanguageChoice.LOCAL and not settings.folder:
            return _("Choose the folder of the language model first.")
        if settings.choice is LanguageChoice.RECORDED and not Path(settings.record).is_file():
            return _("Choose the file of the transcript first.")
        if settings.choice is not LanguageChoice.SERVER:
            return ""
        if not settings.host or not settings.model:
            return _("Enter the server's address and the name of its model first.")
        if self._key_task.is_busy:
            return _("The keyring is being asked for the server's key.")
        return ""

    def options(self) -> dict[str, Any]:
        """What ``MedSAM3AgentLogic.ask`` takes of a language model."""
        return language_options(self._settings, self._keys.known(self._settings))

    def test(self) -> None:
        """Find out within 5 seconds whether the language model answers."""
        settings, key = self._settings, self._keys.known(self._settings)
        if self.why_not() or settings.choice is LanguageChoice.RULES:
            return
        self._say(_("Testing..."))
        self._ui.testButton.enabled = False
        self._test_task.start(lambda: probe_language_model(settings, key), self._tested, self._test_failed)
        self._deadline.start(_TEST_MS)

    def update(self) -> None:
        """Show the fields of the choice and what would leave, and enable what can be pressed."""
        ui, settings = self._ui, self._settings
        shown = {
            LanguageChoice.LOCAL: (ui.folderCaption, ui.folderEdit),
            LanguageChoice.SERVER: (
                *(ui.addressCaption, ui.addressEdit, ui.modelNameCaption, ui.modelNameEdit),
                *(ui.keyCaption, ui.keyEdit, ui.certificateCaption, ui.certificateEdit),
            ),
            LanguageChoice.RECORDED: (ui.recordCaption, ui.recordEdit),
        }
        for choice, widgets in shown.items():
            for widget in widgets:
                widget.visible = choice is settings.choice
        ui.leavesLabel.text = _what_leaves(settings)
        reason = self.why_not()
        ui.testButton.enabled = (
            settings.choice is not LanguageChoice.RULES and not reason and not self._test_task.is_busy
        )

    def close(self) -> None:
        """Hear nothing any more of what is on its way."""
        self._deadline.stop()
        self._test_task.stop()
        self._key_task.stop()

    def _show(self) -> None:
        """Show the settings."""
        ui, settings = self._ui, self._settings
        ui.languageSelector.setCurrentIndex(ui.languageSelector.findData(settings.choice.value))
        ui.addressEdit.text, ui.modelNameEdit.text = settings.address, settings.model
        ui.folderEdit.currentPath = settings.folder
        ui.certificateEdit.currentPath = settings.certificate
        ui.recordEdit.currentPath = settings.record
        self._say("")
        self.update()

    def _take(self, _news: Any = None) -> None:
        ui, before = self._ui, self._settings
        self._settings = LanguageSettings(
            LanguageChoice(ui.languageSelector.currentData),
            ui.folderEdit.currentPath,
            ui.addressEdit.text.strip(),
            ui.modelNameEdit.text.strip(),
            ui.certificateEdit.currentPath,
            ui.recordEdit.currentPath,
        )
        if self._settings == before:
            return
        keep_settings(self._settings)
        # What was tested is not what is chosen now.
        self._deadline.stop()
        self._test_task.stop()
        self._say("")
        self._find_key()
        self._changed()

    def _find_key(self) -> None:
        """Have the keyring asked for the key of the server that is entered now."""
        settings = self._settings
        if settings.choice is not LanguageChoice.SERVER or not settings.host:
            return
        if self._keys.is_known(settings):
            self._ui.keyEdit.text = self._keys.known(settings)
            return
        self._ui.keyEdit.text = ""
        self._key_task.start(lambda: self._keys.find(settings), self._show_key, self._key_failed)

    def _show_key(self, key: str) -> None:
        self._ui.keyEdit.text = key
        self._changed()

    def _keep_key(self) -> None:
        settings, key = self._settings, self._ui.keyEdit.text.strip()
        if not settings.host or (self._keys.is_known(settings) and self._keys.known(settings) == key):
            return
        self._key_task.start(lambda: self._keys.keep(settings, key), self._key_kept, self._key_failed)
        self._changed()

    def _key_kept(self, is_in_keyring: bool) -> None:
        if not is_in_keyring:
            words = _(
                "This computer has no keyring that answers, so the key is kept until Slicer ends. To have it always,"
                " set MEDSAM3_LANGUAGE_KEY before Slicer starts."
            )
        else:
            words = _("The key is kept in this computer's keyring.") if self._ui.keyEdit.text else ""
        self._say(words)
        self._changed()

    def _key_failed(self, error: Exception) -> None:
        log_failure("the keyring could not be asked.", error)
        self._changed()

    def _tested(self, model: TestedModel) -> None:
        self._deadline.stop()
        if model.request:
            self._take_request(model.request)
            words = _(
                "A record of {count} questions to '{name}'. Its request was put in; it fits the same volume only."
            )
            self._say(words.format(count=model.questions, name=model.name))
        else:
            words = (
                _("{name} is there and reads pictures.")
                if model.reads_pictures
                else _("{name} is there and reads no pictures: it can plan and answer, but not judge a round.")
            )
            self._say(words.format(name=model.name))
        self.update()

    def _test_failed(self, error: Exception) -> None:
        self._deadline.stop()
        if not isinstance(error, MedSAM3Error):
            log_failure("a language model could not be tested.", error)
        self._say(translated(str(error)))
        self.update()

    def _give_test_up(self) -> None:
        self._deadline.stop()
        self._test_task.stop()
        self._say(_("No answer within 5 seconds. A model that is being loaded takes longer; test again."))
        self.update()

    def _say(self, words: str) -> None:
        self._ui.testLabel.text = words
        self._ui.testLabel.visible = bool(words)


def _what_leaves(settings: LanguageSettings) -> str:
    """One line on what would leave this computer."""
    if settings.choice is LanguageChoice.RULES:
        return str(_("Nothing leaves this computer; checks decide."))
    if settings.choice is LanguageChoice.LOCAL:
        return str(_("Nothing leaves this computer; the model needs memory beside the one that segments."))
    if settings.choice is LanguageChoice.RECORDED:
        return str(_("Nothing leaves this computer; nobody is asked, replies of an earlier session are given again."))
    if not settings.host:
        return str(_("Pages of the volume, the request as typed and sizes would go to the server."))
    if _is_loopback(settings.host):
        words = _(
            "Pages of the volume, the request as typed and sizes go to a server on this computer; they leave it only"
            " where that server passes them on."
        )
        return str(words)
    words = _(
        "Pages of the volume, the request as typed and sizes would leave this computer for {host}; you are asked first,"
        " and shown the page."
    )
    return str(words.format(host=settings.host))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
