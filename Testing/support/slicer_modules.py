"""The parts of Slicer's Python package that are not in slicer-core, as far as the module files need them.

Only what their classes inherit and import at file scope: enough to run logic and self-tests against the real scene.
A panel needs the bench besides (``fake_slicer``).
"""

from __future__ import annotations

import importlib
import sys
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any

from .scene import boot


class ScriptedLoadableModule:
    """Keeps what the module says of itself on ``parent``."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__

    def resourcePath(self, filename: str) -> str:  # noqa: N802
        return str(Path(self.parent.path).parent / "Resources" / filename)


class ScriptedLoadableModuleWidget:
    """A panel; the bench gives it a parent and calls ``setup``."""

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__.removesuffix("Widget")
        if parent is not None:
            import slicer

            self.layout = parent.layout()
            slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:  # noqa: N802
        return str(Path(sys.modules[type(self).__module__].__file__ or "").parent / "Resources" / filename)

    def setup(self) -> None:
        """Slicer's own adds buttons for developers."""

    def onReload(self) -> None:  # noqa: N802
        """What Slicer's button for developers does."""
        import slicer

        slicer.util.reloadScriptedModule(self.moduleName)

    def cleanup(self) -> None:
        """Nothing yet to clean up."""

    def _onModuleAboutToBeUnloaded(self, name: str) -> None:  # noqa: N802
        import slicer

        if name == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """Has one parameter node in the scene."""

    def __init__(self, parent: Any = None) -> None:
        del parent
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:  # noqa: N802
        import slicer

        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
            node = slicer.mrmlScene.AddNode(node)
        # A closed scene keeps the node but not what is in it.
        node.SetAttribute("ModuleName", self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A test case that shows its messages for no time at all."""

    def delayDisplay(self, message: str) -> None:  # noqa: N802
        del message


def install_base_classes(slicer: ModuleType) -> None:
    """Put the base classes and the translation where the module files import them from."""
    if "slicer.ScriptedLoadableModule" in sys.modules:
        return
    base = ModuleType("slicer.ScriptedLoadableModule")
    for stand_in in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ):
        setattr(base, stand_in.__name__, stand_in)
    translation = ModuleType("slicer.i18n")
    translation.tr = lambda text: text  # type: ignore[attr-defined]
    translation.translate = lambda context, text: slicer.app.translate(context, text)  # type: ignore[attr-defined]
    for module in (base, translation):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.split(".")[1], module)


def load_module(name: str) -> ModuleType:
    """The Slicer module file ``name``.py, imported on the scene of ``support.scene``."""
    install_base_classes(boot())
    return importlib.import_module(name)
