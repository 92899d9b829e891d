"""Reading volumes: DICOM, NIfTI, NRRD, MHA and pictures, checked and made fit for the engine.

What comes back never has a sheared grid, a value that is not finite, or more than one time point; what had to be done
for that is said in ``Volume.messages``. Writing and reading of segmentations is in ``io.segmentation``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.preprocessing.resampling import perpendicular_grid, straighten
from MedSAM3SegmentLib.volume import Volume

from .dicom.find_files import is_dicom, is_dicom_archive
from .dicom.kinds import modality_of
from .image_sequence import as_film, is_image_sequence, read_image_sequence
from .itk import StoredImage, read_image
from .nifti import NiftiHeader, is_nifti_name, read_nifti_header
from .pictures import PICTURE_SUFFIXES, read_picture
from .read_dicom import read_dicom

_MODALITY = "0008|0060"

#: A perpendicular grid of more than this many times the voxels comes from a broken header, not from a tilted gantry.
_LARGEST_GROWTH = 20


def read_volume(path: str | Path, series: str | None = None, modality: str | None = None) -> Volume:
    """Read an image for segmentation.

    Args:
        path: a DICOM folder, zipped folder or file, a NIfTI, NRRD, MHA or MHD file (or what else ITK reads), a PNG,
            JPEG, BMP or GIF picture, or an image sequence as ``image_sequence`` has it.
        series: which DICOM series is meant, by its UID, its number or a part of its description; None for the only one.
        modality: what kind of image it is (``CT``, ``MR``, ...), for files that do not say it or say a wrong one; None
            for what the file says.

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
    stored = read_stored(path, series)
    if any(key.startswith(("Segment0_", "Segmentation_")) for key in stored.tags):
        raise InputError("{path} is a segmentation, not an image; give the volume that it was drawn on.", path=path)
    modality = stored.tags.get(_MODALITY, "").strip(" \0").upper()
    name = path.name
    if stored.is_sequence:
        name = f"{modality or 'image'} sequence of {stored.grid.shape[0]} frames"
    elif _is_dicom_input(path):
        # Folders are often named after the patient.
        name = f"DICOM {modality} of {stored.grid.shape[0]} slice{'s' if stored.grid.shape[0] > 1 else ''}"
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


def read_stored(path: Path, series: str | None = None) -> StoredImage:
    """The image in ``path`` as it is stored, labels included; its grid may be sheared.

    Args:
        series: as for ``read_volume``.

    Raises:
        InputError: as for ``read_volume``, but for what the voxels mean.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise InputError("{path} does not exist; check the path.", path=path)
    is_sequence = is_image_sequence(path)
    if _is_dicom_input(path) and not is_sequence:
        stored = read_dicom(path, series)
        return as_film(stored) if stored.is_sequence else stored
    if series is not None:
        raise InputError("{path} is not DICOM, which alone holds series; leave the series out.", path=path)
    if is_sequence:
        return read_image_sequence(path)
    if path.stat().st_size == 0:
        raise InputError("{path} is an empty file; copy or export it again.", path=path)
    if is_nifti_name(path):
        return _read_nifti(path)
    if suffix in PICTURE_SUFFIXES:
        return read_picture(path)
    if suffix in (".hdr", ".img"):
        raise InputError("{path} is half of a two-file Analyze or NIfTI image; convert it to .nii.gz.", path=path)
    return read_image(path)


def _is_dicom_input(path: Path) -> bool:
    return path.is_dir() or is_dicom(path) or is_dicom_archive(path)


def _read_nifti(path: Path) -> StoredImage:
    header = read_nifti_header(path)
    stored = read_image(path, "NiftiImageIO", sheared_nifti=header.qform_code == 0)
    grid, messages = _nifti_grid(stored.grid, header)
    return replace(stored, grid=grid, messages=messages)


def _nifti_grid(itk: VoxelGrid, header: NiftiHeader) -> tuple[VoxelGrid, tuple[Message, ...]]:
    """The grid that a NIfTI header means, where ITK has to choose between two transforms or bend one.

    ITK's choice is kept, because Slicer shows the image by it, unless ITK straightened the very transform that counts.
    """
    if not header.sform_code:
        if header.qform_code:
            return itk, ()
        return itk, (message("The NIfTI header does not say how the patient lies, so left and right are a guess."),)
    sform = VoxelGrid(itk.shape, header.sform)
    if sform.same_as(itk, tolerance_mm=0.1 * min(itk.spacing)):
        return itk, ()
    # A qform cannot hold shear. One with the same code means the same space, only less exactly; and code 1 (scanner)
    # is the sform that ITK itself would have taken.
    same_space = header.qform_code in (0, header.sform_code) or header.sform_code == 1
    if header.qform_code == 0 or (same_space and sform.is_sheared):
        return sform, ()
    return itk, (message("The NIfTI header holds two different orientations; its qform was used, as 3D Slicer does."),)


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
