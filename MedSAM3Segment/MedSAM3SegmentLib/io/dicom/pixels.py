"""Pixels of a DICOM file as they are stored: lengths are checked against the file before memory is taken.

What is stored plainly is read by NumPy, straight from the file. What is compressed is read in ``compressed``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError

from .compressed import check_compressed, decode_color, decode_frames
from .elements import text, whole
from .file_bytes import read_bytes
from .image_header import ImageHeader

if TYPE_CHECKING:
    from .frames import Frame

#: Encodings whose pixels are stored plainly (PS3.5 A.1 to A.3, A.5); none named, as in files without preamble.
_PLAIN = ("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")

_FLOATS = {"FloatPixelData": "f4", "DoubleFloatPixelData": "f8"}


def pixel_range(image: ImageHeader) -> tuple[int, int] | None:
    """The least and the largest value that the stored pixels can have; None for floating point."""
    if image.pixels is not None and image.pixels.keyword in _FLOATS:
        return None
    bits = _bits_stored(image)
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if _is_signed(image) else (0, (1 << bits) - 1)


def is_color(image: ImageHeader) -> bool:
    """Whether a pixel has three components, or stands for a color of a palette."""
    return whole(image.data, "SamplesPerPixel") == 3 or text(image.data, "PhotometricInterpretation") == "PALETTE COLOR"


def check_pixels(image: ImageHeader) -> None:
    """Check that the file holds the pixels that its header declares, before any memory is taken.

    Raises:
        InputError: it does not, or they are of a kind that is not known.
    """
    rows, columns, allocated = image.rows, image.columns, whole(image.data, "BitsAllocated") or 0
    pixels = image.pixels
    if pixels is None or rows < 1 or columns < 1 or image.frame_count < 1:
        raise InputError("{path} holds no DICOM image; check that it is complete.", path=image.path)
    samples = _samples(image)
    stored, high = _bits_stored(image), _high_bit(image)
    allowed = (32, 64) if pixels.keyword in _FLOATS else (8, 16, 32)
    if (
        allocated not in allowed
        or samples not in (1, 3)
        or (pixels.keyword not in _FLOATS and not (1 <= stored <= allocated and stored - 1 <= high < allocated))
    ):
        raise InputError(
            "{path} stores its pixels in a way that is not known here ({samples} x {bits} bits); convert it to NIfTI "
            "or NRRD.",
            path=image.path,
            samples=samples,
            bits=allocated,
        )
    needed = rows * columns * samples * image.frame_count * allocated // 8
    if image.transfer_syntax not in _PLAIN or pixels.length is None:
        check_compressed(image)
        return
    if text(image.data, "PhotometricInterpretation") == "YBR_FULL_422":
        needed = needed * 2 // 3
    held = min(pixels.length, pixels.available)
    if held < needed:
        raise InputError(
            "{path} is cut off or damaged: its header declares {needed} bytes of pixels and it holds {held}; copy or "
            "export it again.",
            path=image.path,
            needed=needed,
            held=held,
        )
    if pixels.length >= needed + needed // image.frame_count:
        raise InputError(
            "{path} is damaged: its header declares {needed} bytes of pixels and it holds {held}; export it again.",
            path=image.path,
            needed=needed,
            held=held,
        )


def read_pixels(image: ImageHeader) -> NDArray[Any]:
    """The stored values of all frames of a file.

    Returns:
        ``[frame, row, column]`` in whole numbers, or in floating point where the file has it so; or uint8
        ``[frame, row, column, 3]`` for color. Not rescaled.

    Raises:
        InputError: the file is cut off or damaged, or its pixels are compressed in a way that is not known.
    """
    check_pixels(image)
    is_plain = image.transfer_syntax in _PLAIN and image.pixels is not None and image.pixels.length is not None
    if is_color(image):
        return decode_color(image, _plain_bytes(image) if is_plain else None)
    if not is_plain:
        return _meant_bits(image, decode_frames(image))
    pixels = image.pixels
    assert pixels is not None
    order = "<" if pixels.is_little_endian else ">"
    allocated = whole(image.data, "BitsAllocated") or 8
    form = _FLOATS.get(pixels.keyword) or f"{'i' if _is_signed(image) else 'u'}{allocated // 8}"
    stored = np.frombuffer(_plain_bytes(image), order + form)
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    return _meant_bits(image, stored.reshape(image.frame_count, image.rows, image.columns))


def read_frames(frames: list[Frame]) -> dict[Frame, NDArray[Any]]:
    """The stored values of frames of one file, each ``[row, column]`` or ``[row, column, 3]``."""
    image = frames[0].image
    stored = read_pixels(image)
    mosaic = frames[0].mosaic
    if mosaic is not None:
        stored = mosaic.take_apart(stored[0])
    return {frame: stored[frame.index] for frame in frames}


def _plain_bytes(image: ImageHeader) -> bytes:
    allocated, samples = whole(image.data, "BitsAllocated") or 8, _samples(image)
    count = image.rows * image.columns * samples * image.frame_count * allocated // 8
    if text(image.data, "PhotometricInterpretation") == "YBR_FULL_422":
        count = count * 2 // 3
    return read_bytes(image, count)


def _meant_bits(image: ImageHeader, stored: NDArray[Any]) -> NDArray[Any]:
    """The values without what is kept in the bits that are not theirs, such as overlays."""
    if stored.dtype.kind == "f":
        return stored
    bits, high, width = _bits_stored(image), _high_bit(image), 8 * stored.dtype.itemsize
    if bits >= width or high >= width:
        return stored
    if stored.dtype.kind == "i":
        # The sign is that of the highest of the stored bits.
        return (stored << (width - 1 - high)) >> (width - bits)
    mask = (1 << bits) - 1
    shift = high + 1 - bits
    if shift:
        return (stored >> shift) & mask
    return stored & mask if int(stored.max(initial=0)) > mask else stored


def _samples(image: ImageHeader) -> int:
    return whole(image.data, "SamplesPerPixel") or 1


def _is_signed(image: ImageHeader) -> bool:
    return whole(image.data, "PixelRepresentation") == 1


def _bits_stored(image: ImageHeader) -> int:
    allocated = whole(image.data, "BitsAllocated") or 8
    stored = whole(image.data, "BitsStored")
    return allocated if stored is None else stored


def _high_bit(image: ImageHeader) -> int:
    high = whole(image.data, "HighBit")
    return _bits_stored(image) - 1 if high is None else high
