"""Nodes that a person gave, which in the console may be a name, a number or nothing; and the closing of their scene."""

from __future__ import annotations

import weakref
from types import MethodType
from typing import Any

import slicer

from MedSAM3SegmentLib.errors import InputError


def require_node(given: Any) -> None:
    """Check that ``given`` is a node, of any class.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(given, slicer.vtkMRMLNode):
        raise InputError(
            "{given} is no node of the scene; give one, such as slicer.util.getNode('NAME').", given=repr(given)
        )


def call_on_close(scene: Any, method: MethodType) -> None:
    """Call a method of an object whenever ``scene`` is closed, for as long as the object lives.

    Args:
        scene: a vtkMRMLScene, which would keep the object of a method that it calls itself.
        method: bound to an object.
    """
    # No WeakMethod, which complains where its object is collected together with others.
    owner, function = weakref.ref(method.__self__), method.__func__

    def closing(_caller: Any, _event: Any) -> None:
        living = owner()
        if living is not None:
            function(living)

    tag = scene.AddObserver(scene.StartCloseEvent, closing)
    # When Python ends, the scene may be gone already.
    weakref.finalize(method.__self__, scene.RemoveObserver, tag).atexit = False
