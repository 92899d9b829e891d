"""The DICOM images that a segmentation was made from, as objects that are made of it refer to them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from MedSAM3SegmentLib.errors import InputError, PackageError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.dicom.archive import unpacked
from MedSAM3SegmentLib.io.dicom.find_files import is_dicom, is_dicom_archive
from MedSAM3SegmentLib.io.dicom.frames import Frame
from MedSAM3SegmentLib.io.itk import LPS_TO_RAS
from MedSAM3SegmentLib.io.read_dicom import source_frames
from MedSAM3SegmentLib.messages.message import Message, message

#: Packages of the extra ``dicom``.
_PACKAGES = ("highdicom", "contourpy")

#: What objects must say of patient and study, and images may have left out.
_IDENTIFYING = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"),
    *("StudyTime", "ReferringPhysicianName"),
)


#: A frame this close to an image of the source lies on it: that is rounding. And how much cosines may differ.
SAME_PLACE_MM = 0.1
_SAME_DIRECTION = 1e-3


@dataclass(frozen=True, eq=False)
class DicomSource:
    """The images of a series, without their pixels.

    Attributes:
        images: one data set for each file, with all elements that objects made of it need, in the order of places.
        positions: of the frames, LPS millimeters ``[frame, 3]``; empty where they do not say where they lie.
        orientation: six LPS cosines of the frames as they are written; None where they do not say.
        frame_numbers: of the frames in their file, from 1.
        classes: SOP class by SOP instance UID, as the files have it.
        messages: what was missing and had to be made up.
        result: what tells the result that is written from any other, so that writing it once more gives the same UIDs;
            "" for UIDs that are new each time.
    """

    images: tuple[Any, ...]
    positions: np.ndarray[Any, Any]
    orientation: tuple[float, ...] | None
    frame_numbers: tuple[int, ...] = ()
    classes: dict[str, str] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    result: str = ""

    def make_uid(self, what: str) -> str:
        """The UID of something that is written about these images; see ``result``."""
        from pydicom.uid import generate_uid

        told = [str(self.images[0].SeriesInstanceUID), self.result, what]
        return str(generate_uid(entropy_srcs=told if self.result else None))

    def has_slices_of(self, grid: VoxelGrid) -> bool:
        """Whether each slice of a grid along k lies on one of the images; True where they do not say where they lie."""
        if self.orientation is None:
            return True
        cosines, places = slice_planes(grid)
        distances = np.linalg.norm(places[:, None] - self.positions[None], axis=2).min(axis=1)
        is_turned = np.abs(cosines - self.orientation).max() > _SAME_DIRECTION
        return bool(not is_turned and distances.max() <= SAME_PLACE_MM)

    @property
    def is_enhanced(self) -> bool:
        """Whether it is one file whose frames have headers of their own."""
        return len(self.images) == 1 and "PerFrameFunctionalGroupsSequence" in self.images[0]


def slice_planes(grid: VoxelGrid) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Six LPS cosines of a grid's slices along k, and the place of the first voxel of each, LPS mm ``[slice, 3]``."""
    lps = LPS_TO_RAS @ grid.ijk_to_ras
    spacing = grid.spacing
    cosines = np.array([*(lps[:3, 0] / spacing[0]), *(lps[:3, 1] / spacing[1])])
    return cosines, lps[:3, 3] + np.arange(grid.shape[0])[:, None] * lps[:3, 2]


