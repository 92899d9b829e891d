"""One test's Slicer: what the fixture ``bench`` is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import shiboken6
from numpy.typing import NDArray
from PySide6 import QtCore, QtWidgets

from MedSAM3SegmentLib.engine.process.discovery import FOLDER_VARIABLE
from support.paths import ROOT
from support.slicer_modules import load_module

from . import modules
from .application import Application
from .dialogs import Dialogs
from .installs import Installs, record_installs
from .module_panel import ModulePanel
from .pythonqt import slot_errors
from .subject_hierarchy import SubjectHierarchyPlugin

MODULE_FOLDERS = [ROOT / name for name in ("MedSAM3Segment", "MedSAM3Agent")]


class Bench:
    """What a test does to Slicer, and what it sees.

    Attributes:
        slicer: the package.
        app: ``slicer.app``.
        dialogs: what was shown to the user, and how it is answered.
        installs: what ``slicer.packaging`` was asked for, and how pip ends.
    """

    def __init__(self, slicer: Any, app: Application, dialogs: Dialogs, installs: Installs) -> None:
        self.slicer, self.app, self.dialogs, self.installs = slicer, app, dialogs, installs
        self._parents: list[Any] = []
        self._editors: list[Any] = []
        self._module_panel: ModulePanel | None = None
        self._hierarchy = SubjectHierarchyPlugin(slicer.mrmlScene)

    @property
    def log_lines(self) -> list[str]:
        """What Slicer's own widgets complained of in its error log."""
        return self._hierarchy.log_lines

    @property
    def settings(self) -> Any:
        return self.app.settings()

    @property
    def slot_errors(self) -> list[BaseException]:
        """Exceptions that came out of slots and were not shown to the user."""
        return slot_errors.raised

    def open_panel(self, name: str) -> Any:
        """The widget of module ``name``, made, set up and entered as Slicer does when the user selects the module."""
        module = load_module(name)
        parent = modules.module_widget_parent(self.slicer.mrmlScene)
        modules.register_module(name, Path(module.__file__), getattr(module, name))
        panel = parent.bench_make(name)
        self._parents.append(parent)
        parent.resize(440, 900)
        parent.show()
        self.enter(panel)
        return panel

    def enter(self, panel: Any) -> None:
        """Show the panel's module."""
        panel.parent.bench_entered = True
        if hasattr(panel, "enter"):
            panel.enter()
        self.app.processEvents()

    def leave(self, panel: Any) -> None:
        """Show another module."""
        panel.parent.bench_entered = False
        if hasattr(panel, "exit"):
            panel.exit()
        self.app.processEvents()

    def close_panel(self, panel: Any) -> None:
        """Unload the panel's module, as at the end of Slicer."""
        if panel.parent not in self._parents:
            return
        self._parents.remove(panel.parent)
        if panel.parent.isEntered:
            self.leave(panel)
        self.app.moduleManager().moduleAboutToBeUnloaded.emit(panel.moduleName)
        panel.parent.close()
        for widget in panel.parent.findChildren(QtWidgets.QWidget):
            if hasattr(widget, "bench_forget"):
                widget.bench_forget()
        if getattr(self.slicer.modules, f"{panel.moduleName}Widget", None) is panel:
            delattr(self.slicer.modules, f"{panel.moduleName}Widget")
        panel.parent.deleteLater()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
        self.app.processEvents()

    def segment_editor(self, volume_node: Any, segmentation_node: Any) -> Any:
        """Slicer's Segment Editor with these nodes."""
        from .segment_editor import SegmentEditor

        editor = SegmentEditor(self, volume_node, segmentation_node)
        self._editors.append(editor)
        return editor

    @property
    def module_panel(self) -> ModulePanel:
        """Slicer's column for panels, which a panel is put into by ``bench_show(panel.parent)``."""
        if self._module_panel is None:
            self._module_panel = ModulePanel()
            self._module_panel.show()
        return self._module_panel

    def show_in_module_panel(self, widget: Any, width: int, height: int) -> ModulePanel:
        """Have the widget of a module where Slicer has it, of which so many pixels can be seen."""
        self.module_panel.resize(width, height)
        self.module_panel.bench_show(widget)
        self.spin(0.1)
        return self.module_panel

    def wait(self, is_so: Callable[[], bool], seconds: float = 120.0) -> None:
        """Let the event loop run until ``is_so``.

        Raises:
            TimeoutError: it was not so after ``seconds``.
        """
        end = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > end:
                raise TimeoutError(f"It was not so after {seconds} s.")
            self.spin(0.005)

    def spin(self, seconds: float) -> None:
        """Let the event loop run for a while."""
        loop = QtCore.QEventLoop()
        QtCore.QTimer.singleShot(max(1, int(seconds * 1000)), loop.quit)
        loop.exec_()
        # It hangs together with its connection, and whichever thread collects garbage would free it.
        shiboken6.delete(loop)

    def grab(self, widget: Any, path: Path) -> None:
        """Save what ``widget`` looks like as a PNG file."""
        self.app.processEvents()
        if not widget.grab().save(str(path)):
            raise OSError(f"The picture {path} cannot be written.")

    def render(self, view: str) -> NDArray[np.uint8]:
        """The slice view ``view`` as an array ``[row, column, RGB]``, top row first."""
        from .slice_views import picture_of

        return picture_of(self.app.layoutManager().sliceWidget(view).sliceView())

    def close(self) -> None:
        """Close all that is open."""
        from .effect_host import EffectFactory

        for editor in self._editors:
            editor.close()
        # Another test is another Slicer.
        EffectFactory.bench_forget()
        if self._module_panel is not None:
            self._module_panel.bench_remove()
        for parent in list(self._parents):
            self.close_panel(parent.bench_panel)
        modules.forget_modules()
        self._hierarchy.release()
        self.app.layoutManager().bench_release()
        self.app.processEvents()


@contextmanager
def open_bench(monkeypatch: Any, folder: Path) -> Iterator[Bench]:
    """A bench over the scene of this process, empty before and after."""
    slicer, qt_application = modules.install()
    QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(folder))
    # An engine that somebody has running on this computer is none of the test's.
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder / "run"))
    slicer.mrmlScene.Clear(False)
    app = Application(qt_application, slicer.app.applicationLogic(), slicer.mrmlScene, folder)
    monkeypatch.setattr(slicer, "app", app)
    monkeypatch.setattr(slicer.modules, "sampleDataSources", {}, raising=False)
    dialogs = Dialogs()
    dialogs.install(monkeypatch, slicer.util)
    slot_errors.raised.clear()
    monkeypatch.setattr(slot_errors, "is_shown", lambda error: any(str(error) in said.text for said in dialogs.said))
    monkeypatch.setattr(sys, "excepthook", lambda _type, error, _trace: slot_errors.add(error))
    bench = Bench(slicer, app, dialogs, record_installs(monkeypatch))
    app.layoutManager().bench_prepare()
    try:
        yield bench
    finally:
        bench.close()
        slicer.mrmlScene.Clear(False)
        for widget in QtWidgets.QApplication.topLevelWidgets():
            widget.close()
