"""The parts of Slicer's Python package that are not in slicer-core, as far as the module files need them.

Only what their classes inherit and import at file scope: enough to run logic and self-tests against the real scene.
"""

from __future__ import annotations

import importlib
import sys
import unittest
from types import ModuleType
from typing import Any

from slicer_scene import boot


class ScriptedLoadableModule:
    """Keeps what the module says of itself on ``parent``."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent


class ScriptedLoadableModuleWidget:
    """Nothing of a panel works without Qt."""

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent


class ScriptedLoadableModuleLogic:
    """Slicer's own keeps a parameter node, which no logic here uses."""

    def __init__(self, parent: Any = None) -> None:
        del parent


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A test case that shows its messages for no time at all."""

    def delayDisplay(self, message: str) -> None:  # noqa: N802
        del message


def load_module(name: str) -> ModuleType:
    """The Slicer module file ``name``.py, imported on the scene of ``slicer_scene``."""
    slicer = boot()
    if "slicer.ScriptedLoadableModule" not in sys.modules:
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
        translation.translate = lambda _context, text: text  # type: ignore[attr-defined]
        for module in (base, translation):
            sys.modules[module.__name__] = module
            setattr(slicer, module.__name__.split(".")[1], module)
    return importlib.import_module(name)