def check_packages() -> None:
    """Make sure, before a long run, that the packages are there which write DICOM objects.

    Raises:
        PackageError: they are not.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise PackageError(
            "Writing and reading DICOM segmentations needs the Python package {names}, which is not installed; "
            "pip install 'medsam3-slicer[dicom]'.",
            names=", ".join(missing),
        )


def check_is_dicom(path: Path) -> None:
    """Make sure that an image is DICOM, to which alone a DICOM object can refer.

    Raises:
        InputError: it is not.
    """
    if not (path.is_dir() or is_dicom(path) or is_dicom_archive(path)):
        raise InputError(
            "{path} is not DICOM, and a DICOM object must refer to DICOM images; choose another format, such as "
            ".seg.nrrd.",
            path=path,
        )


def read_source(path: Path, series: str | None = None, files: tuple[Path, ...] = ()) -> DicomSource:
    """The images that ``read_volume`` reads with the same arguments.

    Raises:
        InputError: it is no DICOM, or images that objects cannot refer to.
    """
    check_is_dicom(path)
    with _folder_of(path) as folder:
        frames = source_frames(folder, series, files)
        by_place = _in_order(frames)
        paths = list(dict.fromkeys(frame.image.path for frame in by_place))
        images = [_header(file) for file in paths]
    first = by_place[0]
    if first.image.is_film:
        raise InputError(
            "{path} is a film, which no DICOM segmentation can refer to; choose another format, such as .seg.nrrd.",
            path=path,
        )
    for image in images:
        if not image.get("StudyInstanceUID") or not image.get("SeriesInstanceUID") or not image.get("SOPInstanceUID"):
            raise InputError("{path} does not say which study and series it belongs to; export it again.", path=path)
    classes = {str(image.SOPInstanceUID): str(image.get("SOPClassUID", "")) for image in images}
    has_places = all(frame.position is not None and frame.orientation is not None for frame in by_place)
    positions = np.array([frame.position for frame in by_place], float) if has_places else np.empty((0, 3))
    messages = _fill_in(images, has_places)
    orientation = first.orientation if has_places else None
    numbers = tuple(frame.index + 1 for frame in by_place)
    if len(images) == 1 and first.image.is_enhanced:
        _share_orientation(images[0], orientation)
    else:
        of_file = {frame.image.path: frame for frame in reversed(by_place)}
        images = [_as_single(image, of_file[file], first) for image, file in zip(images, paths, strict=True)]
    return DicomSource(tuple(images), positions, orientation, numbers, classes, messages)


@contextmanager
def _folder_of(path: Path) -> Iterator[Path]:
    if not is_dicom_archive(path):
        yield path
        return
    with unpacked(path) as folder:
        yield folder


def _in_order(frames: list[Frame]) -> list[Frame]:
    orientation = frames[0].orientation
    if orientation is None or any(frame.position is None for frame in frames):
        return frames
    normal = np.cross(orientation[:3], orientation[3:])
    return sorted(frames, key=lambda frame: float(normal @ np.asarray(frame.position)))


def _header(path: Path) -> Any:
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        try:
            # Objects that are made of it are written in UTF-8, whatever the images are.
            data.decode()
        except Exception:  # an unknown character set leaves the text as it is
            return data
    return data


def _fill_in(images: list[Any], has_places: bool) -> tuple[Message, ...]:
    from pydicom.uid import generate_uid

    for image in images:
        for keyword in _IDENTIFYING:
            if keyword not in image:
                setattr(image, keyword, "")
    if not has_places or all(image.get("FrameOfReferenceUID") for image in images):
        return ()
    made = generate_uid(entropy_srcs=[str(images[0].SeriesInstanceUID), "frame of reference"])
    for image in images:
        image.FrameOfReferenceUID = made
    return (
        message(
            "The DICOM images do not name their frame of reference, so one was made up; viewers may place the "
            "segmentation by its references to the images only."
        ),
    )


def _share_orientation(image: Any, orientation: tuple[float, ...] | None) -> None:
    """Frames of one volume have one direction, but some write it for each of them."""
    from pydicom.dataset import Dataset

    if "SharedFunctionalGroupsSequence" not in image or not image.SharedFunctionalGroupsSequence:
        image.SharedFunctionalGroupsSequence = [Dataset()]
    shared, own = image.SharedFunctionalGroupsSequence[0], image.PerFrameFunctionalGroupsSequence[0]
    if "PlaneOrientationSequence" not in shared and orientation is not None:
        item = Dataset()
        item.ImageOrientationPatient = [f"{cosine:.9g}" for cosine in orientation]
        shared.PlaneOrientationSequence = [item]
    if "PixelMeasuresSequence" not in shared and "PixelMeasuresSequence" in own:
        shared.PixelMeasuresSequence = own.PixelMeasuresSequence


def _as_single(image: Any, frame: Frame, first: Frame) -> Any:
    """A file as one classic image, which highdicom asks for where there are several, and one direction for all."""
    from pydicom.uid import CTImageStorage

    single = copy.copy(image)
    for keyword in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence", "NumberOfFrames"):
        if keyword in single:
            delattr(single, keyword)
    # Its own class is put in its place again where it is referred to.
    single.SOPClassUID = CTImageStorage
    single.Rows, single.Columns = frame.size
    if frame.position is not None and first.orientation is not None:
        single.ImagePositionPatient = [f"{x:.10g}"[:16] for x in frame.position]
        single.ImageOrientationPatient = [f"{x:.9f}" for x in first.orientation]
        if not single.get("SliceThickness"):
            single.SliceThickness = f"{frame.slice_distance or 1.0:.10g}"
        if frame.spacing:
            single.PixelSpacing = [f"{x:.10g}" for x in frame.spacing]
    return single
