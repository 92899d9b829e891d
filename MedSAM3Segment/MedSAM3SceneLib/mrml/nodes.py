"""What a person gave where a node of the scene belongs: in the console that may be a name, a number or nothing."""

from __future__ import annotations

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
