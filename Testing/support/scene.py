"""Slicer's own scene without Slicer's window: slicer-core started in the order that the application starts it.

What the tests of the scene library and of the modules stand on. ``scene`` is the fixture; the readers and writers do
what ``slicer.util.loadVolume`` and its kin do in the application, through the same storage nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

#: Module logics of the application that the scene needs, by the attribute of ``slicer.modules`` they are reached by.
#: Segmentations must be there before the first segmentation node, or its empty representations cannot be made.
_LOGICS = {
    "colors": ("Colors", "vtkSlicerColorLogic"),
    "volumes": ("Volumes", "vtkSlicerVolumesLogic"),
    "terminologies": ("Terminologies", "vtkSlicerTerminologiesModuleLogic"),
    "subjecthierarchy": ("SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
    "segmentations": ("Segmentations", "vtkSlicerSegmentationsModuleLogic"),
    "markups": ("Markups", "vtkSlicerMarkupsLogic"),
    "transforms": ("Transforms", "vtkSlicerTransformLogic"),
}


@contextmanager
def quiet() -> Iterator[None]:
    """VTK's own warnings off, for steps that are known to complain without Slicer's resource files."""
    from vtk import vtkObject

    shown = vtkObject.GetGlobalWarningDisplay()
    vtkObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        vtkObject.SetGlobalWarningDisplay(shown)


@cache
def boot() -> ModuleType:
    """Start slicer-core once in this process: the ``slicer`` package with ``mrmlScene``, ``modules`` and ``app``."""
    import slicer

    # The application puts its Python scripts on this package; here it comes from a wheel that has util only.
    slicer_scene = slicer.vtkMRMLScene()
    application_logic = slicer.vtkSlicerApplicationLogic()
    with quiet():
        application_logic.SetMRMLScene(slicer_scene)
        application_logic.GetColorLogic().SetMRMLScene(slicer_scene)
        application_logic.GetColorLogic().AddDefaultColorNodes()
        modules = SimpleNamespace()
        for attribute, (name, class_name) in _LOGICS.items():
            logic = getattr(slicer, class_name)()
            logic.SetMRMLApplicationLogic(application_logic)
            logic.SetMRMLScene(slicer_scene)
            application_logic.SetModuleLogic(name, logic)
            setattr(modules, attribute, SimpleNamespace(logic=lambda logic=logic: logic))
    slicer.mrmlScene = slicer_scene
    slicer.modules = modules
    slicer.app = SimpleNamespace(
        applicationLogic=lambda: application_logic,
        mrmlScene=lambda: slicer_scene,
        processEvents=lambda: None,
        testingEnabled=lambda: True,
        translate=lambda _context, text: text,
    )
    return slicer


@pytest.fixture
def scene() -> Iterator[Any]:
    """The one scene of the process, ``slicer.mrmlScene``, empty before the test and after it."""
    slicer = boot()
    slicer.mrmlScene.Clear(False)
    yield slicer.mrmlScene
    slicer.mrmlScene.Clear(False)


def load_volume(path: Path, name: str = "") -> Any:
    """The volume node that Slicer makes of the image file ``path`` (NRRD, NIfTI, MHA, PNG, ...).

    Raises:
        OSError: Slicer cannot read it.
    """
    node = boot().modules.volumes.logic().AddArchetypeVolume(str(path), name or path.stem)
    if node is None:
        raise OSError(f"Slicer cannot read the volume {path}.")
    return node


def load_segmentation(path: Path, name: str = "") -> Any:
    """The segmentation node that Slicer makes of ``path`` (``.seg.nrrd``).

    Raises:
        OSError: Slicer cannot read it.
    """
    return _read(path, "vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode", name)


def save_node(node: Any, path: Path) -> None:
    """Write ``node`` to ``path`` through its own default storage node, as Slicer's save dialog does.

    Raises:
        OSError: Slicer cannot write it.
    """
    storage = node.CreateDefaultStorageNode()
    storage.UnRegister(None)
    storage.SetFileName(str(path))
    if not storage.WriteData(node):
        raise OSError(f"Slicer cannot write {path}.")


def _read(path: Path, node_class: str, storage_class: str, name: str) -> Any:
    slicer = boot()
    node = slicer.mrmlScene.AddNewNodeByClass(node_class, name or path.name.split(".")[0])
    storage = slicer.mrmlScene.AddNewNodeByClass(storage_class)
    storage.SetFileName(str(path))
    if not storage.ReadData(node):
        slicer.mrmlScene.RemoveNode(storage)
        slicer.mrmlScene.RemoveNode(node)
        raise OSError(f"Slicer cannot read {path}.")
    node.SetAndObserveStorageNodeID(storage.GetID())
    node.CreateDefaultDisplayNodes()
    return node
