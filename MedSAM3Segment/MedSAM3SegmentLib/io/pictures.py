"""Pictures (PNG, JPEG, BMP, GIF) to pixels, by Pillow, which knows more kinds than ITK and notices truncation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .itk import (
    StoredImage,
    grid_of,
    lps_grid,
    quiet_itk,
    unreadable,
)

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")


def read_picture(path: Path) -> StoredImage:
    """One picture as one slice, placed as ITK and Slicer place it.

    Raises:
        InputError: it is damaged or no picture.
    """
    import SimpleITK
    from PIL import Image

    try:
        with Image.open(path) as picture:
            pixels = pixels_of(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise unreadable(path) from None
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_itk():
            reader.ReadImageInformation()
        grid = grid_of(reader, path)
    except RuntimeError:  # ITK does not know every PNG; it places those it knows like this
        grid = lps_grid((1, *pixels.shape[:2]), np.eye(4), path)
    return StoredImage(pixels[None], grid)


def pixels_of(picture: Image) -> NDArray[Any]:
    """Grey ``[row, column]`` or color ``[row, column, 3]``; what is transparent is black."""
    if picture.mode in ("1", "L", "LA", "La"):
        pixels = np.asarray(picture.convert("LA"))
    elif picture.mode.startswith(("I", "F")):
        pixels = np.asarray(picture)
    else:
        pixels = np.asarray(picture.convert("RGBA"))
    if pixels.ndim == 3:
        opacity = pixels[..., -1:].astype(np.uint16)
        pixels = ((pixels[..., :-1] * opacity + 127) // 255).astype(np.uint8)
    return pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
