"""The frames of a DICOM file and where each of them lies, whichever way the file says it.

A classic file says it once, an enhanced one in functional groups, shared or one for each frame, and a nuclear medicine
one at its detectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from MedSAM3SegmentLib.errors import InputError

from .elements import items, number, numbers, text, vector
from .image_header import ImageHeader
from .mosaic import Mosaic, read_mosaic

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: More frames than any scanner stores in one file.
_MOST_FRAMES = 1_000_000

_Vector = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a file.

    Attributes:
        image: the file's header.
        index: which of its pictures, from 0.
        position: LPS millimeters of the center of the first pixel, or None where the file does not say.
        orientation: LPS directions along a row and along a column, six cosines, or None.
        groups: where to look for what else is said of the frame: its functional groups, those of all frames, the file.
        mosaic: how the pictures are tiled into one, or None.
        refusal: why the file cannot be used, or None; raised if it is the one that is meant.
    """

    image: ImageHeader
    index: int
    position: _Vector | None
    orientation: _Vector | None
    groups: tuple[Dataset, ...]
    mosaic: Mosaic | None = None
    refusal: InputError | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        if self.mosaic is not None:
            return self.mosaic.rows, self.mosaic.columns
        return self.image.rows, self.image.columns

    @cached_property
    def spacing(self) -> _Vector:
        """Pixel Spacing as it is written: millimeters from row to row and from column to column; empty if missing."""
        return self.numbers("PixelMeasuresSequence", "PixelSpacing")

    @cached_property
    def slope(self) -> float:
        value = self.number("PixelValueTransformationSequence", "RescaleSlope")
        return 1.0 if value is None else value

    @cached_property
    def intercept(self) -> float:
        return self.number("PixelValueTransformationSequence", "RescaleIntercept") or 0.0

    @cached_property
    def stack(self) -> str:
        """The stack that the frame belongs to, where the file has several."""
        return self.text("FrameContentSequence", "StackID")

    @cached_property
    def slice_distance(self) -> float | None:
        """Millimeters from slice to slice as the header has it, which positions overrule."""
        for keyword in ("SpacingBetweenSlices", "SliceThickness"):
            value = self.number("PixelMeasuresSequence", keyword)
            if value is not None and abs(value) > 0:
                return abs(value)
        return None

    def find(self, sequence: str, keyword: str) -> Dataset | None:
        """The data set that says ``keyword`` of this frame: the item of a functional group, or the file itself."""
        for group in self.groups:
            for item in (*items(group, sequence), group):
                if keyword in item:
                    return item
        return None

    def text(self, sequence: str, keyword: str) -> str:
        found = self.find(sequence, keyword)
        return "" if found is None else text(found, keyword)

    def number(self, sequence: str, keyword: str) -> float | None:
        found = self.find(sequence, keyword)
        return None if found is None else number(found, keyword)

    def numbers(self, sequence: str, keyword: str) -> _Vector:
        found = self.find(sequence, keyword)
        return () if found is None else numbers(found, keyword)


def frames_of(image: ImageHeader) -> list[Frame]:
    """The frames of a file in the order they are stored in; a single one with a refusal for what cannot be used."""
    try:
        return _frames_of(image)
    except InputError as refusal:
        return [Frame(image, 0, None, None, (image.data,), refusal=refusal)]


def _frames_of(image: ImageHeader) -> list[Frame]:
    data = image.data
    if image.refused_image is not None:
        raise InputError("{path} is {kind}.", path=image.path, kind=image.refused_image)
    if image.frame_count < 1 or image.frame_count > _MOST_FRAMES:
        raise InputError("{path} has no sensible number of frames; export it again.", path=image.path)
    if image.is_enhanced:
        return _enhanced(image)
    position, orientation = vector(data, "ImagePositionPatient", 3), vector(data, "ImageOrientationPatient", 6)
    if image.is_mosaic:
        mosaic = read_mosaic(image)
        return [Frame(image, n, mosaic.position(n), mosaic.orientation, (data,), mosaic) for n in range(mosaic.count)]
    count = image.frame_count
    if count <= 1 or image.is_film:
        return [Frame(image, n, position, orientation, (data,)) for n in range(max(count, 1))]
    if image.modality == "NM":
        detector = next(iter(items(data, "DetectorInformationSequence")), data)
        position = position or vector(detector, "ImagePositionPatient", 3)
        orientation = orientation or vector(detector, "ImageOrientationPatient", 6)
    distance = number(data, "SpacingBetweenSlices") or number(data, "SliceThickness")
    if position is None or orientation is None or not distance:
        return [Frame(image, n, None, None, (data,)) for n in range(count)]
    # The place of the first frame only; the others follow along the normal, as PS3.3 C.8.4.15 has it.
    normal = np.cross(orientation[:3], orientation[3:])
    return [
        Frame(image, n, tuple((np.asarray(position) + n * distance * normal).tolist()), orientation, (data,))
        for n in range(count)
    ]


def places_are_taken_from_first(image: ImageHeader, frames: list[Frame]) -> bool:
    """Whether a file of several frames says where the first of them lies only."""
    return (
        image.frame_count > 1
        and not image.is_enhanced
        and not image.is_mosaic
        and not image.is_film
        and frames[0].position is not None
    )


def _enhanced(image: ImageHeader) -> list[Frame]:
    per_frame = items(image.data, "PerFrameFunctionalGroupsSequence")
    shared = items(image.data, "SharedFunctionalGroupsSequence")
    if len(per_frame) != image.frame_count:
        raise InputError(
            "{path} has {count} frames and describes {described} of them; export it again.",
            path=image.path,
            count=image.frame_count,
            described=len(per_frame),
        )
    frames = []
    for n, own in enumerate(per_frame):
        groups = (own, *shared[:1], image.data)
        frame = Frame(image, n, None, None, groups)
        position = frame.numbers("PlanePositionSequence", "ImagePositionPatient")
        orientation = frame.numbers("PlaneOrientationSequence", "ImageOrientationPatient")
        frames.append(
            Frame(
                image,
                n,
                position if len(position) == 3 else None,
                orientation if len(orientation) == 6 else None,
                groups,
            )
        )
    return frames
