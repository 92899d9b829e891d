"""Reading volumes: DICOM, NIfTI, MGH, NRRD, MHA and pictures, checked and made fit for the engine.

What comes back never has a sheared grid, a value that is not finite, or more than one time point; what had to be done
for that is said in ``Volume.messages``. Writing and reading of segmentations is in ``io.segmentation``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.preprocessing.resampling import perpendicular_grid, straighten
from MedSAM3SegmentLib.units import format_count
from MedSAM3SegmentLib.volume import Volume

from .dicom.find_files import is_dicom, is_dicom_archive
from .dicom.kinds import modality_of
from .formats.metaimage import is_metaimage, read_metaimage
from .formats.mgh import is_mgh, read_mgh
from .formats.nifti import is_nifti, read_nifti
from .formats.nrrd import is_nrrd, read_nrrd
from .formats.pictures import PICTURE_SUFFIXES, TIFF_SUFFIXES, read_picture, read_tiff
from .image_sequence import as_film, is_image_sequence, read_image_sequence
from .itk import StoredImage, read_image_isolated
from .read_dicom import read_dicom

_MODALITY = "0008|0060"

#: A perpendicular grid of more than this many times the voxels comes from a broken header, not from a tilted gantry.
_LARGEST_GROWTH = 20


def read_volume(
    path: str | Path, series: str | None = None, modality: str | None = None, files: Sequence[Path] = ()
) -> Volume:
    """Read an image for segmentation.

    Args:
        path: a DICOM folder, zipped folder or file, a NIfTI, MGH, NRRD, MHA or MHD file, an Analyze pair (or what else
            ITK reads), a PNG, JPEG, BMP, GIF or TIFF picture, or an image sequence as ``image_sequence`` has it.
        series: which DICOM series is meant, by its UID, its number or a part of its description; None for the only one.
        modality: what kind of image it is (``CT``, ``MR``, ...), for files that do not say it or say a wrong one; None
            for what the file says.
        files: those of a DICOM folder that are read; empty for all.

    Returns:
        The volume, RAS grid, voxels in the file's own unit and dtype. A picture is one axial slice, upright as stored;
        color is uint8, and a color file without any color in it becomes scalar. A file without DICOM tags has no
        modality. The name is the file's, for DICOM the modality and number of slices.

    Raises:
        InputError: the file is missing, damaged, empty, of an unknown kind, not an image, complex, or 4D; the series is
            not there or not clear; the modality is none.
    """
    path = Path(path)
    given = None if modality is None else modality_of(modality)
    stored = read_stored(path, series, files)
    if any(key.startswith(("Segment0_", "Segmentation_")) for key in stored.tags):
        raise InputError("{path} is a segmentation, not an image; give the volume that it was drawn on.", path=path)
    modality = stored.tags.get(_MODALITY, "").strip(" \0").upper()
    # Bytes of a name that are not UTF-8 would stop whoever writes it.
    name = path.name.encode("utf-8", "replace").decode("utf-8")
    if stored.is_sequence:
        name = f"{modality or 'image'} sequence of {format_count(stored.grid.shape[0], 'frame')}"
    elif _is_dicom_input(path):
        # Folders are often named after the patient.
        name = f"DICOM {modality} of {format_count(stored.grid.shape[0], 'slice')}"
    array = _scalar_or_color(stored.array, path)
    array, messages = _finite(array, path)
    grid = stored.grid
    if grid.is_sheared:
        if np.prod(perpendicular_grid(grid).shape, dtype=float) > _LARGEST_GROWTH * array.size:
            raise InputError(
                "{path} has voxel axes that are nearly parallel; repair the orientation in its header.", path=path
            )
        array, grid = straighten(array, grid)
        messages += (
            message(
                "The voxel axes are not perpendicular (a sheared or gantry-tilted grid), so the volume was resampled "
                "onto a perpendicular grid of {size} voxels.",
                size=" x ".join(map(str, grid.shape[::-1])),
            ),
        )
    if array.size and array.min() == array.max():
        messages += (
            message("Every voxel has the same value, {value}, so there is nothing to see.", value=str(array.flat[0])),
        )
    if given is not None:
        if modality not in ("", given):
            said = message("The file says that it is {stored}; it was taken for {given}.", stored=modality, given=given)
            messages += (said,)
        modality = given
    return Volume(array, grid, modality, name, stored.messages + messages, stored.is_sequence)


def check_is_file(path: Path) -> None:
    """Make sure that ``path`` is a file or a folder, before something opens it and waits for whoever fills a pipe.

    Raises:
        InputError: it is neither.
    """
    if not path.exists():
        raise InputError("{path} does not exist; check the path.", path=path)
    if not path.is_dir() and not path.is_file():
        raise InputError("{path} is a pipe, a socket or a device and not a file; give an image file.", path=path)


def read_stored(path: Path, series: str | None = None, files: Sequence[Path] = ()) -> StoredImage:
    """The image in ``path`` as it is stored, labels included; its grid may be sheared.

    Args:
        series, files: as for ``read_volume``.

    Raises:
        InputError: as for ``read_volume``, but for what the voxels mean.
    """
    suffix = path.suffix.lower()
    check_is_file(path)
    is_sequence = not files and is_image_sequence(path)
    if _is_dicom_input(path) and not is_sequence:
        stored = read_dicom(path, series, files)
        return as_film(stored) if stored.is_sequence else stored
    if series is not None:
        raise InputError("{path} is not DICOM, which alone holds series; leave the series out.", path=path)
    if is_sequence:
        return read_image_sequence(path)
    if path.stat().st_size == 0:
        raise InputError("{path} is an empty file; copy or export it again.", path=path)
    if suffix in PICTURE_SUFFIXES:
        return read_picture(path)
    if is_mgh(path):
        return read_mgh(path)
    if is_nrrd(path):
        return read_nrrd(path)
    if is_metaimage(path):
        return read_metaimage(path)
    if is_nifti(path):
        return read_nifti(path)
    if suffix in TIFF_SUFFIXES:
        return read_tiff(path)
    return read_image_isolated(path)


def _is_dicom_input(path: Path) -> bool:
    return path.is_dir() or is_dicom(path) or is_dicom_archive(path)


def _scalar_or_color(array: NDArray[Any], path: Path) -> NDArray[Any]:
    if array.ndim == 3:
        return array
    components = array.shape[3]
    if array.dtype != np.uint8 or components not in (3, 4):
        raise InputError(
            "{path} has {components} values per voxel and is not a colour image; extract one and give that.",
            path=path,
            components=components,
        )
    array = array[..., :3]
    if (array == array[..., :1]).all():
        return np.ascontiguousarray(array[..., 0])
    return np.ascontiguousarray(array)


def _finite(array: NDArray[Any], path: Path) -> tuple[NDArray[Any], tuple[Message, ...]]:
    """``array`` with its minimum where it was not finite, which is black in every window."""
    if array.dtype.kind != "f":
        return array, ()
    finite = np.isfinite(array)
    bad = int(array.size - np.count_nonzero(finite))
    if not bad:
        return array, ()
    if bad == array.size:
        raise InputError("{path} holds no finite voxel, only NaN or infinity; export it again.", path=path)
    array = np.where(finite, array, array[finite].min())
    said = message("{bad} of {count} voxels are NaN or infinite and are treated as black.", bad=bad, count=array.size)
    return array, (said,)
