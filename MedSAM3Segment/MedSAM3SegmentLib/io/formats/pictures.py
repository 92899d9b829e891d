"""Pictures (PNG, JPEG, BMP, GIF, TIFF) to pixels, by Pillow, which knows more kinds than ITK and notices truncation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.isolated_read import IsolatedResult, read_isolated, too_large
from MedSAM3SegmentLib.io.itk import StoredImage, lps_grid, read_image_values, stored_from_values, unreadable

from .frame_chains import CutOffError, count_gif_frames, count_tiff_pages
from .voxel_data import check_deflated, open_file

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
TIFF_SUFFIXES = (".tif", ".tiff")

#: Those in which the numbers of colors are what their writer chose; a GIF's are not.
NUMBERED_SUFFIXES = (".png", ".bmp")

#: Millimeters of a JPEG's and a TIFF's units of length.
_JPEG_UNIT_MM = {1: 25.4, 2: 10.0}
_TIFF_UNIT_MM = {2: 25.4, 3: 10.0}
_TIFF_BITS, _TIFF_X, _TIFF_Y, _TIFF_UNIT = 258, 282, 283, 296

#: Rows that are blended at a time.
_BLOCK_ROWS = 256


def read_picture(path: Path) -> StoredImage:
    """One picture as one slice, placed as ITK and Slicer place it.

    Raises:
        InputError: it is damaged or no picture, or has more pixels than fit into memory.
    """
    with _opened(path) as picture:
        pixels = pixels_of(picture)
        spacing = _spacing(picture)
    return StoredImage(pixels[None], lps_grid((1, *pixels.shape[:2]), np.diag([*spacing, 1.0, 1.0]), path))


def read_label_picture(path: Path) -> StoredImage:
    """As ``read_picture``, but of a picture whose colors are numbered (a palette) the numbers, which are its labels.

    Where all colors that occur are gray the gray values stay, since programs number those as they like.

    Raises:
        InputError: as for ``read_picture``.
    """
    with _opened(path) as picture:
        pixels = pixels_of(picture)
        if picture.mode == "P":
            numbers = np.asarray(picture)
            colors = np.asarray(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)[np.unique(numbers)]
            if (colors != colors[:, :1]).any():
                pixels = numbers
        spacing = _spacing(picture)
    return StoredImage(pixels[None], lps_grid((1, *pixels.shape[:2]), np.diag([*spacing, 1.0, 1.0]), path))


def read_tiff(path: Path) -> StoredImage:
    """A TIFF's first page as one slice, or what ITK makes of a kind that Pillow does not know.

    Raises:
        InputError: as for ``read_picture``.
    """
    values, arrays = _read_tiff_isolated(path, False)
    return stored_from_values(path, values, arrays)


def read_frames(path: Path) -> list[NDArray[Any]]:
    """All frames of a GIF, PNG or TIFF, each ``[row, column]`` or ``[row, column, 3]``.

    Raises:
        InputError: one of them is damaged, or they do not fit into memory.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        return _read_tiff_isolated(path, True)[1]
    return _frames_here(path)


def count_frames(path: Path) -> int:
    """The number of frames in a picture file; 0 where it is none."""
    try:
        with _opened(path) as picture:
            return int(getattr(picture, "n_frames", 1))
    except InputError:
        return 0


