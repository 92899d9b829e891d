"""Compressed pixels and colors of DICOM files.

Native decoders never see the file: each gets a data set of its own that holds the pixel module and the compressed
pictures, whose own heads were compared with the header before.
"""

from __future__ import annotations

import logging
import struct
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.itk import quiet_itk

from .elements import text, whole
from .file_bytes import read_bytes
from .image_header import ImageHeader

_logger = logging.getLogger(__name__)

_RLE = "1.2.840.10008.1.2.5"

#: JPEG baseline, extended, lossless, JPEG-LS and JPEG 2000: what GDCM in SimpleITK decodes.
_BY_GDCM = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91))

#: Compressed pixels may become this many bytes, or this many times their own length: more is no image.
_UNPACKED_BYTES = 16 << 20
_UNPACKED_RATIO = 1000

_PIXEL_MODULE = (
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PhotometricInterpretation", "PlanarConfiguration"),
)
_PALETTE = tuple(
    f"{prefix}{color}PaletteColorLookupTable{end}"
    for color in ("Red", "Green", "Blue")
    for prefix, end in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)


def check_compressed(image: ImageHeader) -> None:
    """Check, before any memory is taken, that compressed pixels can be as many as the header declares.

    Raises:
        InputError: no compression makes them that small.
    """
    size = image.rows * image.columns * (whole(image.data, "SamplesPerPixel") or 1)
    size *= image.frame_count * (whole(image.data, "BitsAllocated") or 8) // 8
    if size > max(_UNPACKED_BYTES, _UNPACKED_RATIO * _length(image)):
        raise InputError("{path} declares far more pixels than its size allows; export it again.", path=image.path)


def decode_frames(image: ImageHeader) -> NDArray[Any]:
    """The stored values ``[frame, row, column]`` of a compressed grey image.

    Raises:
        InputError: they are damaged, or compressed in a way that is not known.
    """
    pictures = _pictures(image)
    if image.transfer_syntax == _RLE:
        return _by_pydicom(image, pictures)
    stored = _by_gdcm(image, pictures)
    if stored.ndim != 3 or stored.dtype.kind == "f":
        raise _damaged(image)
    return stored


def decode_color(image: ImageHeader, plain: bytes | None) -> NDArray[Any]:
    """RGB of a color image, uint8 ``[frame, row, column, 3]``.

    Args:
        plain: the stored bytes where they are not compressed.

    Raises:
        InputError: they are damaged, or compressed in a way that is not known.
    """
    if plain is not None:
        colors = _by_pydicom(image, plain)
    elif image.transfer_syntax in _BY_GDCM:
        colors = _by_gdcm(image, _pictures(image))
    else:
        colors = _by_pydicom(image, _pictures(image))
    if text(image.data, "PhotometricInterpretation") == "PALETTE COLOR" and colors.ndim == 3:
        colors = _with_palette(image, colors)
    if colors.ndim != 4 or colors.shape[3] != 3:
        raise _damaged(image)
    if colors.dtype == np.uint8:
        return colors
    bits = whole(image.data, "BitsStored") or 16
    if text(image.data, "PhotometricInterpretation") == "PALETTE COLOR":
        bits = 16 if int(colors.max(initial=0)) > 255 else 8
    return (colors >> max(bits - 8, 0)).astype(np.uint8)


def _pictures(image: ImageHeader) -> list[bytes]:
    """The compressed pictures, one for each frame, as large as the header says."""
    if image.transfer_syntax not in (_RLE, *_BY_GDCM):
        raise InputError(
            "{path} is compressed in a way that is not known here (transfer syntax {syntax}); decompress it, for "
            "example with dcmdjpeg or gdcmconv --raw.",
            path=image.path,
            syntax=image.transfer_syntax or "?",
        )
    from pydicom.encaps import generate_frames

    content = read_bytes(image, _length(image))
    tables = [image.data.get_item(tag) for tag in (0x7FE00001, 0x7FE00002)]
    offsets = (tables[0].value, tables[1].value) if all(table is not None for table in tables) else None
    try:
        frames = generate_frames(content, number_of_frames=image.frame_count, extended_offsets=offsets)
        pictures = []
        for picture in frames:
            pictures.append(picture)
            if len(pictures) > image.frame_count:
                break
    except Exception as error:  # pydicom raises whatever comes where the fragments are damaged
        _logger.debug("%s: %s", image.path, error)
        raise _damaged(image) from None
    if len(pictures) != image.frame_count:
        raise _damaged(image)
    if image.transfer_syntax != _RLE and any(
        _codestream_size(picture) != (image.rows, image.columns) for picture in pictures
    ):
        raise _damaged(image)
    return pictures


def _length(image: ImageHeader) -> int:
    pixels = image.pixels
    if pixels is None:
        return 0
    return pixels.available if pixels.length is None else min(pixels.length, pixels.available)


