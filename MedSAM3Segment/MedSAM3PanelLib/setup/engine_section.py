"""The engine in the panel: what it holds, how to free that, and the address of one elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from MedSAM3SceneLib.engine import connection
from MedSAM3SceneLib.translation.translate import translated
from MedSAM3SegmentLib.errors import MedSAM3Error
from MedSAM3SegmentLib.units import format_bytes
from MedSAM3WidgetsLib.background_task import BackgroundTask
from MedSAM3WidgetsLib.window_timer import WindowTimer

#: Milliseconds between two looks at the engine.
_INTERVAL_MS = 3000


class EngineSection:
    """Shows the engine's memory and keeps the address of a remote one in the application's settings.

    Args:
        ui: the panel's widgets.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._background = BackgroundTask()
        ui.remoteAddressEdit.text = connection.remote_address()
        ui.remoteTokenEdit.text = connection.remote_token()
        ui.remoteCertificateEdit.currentPath = connection.remote_certificate()
        self._token_tip = ui.remoteTokenEdit.toolTip
        self._tell_token_place()
        ui.remoteAddressEdit.connect("editingFinished()", self.keep_remote)
        ui.remoteTokenEdit.connect("editingFinished()", self.keep_remote)
        ui.remoteCertificateEdit.connect("currentPathChanged(QString)", lambda _path: self.keep_remote())
        ui.setupSection.connect("contentsCollapsed(bool)", lambda _collapsed: self.look())
        ui.unloadButton.connect("clicked()", self.unload)
        ui.stopEngineButton.connect("clicked()", self.stop)
        self._timer = WindowTimer(self.look)
        self._timer.start(_INTERVAL_MS)

    def keep_remote(self) -> None:
        """Keep address, token and certificate for the application; none ever goes into a scene."""
        connection.set_remote(
            self._ui.remoteAddressEdit.text.strip(),
            self._ui.remoteTokenEdit.text.strip(),
            self._ui.remoteCertificateEdit.currentPath,
        )
        self._tell_token_place()
        self.look()

    def look(self) -> None:
        """Ask the engine what it holds, if there is one and the section is open and shown."""
        section = self._ui.setupSection
        if section.visible and not section.collapsed and not self._background.is_busy:
            self._begin(lambda engine: engine.status(), self._show)

    def unload(self) -> None:
        """Let the engine free the memory that models and features take."""
        self._begin(lambda engine: engine.unload(), lambda _none: self.look())

    def stop(self) -> None:
        """End the engine that runs on this computer."""
        self._background.start(connection.stop, lambda _none: self.look(), self._fail)

    def close(self) -> None:
        """Look no more."""
        self._timer.stop()
        self._background.stop()

    def _tell_token_place(self) -> None:
        place = connection.token_place()
        self._ui.remoteTokenEdit.toolTip = self._token_tip if place is None else translated(place)

    def _begin(self, work: Callable[[Any], Any], done: Callable[[Any], None]) -> None:
        """Let the engine do something on a thread."""
        try:
            engine = connection.engine_in_use()
        except MedSAM3Error as error:
            self._fail(error)
            return
        self._background.start(lambda: work(engine), done, self._fail)

    def _show(self, status: Any) -> None:
        words = _("Not started; the first run starts it.") if status is None else _words(status)
        place = connection.token_place()
        self._ui.engineLabel.text = words if place is None else f"{words} {translated(place)}"
        self._ui.unloadButton.enabled = status is not None
        # One elsewhere is not this computer's to end.
        self._ui.stopEngineButton.enabled = status is not None and not connection.remote_address()

    def _fail(self, error: Exception) -> None:
        self._ui.engineLabel.text = translated(str(error))
        self._ui.unloadButton.enabled = self._ui.stopEngineButton.enabled = False


def _words(status: Any) -> str:
    model = _("no model is loaded")
    if status.model is not None:
        words = (
            _("{model} is loaded on {device}")
            if status.has_tracker
            else _("{model} is loaded on {device}, without a tracker")
        )
        model = words.format(model=status.model, device=status.device)
    kept = "; ".join(
        _("{what} {held} of {budget} ({place})").format(
            what=_cache_words(cache.name),
            held=format_bytes(cache.bytes_held),
            budget=format_bytes(cache.budget),
            place=cache.place,
        )
        for cache in status.caches
    )
    return _("Running (version {version}): {model}. Kept: {kept}.").format(
        version=status.version, model=model, kept=kept or _("nothing")
    )


def _cache_words(name: str) -> str:
    return {"features": _("features"), "volumes": _("volumes"), "models": _("models")}.get(name, name)
