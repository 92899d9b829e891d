"""Outlines of objects in the XML files of Aperio ImageScope, as MoNuSeg has them, to a map of objects."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError

#: Fewer points have no area.
_LEAST_POINTS = 3


def read_outlines(path: Path, shape: tuple[int, int]) -> NDArray[np.int32]:
    """Objects ``[row, column]``, numbered from 1 in the order of the file; where they overlap the later one wins.

    Args:
        shape: rows and columns of the picture; what lies outside is cut off.

    Raises:
        InputError: the file cannot be read, or is none of ImageScope.
    """
    from PIL import Image, ImageDraw

    canvas = Image.new("I", shape[::-1], 0)
    draw = ImageDraw.Draw(canvas)
    number = 0
    for region in _parsed(path).iter("Region"):
        try:
            points = [(float(v.attrib["X"]), float(v.attrib["Y"])) for v in region.iter("Vertex")]
        except (KeyError, ValueError):
            points = [(math.nan, math.nan)]
        if not all(math.isfinite(value) for point in points for value in point):
            raise InputError(f"{path} has an outline whose points are no numbers; export it again.")
        if len(points) >= _LEAST_POINTS:
            number += 1
            draw.polygon(points, fill=number)
    return np.asarray(canvas, np.int32).copy()


def _parsed(path: Path) -> Any:
    """The document; without declarations of its own, with which a small file could fill the memory."""
    try:
        data = path.read_bytes()
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            raise InputError(f"{path} declares entities, which outlines do not need; export it again.")
        root = ElementTree.fromstring(data)
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{path} cannot be read as XML ({error}); download it again.") from None
    if root.tag != "Annotations":
        raise InputError(f"{path} holds no outlines of Aperio ImageScope; check the path.")
    return root