def _codestream_size(picture: bytes) -> tuple[int, int] | None:
    """Rows and columns by the head of a JPEG, JPEG-LS or JPEG 2000 codestream; None where it has none."""
    start = picture.find(b"\xff\x4f\xff\x51", 0, 256)
    if start >= 0:
        if len(picture) < start + 24:
            return None
        width, height, left, top = struct.unpack_from(">4I", picture, start + 8)
        return height - top, width - left
    if picture[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(picture):
        if picture[at] != 0xFF:
            return None
        marker = picture[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        # Frame headers (ITU T.81 table B.1, T.87): all SOF but DHT, JPG and DAC between them.
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            height, width = struct.unpack_from(">HH", picture, at + 5)
            return height, width
        at += 2 + int(struct.unpack_from(">H", picture, at + 2)[0])
    return None


def _pixel_data_set(image: ImageHeader, pixels: bytes) -> Any:
    """A data set of the pixel module alone, of numbers that were checked."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    is_compressed = image.transfer_syntax in (_RLE, *_BY_GDCM)
    meta.TransferSyntaxUID = UID(image.transfer_syntax) if is_compressed else ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    for keyword in _PIXEL_MODULE:
        if keyword == "PhotometricInterpretation":
            # Inverted grey is the caller's affair, and so is a palette.
            stored = text(image.data, keyword)
            is_gray = (whole(image.data, "SamplesPerPixel") or 1) == 1
            data.PhotometricInterpretation = "MONOCHROME2" if is_gray else stored or "RGB"
        elif (value := whole(image.data, keyword)) is not None:
            setattr(data, keyword, value)
    if "SamplesPerPixel" not in data:
        data.SamplesPerPixel = 1
    if data.SamplesPerPixel > 1 and "PlanarConfiguration" not in data:
        data.PlanarConfiguration = 0
    for keyword, value in (
        ("PixelRepresentation", 0),
        ("BitsStored", data.BitsAllocated),
        ("HighBit", whole(image.data, "BitsStored") or data.BitsAllocated),
    ):
        if keyword not in data:
            setattr(data, keyword, value - 1 if keyword == "HighBit" else value)
    data.NumberOfFrames = image.frame_count
    data.PixelData = pixels
    data["PixelData"].VR = "OB" if is_compressed or data.BitsAllocated == 8 else "OW"
    if is_compressed:
        data["PixelData"].is_undefined_length = True
    return data


def _by_pydicom(image: ImageHeader, stored: bytes | list[bytes]) -> NDArray[Any]:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.utils import pixel_array

    if isinstance(stored, bytes) and image.pixels is not None and not image.pixels.is_little_endian:
        width = (whole(image.data, "BitsAllocated") or 8) // 8
        stored = np.frombuffer(stored, f">u{width}").astype(f"<u{width}").tobytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = _pixel_data_set(image, stored if isinstance(stored, bytes) else encapsulate(stored))
            plugin = "pydicom" if image.transfer_syntax == _RLE else ""
            array: NDArray[Any] = pixel_array(data, decoding_plugin=plugin)
    except Exception as error:  # pydicom raises whatever comes where pixels are damaged
        _logger.debug("%s: %s", image.path, error)
        raise _damaged(image) from None
    return array[None] if image.frame_count == 1 else array


def _by_gdcm(image: ImageHeader, pictures: list[bytes]) -> NDArray[Any]:
    import SimpleITK
    from pydicom.encaps import encapsulate

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "pixels.dcm"
        _pixel_data_set(image, encapsulate(pictures)).save_as(path, enforce_file_format=True)
        reader.SetFileName(str(path))
        try:
            with quiet_itk():
                decoded = reader.Execute()
        except RuntimeError as error:
            _logger.debug("%s", error)
            raise _damaged(image) from None
    array: NDArray[Any] = SimpleITK.GetArrayFromImage(decoded)
    expected = (image.frame_count, image.rows, image.columns)
    if array.shape[: array.ndim - (decoded.GetNumberOfComponentsPerPixel() > 1)] not in (expected, expected[1:]):
        raise _damaged(image)
    return array.reshape(*expected, *((3,) if decoded.GetNumberOfComponentsPerPixel() == 3 else ()))


def _with_palette(image: ImageHeader, stored: NDArray[Any]) -> NDArray[Any]:
    from pydicom.dataset import Dataset
    from pydicom.pixels.processing import apply_color_lut

    table = Dataset()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for keyword in _PALETTE:
                if keyword in image.data:
                    table[keyword] = image.data[keyword]
            colors: NDArray[Any] = apply_color_lut(stored, table)
    except Exception as error:  # a palette that is damaged or missing
        _logger.debug("%s: %s", image.path, error)
        raise _damaged(image) from None
    return colors[..., :3]


def _damaged(image: ImageHeader) -> InputError:
    return InputError("{path} holds damaged pixels; copy or export it again.", path=image.path)
