"""``slicer.app`` with settings, slice views and a module manager."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtWidgets

from .slice_views import LayoutManager


class ModuleManager(QtCore.QObject):
    """qSlicerModuleManager."""

    moduleLoaded = QtCore.Signal(str)  # noqa: N815
    moduleAboutToBeUnloaded = QtCore.Signal(str)  # noqa: N815


class Application(QtCore.QObject):
    """``slicer.app``: what qSlicerApplication has, as far as the project uses it.

    Args:
        qt_application: Qt's own.
        logic: the vtkSlicerApplicationLogic.
        scene: of the session.
        folder: for settings and temporary files; deleted with the test.
    """

    startupCompleted = QtCore.Signal()  # noqa: N815
    aboutToQuit = QtCore.Signal()  # noqa: N815
    bench_signals = ("mrmlSceneChanged(vtkMRMLScene*)",)

    def __init__(self, qt_application: Any, logic: Any, scene: Any, folder: Path) -> None:
        super().__init__()
        self._qt, self._logic, self._scene, self._folder = qt_application, logic, scene, folder
        self._settings = QtCore.QSettings(str(folder / "Slicer.ini"), QtCore.QSettings.IniFormat)
        self._layout_manager = LayoutManager(logic, scene)
        self._modules = ModuleManager()
        self.applicationName, self.majorVersion, self.minorVersion = "Slicer", 5, 13
        self.temporaryPath, self.cachePath = str(folder), str(folder / "cache")
        self.slicerHome = str(folder)

    def applicationLogic(self) -> Any:  # noqa: N802
        return self._logic

    def mrmlScene(self) -> Any:  # noqa: N802
        return self._scene

    def layoutManager(self) -> Any:  # noqa: N802
        return self._layout_manager

    def moduleManager(self) -> Any:  # noqa: N802
        return self._modules

    def settings(self) -> Any:
        _require_the_windows_thread()
        return self._settings

    def userSettings(self) -> Any:  # noqa: N802
        _require_the_windows_thread()
        return self._settings

    def revisionUserSettings(self) -> Any:  # noqa: N802
        return self._settings

    def processEvents(self) -> None:  # noqa: N802
        self._qt.processEvents()

    def testingEnabled(self) -> bool:  # noqa: N802
        return False

    def translate(self, _context: str, text: str) -> str:
        return text

    def setOverrideCursor(self, cursor: Any) -> None:  # noqa: N802
        self._qt.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:  # noqa: N802
        self._qt.restoreOverrideCursor()

    def overrideCursor(self) -> Any:  # noqa: N802
        return self._qt.overrideCursor()

    def topLevelWidgets(self) -> list[Any]:  # noqa: N802
        return list(QtWidgets.QApplication.topLevelWidgets())

    def clipboard(self) -> Any:
        return self._qt.clipboard()

    def palette(self) -> Any:
        return self._qt.palette()


def _require_the_windows_thread() -> None:
    """Check that Qt is not used on another thread, which Slicer may not survive.

    Raises:
        RuntimeError: it is.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("Qt is used on another thread than the window's.")
