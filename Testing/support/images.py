"""Image files of every format with known voxels at known places, and reading them; for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from scipy.ndimage import map_coordinates

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.itk import LPS_TO_RAS
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.volume import Volume

Array = np.ndarray[Any, Any]


def sample(volume: Volume, ras: Array) -> Array:
    """Intensities of ``volume`` at RAS positions ``[n, 3]``, trilinear."""
    inverse = np.linalg.inv(volume.grid.ijk_to_ras)
    ijk = ras @ inverse[:3, :3].T + inverse[:3, 3]
    return map_coordinates(volume.array.astype(float), ijk.T[::-1], order=1, mode="nearest")


def refused(path: Path, *words: str) -> str:
    """The one sentence that ``path`` is refused with; it names the file and holds ``words``."""
    with pytest.raises(InputError) as caught:
        read_volume(path)
    text = str(caught.value)
    assert str(path) in text
    assert text.endswith(".")
    assert "\n" not in text
    for word in words:
        assert word in text
    assert caught.value.__cause__ is None
    return text


def write_nifti(
    path: Path, array: Array, sform: Array | None, qform: Array | None = None, codes: tuple = (1, 1)
) -> None:
    """``array`` ``[i, j, k]`` with exactly these transforms and codes (qform, sform)."""
    image = nibabel.Nifti1Image(array, sform if sform is not None else qform)
    image.set_sform(sform, codes[1] if sform is not None else 0)
    image.set_qform(qform, codes[0] if qform is not None else 0)
    image.to_filename(path)


def smooth(shape: tuple[int, int, int]) -> Array:
    """Intensities that trilinear interpolation keeps: linear along every index."""
    i, j, k = np.indices(shape)
    return (100 + 7 * i - 5 * j + 11 * k).astype(np.float32)


#: 4x4 from IJK to RAS whose axes are not perpendicular.
SHEARED = np.array([[1.0, 0.1, 0.0, -20], [0.0, 1.4, 0.6, 30], [0.0, 0.0, 2.0, 40], [0, 0, 0, 1]])


def write_mha(path: Path, array: Array, is_vector: bool = False) -> Path:
    """``array`` ``[k, j, i]`` or ``[k, j, i, component]`` as a file; its path is returned."""
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=is_vector), str(path))
    return path


def write_dicom(path: Path, pixels: Array, position: tuple = (0.0, 0.0, 0.0), **tags: Any) -> None:
    """One slice with a patient's name in it; ``tags`` by pydicom's keywords."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = tags.pop("SOPInstanceUID", None) or pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data = pydicom.dataset.Dataset()
    data.file_meta = meta
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.PatientName = "Doe^Jane"
    data.PatientID = "4711"
    data.SeriesInstanceUID = "1.2.3"
    data.StudyInstanceUID = "1.2"
    data.Modality = "CT"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Rows, data.Columns = pixels.shape
    data.PixelSpacing = [0.5, 0.25]
    data.SliceThickness = 5
    data.ImagePositionPatient = [round(x, 6) for x in position]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit = 15
    data.PixelRepresentation = 1
    data.RescaleSlope, data.RescaleIntercept = 1, -1000
    data.PixelData = pixels.astype("<i2").tobytes()
    for key, value in tags.items():
        if value is None:
            delattr(data, key)
        else:
            setattr(data, key, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def write_series(folder: Path, heights: Any, lean: float = 0.0, **tags: Any) -> Array:
    """Slices at ``heights``, shifted backwards by ``lean`` mm per mm, files in no order; their HU ``[k, j, i]``."""
    stack = np.stack([smooth((6, 8, 1))[..., 0].T + 20 * z for z in heights]).astype(np.int16)
    for n, z in enumerate(heights):
        name = f"{(n * 7) % len(heights):03d}.dcm"
        write_dicom(folder / name, stack[n] + 1000, (-30.0, -40.0 + lean * z, z), **tags)
    return stack


def image_on_grid(array: Array, grid: VoxelGrid) -> SimpleITK.Image:
    """The ITK image of scalar ``array`` ``[k, j, i]`` on ``grid``."""
    image = SimpleITK.GetImageFromArray(array)
    lps = LPS_TO_RAS @ grid.ijk_to_ras
    image.SetSpacing(grid.spacing)
    image.SetOrigin(tuple(lps[:3, 3].tolist()))
    image.SetDirection(tuple((lps[:3, :3] / np.asarray(grid.spacing)).ravel().tolist()))
    return image
