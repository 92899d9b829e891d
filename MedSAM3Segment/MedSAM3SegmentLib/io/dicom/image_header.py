"""The header of one DICOM file: what it says of its image, and where in the file the pixels begin.

Only pydicom reads headers, in Python: what is nested too deeply or damaged raises there, where a native reader ends the
process. The pixels are not read here.
"""

from __future__ import annotations

import io
import logging
import os
import struct
import warnings
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import Message

from .elements import codes, text, whole
from .file_bytes import cannot_open, inflate, is_nested_deeply, may_be_deflated, open_file
from .find_files import SUFFIXES, begins_as_dicom
from .kinds import film_kind, non_image_kind, refused_image_kind

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_logger = logging.getLogger(__name__)

#: What is read of a header, by pydicom's keywords; all else is passed over.
_KEYWORDS = (
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesDescription"),
    *("Manufacturer", "SliceThickness", "SpacingBetweenSlices", "ImagerPixelSpacing", "NominalScannedPixelSpacing"),
    *("PixelAspectRatio", "SequenceOfUltrasoundRegions", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber"),
    *("InstanceNumber", "AcquisitionNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("TemporalPositionIdentifier", "TemporalPositionIndex", "TriggerTime", "NominalPercentageOfCardiacPhase"),
    *("EchoTime", "EffectiveEchoTime", "EchoNumbers", "InversionTime", "FlipAngle", "RepetitionTime", "KVP"),
    *("DiffusionBValue", "DiffusionGradientOrientation", "AcquisitionTime", "AcquisitionDateTime", "ContentTime"),
    *("ConvolutionKernel", "ComplexImageComponent", "FrameReferenceTime", "ContrastBolusAgent"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept"),
    *("ModalityLUTSequence", "DetectorInformationSequence", "SharedFunctionalGroupsSequence"),
    *("PerFrameFunctionalGroupsSequence", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor"),
    *("BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData"),
    *("SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData"),
)

#: Who stored elements of these groups privately; of them only Voluson's voxels are looked for.
_PRIVATE = (0x7FE10010, 0x7FE10011)

_PIXEL_TAGS = {0x7FE00010: "PixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00008: "FloatPixelData"}

#: How much of a file without pixels is looked at.
_LONGEST_HEAD = 64 << 20

_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class PixelElement:
    """Where the pixels of a file are.

    Attributes:
        offset: of the first byte of the value.
        length: bytes that the header declares; None where it is undefined, as for compressed pixels.
        available: bytes from ``offset`` to the end of the file.
        keyword: ``PixelData``, ``FloatPixelData`` or ``DoubleFloatPixelData``.
        is_little_endian: the byte order.
    """

    offset: int
    length: int | None
    available: int
    keyword: str
    is_little_endian: bool


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """The header of one file.

    Attributes:
        path: the file.
        data: its elements without pixels, those that are used here.
        transfer_syntax: UID of the encoding; ``""`` where the file does not say.
        pixels: where the pixels are; None where there are none.
        inflated: all of a deflated file's bytes, in place of the file.
        after_pixels: the first bytes behind the pixels of an ultrasound image.
    """

    path: Path
    data: Dataset
    transfer_syntax: str
    pixels: PixelElement | None
    inflated: bytes | None = None
    after_pixels: bytes = b""

    @cached_property
    def instance(self) -> str:
        return text(self.data, "SOPInstanceUID")

    @cached_property
    def series(self) -> str:
        return text(self.data, "SeriesInstanceUID")

    @cached_property
    def modality(self) -> str:
        return text(self.data, "Modality").upper()

    @cached_property
    def image_type(self) -> tuple[str, ...]:
        return codes(self.data, "ImageType")

    @cached_property
    def rows(self) -> int:
        return whole(self.data, "Rows") or 0

    @cached_property
    def columns(self) -> int:
        return whole(self.data, "Columns") or 0

    @cached_property
    def frame_count(self) -> int:
        """Number of Frames, 1 where it is not given, 0 where it is nonsense."""
        count = whole(self.data, "NumberOfFrames")
        if count is None:
            return 0 if text(self.data, "NumberOfFrames") else 1
        return max(count, 0)

    @property
    def is_enhanced(self) -> bool:
        """Whether frames have headers of their own."""
        return "PerFrameFunctionalGroupsSequence" in self.data

    @property
    def is_mosaic(self) -> bool:
        """Whether the slices of a volume are tiled into one picture, as Siemens stores them."""
        return "MOSAIC" in self.image_type and not self.is_enhanced

    @property
    def is_film(self) -> bool:
        """Whether the frames are moments, and not places."""
        return film_kind(self.modality) is not None and self.frame_count > 1 and not self.is_enhanced

    @cached_property
    def non_image(self) -> Message | None:
        """What this is if it is no image, as in "a structured report"."""
        return non_image_kind(text(self.data, "SOPClassUID"), self.modality)

    @cached_property
    def refused_image(self) -> Message | None:
        """What this is if it is an image that cannot become a volume, and what to do."""
        creators = [_bytes_of(self.data.get_item(tag)) for tag in _PRIVATE if tag in self.data]
        is_kretz = any(b"KRETZ" in creator for creator in (*creators, self.after_pixels))
        return refused_image_kind(text(self.data, "SOPClassUID"), self.modality, self.transfer_syntax, is_kretz)


def read_header(path: Path) -> ImageHeader | None:
    """Read the header of a DICOM file; None where it is damaged or no DICOM.

    Raises:
        InputError: the file cannot be opened, its header is nested too deeply, or it inflates without end.
    """
    # Takes a third of a second, which reading other formats need not wait for.
    import pydicom  # noqa: F401

    try:
        with open_file(path) as file:
            head = file.read(1024)
            content = inflate(path, file) if may_be_deflated(head) else None
            source: Any = file if content is None else io.BytesIO(content)
            return _parse(path, source, head, content)
    except OSError as error:
        raise cannot_open(path, error) from None
    except RecursionError:
        raise InputError(
            "{path} has a header that is nested too deeply to be read; export it again.", path=path
        ) from None


def read_elements(header: ImageHeader, tags: tuple[int, ...]) -> Dataset:
    """Further elements of a file whose header could be read, by their tags."""
    data: Dataset
    if header.inflated is not None:
        data = _read_data(io.BytesIO(header.inflated), tags)
        return data
    with open_file(header.path) as file:
        data = _read_data(file, tags)
    return data


def _parse(path: Path, source: Any, head: bytes, content: bytes | None) -> ImageHeader | None:
    if not begins_as_dicom(head) and path.suffix.lower() not in SUFFIXES:
        return None
    source.seek(0)
    try:
        data = _read_data(source, _wanted_tags())
        syntax = text(data.file_meta, "TransferSyntaxUID")
        pixels = _find_pixels(source, data)
        source.seek(0)
        # What is passed over does not bite here, but may bite whoever gets the file next.
        if is_nested_deeply(source.read(_LONGEST_HEAD if pixels is None else pixels.offset)):
            raise RecursionError
    except (OSError, RecursionError, InputError):
        raise
    except Exception as error:  # pydicom raises whatever comes where a file is damaged
        _logger.debug("%s: %s", path, error)
        return None
    if pixels is None and not text(data, "SOPClassUID") and not text(data, "Modality"):
        return None
    after = b""
    if pixels is not None and pixels.length is not None and text(data, "Modality") == "US":
        source.seek(pixels.offset + pixels.length)
        after = source.read(64)
    return ImageHeader(path, data, syntax, pixels, content, after)


def _read_data(source: Any, tags: tuple[int, ...]) -> Any:
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(source, stop_before_pixels=True, force=True, specific_tags=list(tags))


@cache
def _wanted_tags() -> tuple[int, ...]:
    from pydicom.datadict import tag_for_keyword

    found = (tag_for_keyword(keyword) for keyword in _KEYWORDS)
    return (*(tag for tag in found if tag is not None), *_PRIVATE)


def _find_pixels(source: Any, data: Any) -> PixelElement | None:
    """The element that pydicom stopped before."""
    implicit, little = data.original_encoding
    order = "<" if little else ">"
    start = source.tell()
    head = source.read(12)
    if len(head) < 8:
        return None
    group, element = struct.unpack(order + "HH", head[:4])
    keyword = _PIXEL_TAGS.get(group << 16 | element)
    if keyword is None:
        return None
    if implicit:
        (length,), offset = struct.unpack(order + "I", head[4:8]), start + 8
    elif head[4:6] in (b"OB", b"OW", b"OF", b"OD", b"UN", b"OL", b"OV"):
        if len(head) < 12:
            return None
        (length,), offset = struct.unpack(order + "I", head[8:12]), start + 12
    else:
        (length,), offset = struct.unpack(order + "H", head[6:8]), start + 8
    end = source.seek(0, os.SEEK_END)
    return PixelElement(offset, None if length == _UNDEFINED else length, max(end - offset, 0), keyword, bool(little))


def _bytes_of(element: Any) -> bytes:
    value = getattr(element, "value", None)
    return value if isinstance(value, bytes) else str(value or "").encode("ascii", "replace")