def pixels_of(picture: Image) -> NDArray[Any]:
    """Grey ``[row, column]`` or color ``[row, column, 3]``; what is transparent is black."""
    if picture.mode.startswith(("I", "F")):
        return np.asarray(picture)
    is_grey = picture.mode in ("1", "L", "LA", "La")
    if picture.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in picture.info:
        return np.asarray(picture.convert("L" if is_grey else "RGB"))
    pixels = np.asarray(picture.convert("LA" if is_grey else "RGBA"))
    blended = np.empty((*pixels.shape[:2], pixels.shape[2] - 1), np.uint8)
    for row in range(0, len(pixels), _BLOCK_ROWS):
        block = pixels[row : row + _BLOCK_ROWS].astype(np.uint16)
        blended[row : row + _BLOCK_ROWS] = (block[..., :-1] * block[..., -1:] + 127) // 255
    return blended[..., 0] if is_grey else blended


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """A picture whose size fits its file and the memory, and whose damage becomes one sentence."""
    from PIL import Image

    with open_file(path, path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(file) as picture:
                _check_size(picture, path)
                _check_end(picture, path)
                yield picture
        except InputError:
            raise
        except Image.DecompressionBombError:
            raise InputError(
                "{path} declares more pixels than a picture has ({limit} million at most); give a part of it.",
                path=path,
                limit=2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000,
            ) from None
        except MemoryError:
            raise InputError(too_large(path)) from None
        # Pillow's readers are written in Python and fail in every way that Python has, struct.error among them.
        except Exception:
            raise unreadable(path) from None


def _check_size(picture: Image, path: Path) -> None:
    size = picture.width * picture.height * max(1, len(picture.getbands()))
    if picture.format == "PNG":
        check_deflated(path, path.stat().st_size, size // (8 if picture.mode in ("1", "L", "P") else 1))
    if 3 * size > psutil.virtual_memory().available:
        raise InputError(too_large(path))


def _check_end(picture: Image, path: Path) -> None:
    """Raises InputError where the file ends before its frames do."""
    try:
        if picture.format == "GIF":
            count_gif_frames(path)
        elif picture.format == "TIFF":
            count_tiff_pages(path)
    except CutOffError:
        raise unreadable(path) from None


def _frames_here(path: Path) -> list[NDArray[Any]]:
    from PIL import ImageSequence

    frames: list[NDArray[Any]] = []
    size = 0
    with _opened(path) as picture:
        for frame in ImageSequence.Iterator(picture):
            frames.append(pixels_of(frame))
            # They will be joined, which takes as much again.
            if (size := size + frames[-1].nbytes) * 2 > psutil.virtual_memory().available + size:
                raise InputError(too_large(path))
    return frames


def _read_tiff_isolated(path: Path, all_pages: bool) -> tuple[Any, list[NDArray[Any]]]:
    timeout_s = 30.0 + path.stat().st_size / 5e6
    return read_isolated(_tiff_pages, path, all_pages, timeout_s=timeout_s)


def _tiff_pages(path: Path, all_pages: bool) -> IsolatedResult:
    """What a child reads: libtiff and its codecs are native code."""
    from PIL import Image, UnidentifiedImageError

    if all_pages:
        return None, _frames_here(path)
    try:
        with open_file(path, path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(file).close()
    except UnidentifiedImageError:
        # A kind that Pillow does not know, such as 16 bits of color, or no TIFF.
        return read_image_values(path)
    except Exception:
        raise unreadable(path) from None
    with _opened(path) as picture:
        if max(getattr(picture, "tag_v2", {}).get(_TIFF_BITS, (8,))) > 8 and len(picture.getbands()) > 1:
            return read_image_values(path)  # Pillow would leave half of the bits out
        pixels = pixels_of(picture)[None]
        spacing = _spacing(picture)
    return {"ijk_to_lps": np.diag([*spacing, 1.0, 1.0]).tolist(), "tags": {}}, [pixels]


def _spacing(picture: Image) -> tuple[float, float]:
    """Millimeters between pixels along a row and along a column, where ITK believes them."""
    if picture.format == "JPEG":
        unit = _JPEG_UNIT_MM.get(picture.info.get("jfif_unit", 0))
        density = picture.info.get("jfif_density", (0, 0))
    elif picture.format == "TIFF":
        tags = getattr(picture, "tag_v2", {})
        unit = _TIFF_UNIT_MM.get(tags.get(_TIFF_UNIT, 2))
        density = (tags.get(_TIFF_X) or 0, tags.get(_TIFF_Y) or 0)
    else:
        return 1.0, 1.0
    if unit is None or not all(0 < float(each) < np.inf for each in density):
        return 1.0, 1.0
    return unit / float(density[0]), unit / float(density[1])
