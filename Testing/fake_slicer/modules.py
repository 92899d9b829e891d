"""Puts the bench's modules where code imports them from: ``qt``, ``ctk``, and what Slicer's own has in ``slicer``."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

# Neither Qt nor VTK may ask for a screen.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

from PySide6 import QtCore, QtWidgets

from support.scene import boot
from support.slicer_modules import install_base_classes

from . import pythonqt

#: Names in ``slicer.modules`` of what ``register_module`` made.
_registered: set[str] = set()


@cache
def install() -> tuple[Any, Any]:
    """Have the modules importable for the rest of this process.

    Returns:
        The ``slicer`` package, and Qt's application.
    """
    pythonqt.adapt()
    qt_application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
    qt_application.setOrganizationName("NA-MIC")
    qt_application.setApplicationName("Slicer")
    qt_application.setQuitOnLastWindowClosed(False)
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    slicer = boot()
    install_base_classes(slicer)

    from . import effect_host, sample_data
    from .ctk_widgets import CTK_WIDGETS
    from .mrml_widgets import MRML_WIDGETS
    from .parameter_nodes import wrapper_module
    from .stand_ins import EDITOR_CLASSES, STAND_INS
    from .ui_loader import UiLoader

    qt = ModuleType("qt")
    for part in pythonqt.QT_MODULES:
        for name in dir(part):
            if name[0] == "Q" and name not in pythonqt.PYSIDE_ONLY:
                setattr(qt, name, getattr(part, name))
    qt.QUiLoader = UiLoader  # type: ignore[attr-defined]
    ctk = ModuleType("ctk")
    for name, stand_in in CTK_WIDGETS.items():
        setattr(ctk, name, stand_in)
    for name, stand_in in MRML_WIDGETS.items():
        setattr(slicer, name, stand_in)
    for name, stand_in in EDITOR_CLASSES.items():
        setattr(slicer, name, stand_in)
    for name, stand_in in STAND_INS.items():
        stand_in.bench_class_name = name
    # Slicer's scripted effect inherits the enums of the abstract one.
    slicer.qSlicerSegmentEditorAbstractEffect = effect_host.ScriptedEffect
    wrapper, packaging = wrapper_module(), ModuleType("slicer.packaging")
    slicer.parameterNodeWrapper, slicer.packaging = wrapper, packaging
    effects = ModuleType("SegmentEditorEffects")
    effects.AbstractScriptedSegmentEditorEffect = effect_host.AbstractScriptedSegmentEditorEffect  # type: ignore[attr-defined]
    hosts = ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
    hosts.qSlicerSegmentEditorScriptedEffect = effect_host.ScriptedEffect  # type: ignore[attr-defined]
    for module in (qt, ctk, wrapper, packaging, effects, hosts):
        sys.modules[module.__name__] = module
    sys.modules["SampleData"] = sample_data
    return slicer, qt_application


def module_widget_parent(scene: Any) -> Any:
    """The qSlicerScriptedLoadableModuleWidget that a panel is put into."""
    from .mrml_widgets import SceneWidget

    class ModuleWidget(SceneWidget):
        """A host of the module's widget class."""

        bench_entered = False
        bench_panel: Any = None

        @property
        def isEntered(self) -> bool:  # noqa: N802
            return self.bench_entered

        def bench_make(self, name: str) -> Any:
            """Make the widget of module ``name`` as that is loaded now, and set it up."""
            self.bench_panel = getattr(sys.modules[name], f"{name}Widget")(self)
            setattr(boot().modules, f"{name}Widget", self.bench_panel)
            self.bench_panel.setup()
            return self.bench_panel

        def reload(self) -> None:
            """Slicer prints what the new widget raises and goes on."""
            try:
                self.bench_make(self.bench_panel.moduleName)
            except Exception as error:
                pythonqt.slot_errors.add(error)

    parent = ModuleWidget()
    parent.setLayout(QtWidgets.QVBoxLayout())
    parent.setMRMLScene(scene)
    return parent


def register_module(name: str, path: Path, module_class: Any) -> None:
    """Make ``slicer.modules.<name>`` with what the module says of itself, once."""
    slicer = boot()
    if hasattr(slicer.modules, name.lower()):
        return
    parent = SimpleNamespace(path=str(path), name=name)
    parent.module = module_class(parent)
    parent.widgetRepresentation = lambda: getattr(slicer.modules, f"{name}Widget").parent
    setattr(slicer.modules, name.lower(), parent)
    _registered.add(name.lower())


def forget_modules() -> None:
    """Drop all modules: they are connected to the application of a Slicer that has ended."""
    modules = boot().modules
    while _registered:
        delattr(modules, _registered.pop())
