"""How large a pixel is, and how it is said where a header does not say it, or says something else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import Message, message

from .elements import items, number, vector, whole
from .frames import Frame
from .image_header import ImageHeader

#: Spacings that differ by less than this fraction are the same.
_SAME = 1e-3

#: Physical Units of an ultrasound region that are centimeters (PS3.3 C.8.5.5.1.15).
_CENTIMETERS = 3

_UNKNOWN = message("The file does not say how large its pixels are, so lengths and volumes are not millimetres.")


def pixel_spacing(frames: Sequence[Frame], path: Path) -> tuple[tuple[float, float], tuple[Message, ...]]:
    """Millimeters from row to row and from column to column of images that make up a volume, and what to tell.

    Raises:
        InputError: a spacing is no size, or the images have different ones.
    """
    spacings = {_stated(frame) for frame in frames}
    known = [spacing for spacing in spacings if spacing is not None]
    if known and (None in spacings or any(not _same(known[0], spacing) for spacing in known)):
        raise InputError(
            "{path} holds slices whose pixels differ in size (Pixel Spacing), or of which some do not say it; give the "
            "slices of one reconstruction only.",
            path=path,
        )
    if known:
        return known[0] if len(known) == 1 else _stated(frames[0]) or known[0], ()
    return _substitute(frames[0].image)


def _stated(frame: Frame) -> tuple[float, float] | None:
    spacing = frame.spacing
    if len(spacing) == 2 and min(spacing) > 0:
        return spacing[0], spacing[1]
    if spacing or frame.text("PixelMeasuresSequence", "PixelSpacing"):
        raise InputError(
            "{path} has a Pixel Spacing that is not two lengths above 0; repair the spacing in its header.",
            path=frame.image.path,
        )
    return None


def _same(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return all(abs(a - b) <= _SAME * max(a, b) for a, b in zip(first, second, strict=True))


def _substitute(image: ImageHeader) -> tuple[tuple[float, float], tuple[Message, ...]]:
    for keyword, said in (
        (
            "ImagerPixelSpacing",
            message(
                "The size of the pixels is that at the detector (Imager Pixel Spacing), so lengths come out larger "
                "than they are in the patient."
            ),
        ),
        (
            "NominalScannedPixelSpacing",
            message("The size of the pixels is that of the scanned film, so lengths are not those in the patient."),
        ),
    ):
        spacing = vector(image.data, keyword, 2)
        if spacing is not None and min(spacing) > 0:
            return (spacing[0], spacing[1]), (said,)
    regions = {_region_spacing(region) for region in items(image.data, "SequenceOfUltrasoundRegions")}
    if len(regions) == 1 and (only := regions.pop()) is not None:
        return only, ()
    ratio = vector(image.data, "PixelAspectRatio", 2)
    if ratio is not None and min(ratio) > 0:
        return (ratio[0] / ratio[1], 1.0), (_UNKNOWN,)
    return (1.0, 1.0), (_UNKNOWN,)


def _region_spacing(region: object) -> tuple[float, float] | None:
    units = [whole(region, f"PhysicalUnits{axis}Direction") for axis in "YX"]  # type: ignore[arg-type]
    deltas = [abs(number(region, f"PhysicalDelta{axis}") or 0) for axis in "YX"]  # type: ignore[arg-type]
    if units != [_CENTIMETERS, _CENTIMETERS] or min(deltas) <= 0:
        return None
    return 10 * deltas[0], 10 * deltas[1]
