"""Studies of phantoms as DICOM, and ways in which a study is bad; for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.uid import CTImageStorage, generate_uid

from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.synthetic.phantom import Contrast, make_phantom, tilted_grid
from MedSAM3SegmentLib.volume import Volume

from .dicom_files import data_set, save, set_pixels

#: Of the small volumes.
GRID = tilted_grid((10, 24, 20), (14.0, 15.0, 18.0), (4.0, -3.0, 5.0))


def write_study(folder: Path, seed: int, grid: VoxelGrid = GRID, name: str = "Doe^Jane", **tags: object) -> Volume:
    """A synthetic CT abdomen as a series of classic slices; what is stored is returned."""
    phantom = make_phantom(seed, grid, Contrast.CT)
    volume = Volume(np.rint(phantom.volume.array).astype(np.int16), grid, "CT")
    write_series(folder, volume, name=name, **tags)
    return volume


def write_series(folder: Path, volume: Volume, name: str = "Doe^Jane", uid: str = "", **tags: object) -> list[Path]:
    """A volume as a series of classic slices along k; paths in the order of k."""
    study, series, frame = (generate_uid(entropy_srcs=[str(folder), part]) for part in ("study", "series", "frame"))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.grid.ijk_to_ras
    spacing = volume.grid.spacing
    across, down = lps[:3, 0] / spacing[0], lps[:3, 1] / spacing[1]
    paths = []
    for k, picture in enumerate(volume.array):
        data = data_set(CTImageStorage, "CT", PatientName=name, SeriesDescription="Abdomen venous")
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, uid or series, frame
        data.SOPInstanceUID = generate_uid(entropy_srcs=[str(folder), str(k)])
        data.InstanceNumber, data.SliceThickness = k + 1, f"{spacing[2]:.10g}"
        data.StudyDate, data.StudyTime, data.AccessionNumber, data.StudyID = "20260101", "120000", "", "1"
        data.PatientBirthDate, data.PatientSex, data.ReferringPhysicianName = "19700101", "F", ""
        data.PixelSpacing = [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"]
        data.ImagePositionPatient = [f"{x:.10g}"[:16] for x in lps[:3, 3] + k * lps[:3, 2]]
        data.ImageOrientationPatient = [f"{x:.9f}" for x in (*across, *down)]
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        set_pixels(data, picture.astype(np.int32) + 1024)
        for keyword, value in tags.items():
            setattr(data, keyword, value)
        # Names of files in no order of their places.
        paths.append(save(data, folder / f"{(k * 7 + 3) % 101:03d}.dcm"))
    return paths


def _cut_off_pixels(files: list[Path]) -> None:
    files[4].write_bytes(files[4].read_bytes()[:-200])


def _no_dicom_inside(files: list[Path]) -> None:
    for file in files:
        file.write_bytes(b"not what the name says")


def _slices_missing(files: list[Path]) -> None:
    for file in files[2:-2]:
        file.unlink()


def _empty_files(files: list[Path]) -> None:
    for file in files:
        file.write_bytes(b"")


def _two_at_one_place(files: list[Path]) -> None:
    import pydicom

    for file in files:
        data = pydicom.dcmread(file)
        data.SOPInstanceUID = generate_uid()
        data.PixelData = bytes(len(data.PixelData))
        data.save_as(file.with_name(f"again-{file.name}"))


#: What can be wrong with a study.
BAD: tuple[Callable[[list[Path]], None], ...] = (
    _cut_off_pixels,
    _no_dicom_inside,
    _slices_missing,
    _empty_files,
    _two_at_one_place,
)


def write_studies(root: Path, good: int, bad: int = 0) -> list[Path]:
    """Folders of studies, each called after a patient; the bad ones are spread among the good ones."""
    count = good + bad
    every = count // bad if bad else count + 1
    folders = []
    for n in range(count):
        folder = root / f"MUELLER_Anna_{n:02d}" / "ct"
        write_study(folder, seed=n, name=f"Mueller^Anna {n}", PatientID=f"geheim{n}")
        number = (n + 1) // every - 1
        if bad and (n + 1) % every == 0 and number < bad:
            BAD[number % len(BAD)](sorted(folder.iterdir(), key=_instance_number))
        folders.append(folder)
    return folders


def _instance_number(path: Path) -> int:
    import pydicom

    return int(pydicom.dcmread(path, stop_before_pixels=True).InstanceNumber)
