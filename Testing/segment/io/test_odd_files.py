"""Files with odd names and files that are none: read, or refused in one sentence, and never waited for."""

from __future__ import annotations

import json
import os
import socket
import sys
import tarfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.io.segmentation import read_segmentation, write_segmentation
from support.external_data import SHARED, needs_shared
from support.images import refused
from support.text_headers import meta_text, nrrd_text

pytestmark = [
    pytest.mark.usefixtures("nothing_on_the_terminal"),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither such names nor such files"),
]

ARRAY = np.arange(60, dtype="<i2").reshape(3, 4, 5)
LATIN = b"M\xfcller"
GRID = VoxelGrid((3, 4, 5), np.diag([2.0, 3, 4, 1]))


def save(suffix: str, path: Path, plain_folder: Path) -> None:
    """``ARRAY`` under a name that no library but Python's own takes; ``plain_folder`` has a plain one."""
    if suffix in (".nii", ".nii.gz"):
        content = nibabel.Nifti1Image(ARRAY.T, np.eye(4)).to_bytes()
    elif suffix == ".nrrd":
        content = nrrd_text(ARRAY, "raw") + b"\n" + ARRAY.tobytes()
    elif suffix == ".mha":
        content = meta_text(ARRAY) + b"ElementDataFile = LOCAL\n" + ARRAY.tobytes()
    else:
        plain = plain_folder / f"plain{suffix}"
        if suffix in (".png", ".tif", ".gif"):
            Image.fromarray(ARRAY[0].astype(np.uint8)).save(plain)
        else:
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(ARRAY), str(plain))
        content = plain.read_bytes()
        plain.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tif", ".gif", ".gipl", ".vtk"])
@pytest.mark.parametrize("in_folder", [True, False])
def test_names_that_are_not_utf_8(tmp_path: Path, suffix: str, in_folder: bool) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + LATIN)) if in_folder else tmp_path
    folder.mkdir(exist_ok=True)
    path = folder / ("a" + suffix if in_folder else os.fsdecode(LATIN) + suffix)
    save(suffix, path, tmp_path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, ARRAY if volume.array.shape == ARRAY.shape else ARRAY[:1])
    volume.name.encode("utf-8")
    assert in_folder or volume.name == f"M?ller{suffix}"
    path.write_bytes(path.read_bytes()[: 40 if suffix == ".png" else 60])
    with pytest.raises(InputError) as caught:
        read_volume(path)
    assert "M?ller" in str(caught.value).encode("utf-8").decode()


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".seg.nrrd"])
def test_outputs_whose_names_are_not_utf_8(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / (os.fsdecode(LATIN) + suffix)
    mask = ARRAY > 30
    write_segmentation(path, [Segment("liver", mask, (1, 0, 0))], GRID, {"model": "demo"})
    (segment,), grid = read_segmentation(path)
    assert np.array_equal(segment.mask, mask)
    assert segment.name == "liver"
    assert grid.same_as(GRID)
    if suffix != ".seg.nrrd":
        names = tmp_path / (os.fsdecode(LATIN) + ".labels.json")
        assert json.loads(names.read_text(encoding="utf-8"))["labels"] == {"1": "liver"}


@needs_shared
def test_the_archive_of_others(tmp_path: Path) -> None:
    with tarfile.open(SHARED / "cases/file-name-not-utf8/latin1-name.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    (path,) = (file for file in tmp_path.rglob("*") if file.is_file())
    assert read_volume(path).array.size > 1


@pytest.mark.parametrize("name", ["scan", "scan.nii.gz", "scan.nrrd", "scan.mha", "scan.dcm", "scan.png", "scan.tif"])
def test_pipes_and_sockets_are_not_waited_for(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / name)
    refused(tmp_path / name, "a pipe, a socket or a device")
    with pytest.raises(InputError, match="a pipe, a socket or a device"):
        read_segmentation(tmp_path / name)
    (tmp_path / name).unlink()
    with socket.socket(socket.AF_UNIX) as made:
        # The name of a socket may not be long.
        monkeypatch.chdir(tmp_path)
        made.bind(name)
        refused(tmp_path / name, "a pipe, a socket or a device")


def test_devices_are_not_read() -> None:
    refused(Path("/dev/zero"), "a pipe, a socket or a device")


def test_a_pipe_in_the_place_of_voxels_or_names(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "voxels.raw")
    (tmp_path / "a.nhdr").write_bytes(nrrd_text(ARRAY, "raw", "data file: voxels.raw"))
    (tmp_path / "a.mhd").write_bytes(meta_text(ARRAY, "ElementDataFile = voxels.raw"))
    for name in ("a.nhdr", "a.mhd"):
        with pytest.raises(InputError, match="a pipe, a socket or a device"):
            read_volume(tmp_path / name)
    pair = nibabel.Nifti1Pair(ARRAY.T, np.eye(4))
    pair.to_filename(tmp_path / "p.hdr")
    (tmp_path / "p.img").unlink()
    os.mkfifo(tmp_path / "p.img")
    with pytest.raises(InputError, match="a pipe, a socket or a device"):
        read_volume(tmp_path / "p.hdr")


def test_a_pipe_among_the_frames_of_a_folder(tmp_path: Path) -> None:
    for n in range(3):
        Image.fromarray(ARRAY[n].astype(np.uint8)).save(tmp_path / f"{n}.png")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    np.testing.assert_array_equal(read_volume(tmp_path).array, ARRAY)
