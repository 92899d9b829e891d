"""What is not an image, or only half of one, is refused in one sentence that names it."""

from __future__ import annotations

import gzip
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.read_volume import read_volume
from support.images import refused, smooth, write_dicom, write_mha, write_nifti

pytestmark = pytest.mark.usefixtures("nothing_on_the_terminal")


def damaged(folder: Path, name: str) -> Path:
    """A file that is cut off in the middle of its voxels, or is not what its name says."""
    path = folder / name
    kind, suffix = name.split(".", 1)
    whole = folder / f"whole.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (40, 50, 60), dtype=np.uint8)
    if kind in ("text", "nothing"):
        path.write_text("hello" if kind == "text" else "")
        return path
    if suffix.startswith("nii"):
        nibabel.Nifti1Image(noise, np.eye(4)).to_filename(whole)
    elif suffix in ("png", "jpg"):
        Image.fromarray(np.stack([noise[0]] * 3, axis=-1)).save(whole)
    elif suffix == "dcm":
        write_dicom(whole, noise[0].astype(np.int16))
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise), str(whole), useCompression=True)
    content = whole.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


@pytest.mark.parametrize("kind", ["text", "nothing", "cut"])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha", "png", "jpg", "dcm"])
def test_damaged_files_are_refused(tmp_path: Path, kind: str, suffix: str) -> None:
    refused(damaged(tmp_path, f"{kind}.{suffix}"))


def test_a_file_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    refused(damaged(tmp_path, "text.unheard-of"), "DICOM, NIfTI, NRRD")


def test_a_nifti_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.nii.gz"
    noise = np.random.default_rng(0).integers(0, 255, (40, 50, 60), dtype=np.uint8)
    nibabel.Nifti1Image(noise, np.eye(4)).to_filename(path)
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)
    refused(path, "damaged")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e30])
def test_a_broken_orientation_is_refused(tmp_path: Path, value: float) -> None:
    path = tmp_path / "broken.nii"
    nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)).to_filename(path)
    content = bytearray(path.read_bytes())
    content[300:304] = struct.pack("<f", value)  # srow_y[1]
    path.write_bytes(content)
    refused(path, "broken orientation")


def test_nearly_parallel_axes_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    affine = np.array([[1, 5000, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    write_nifti(tmp_path / "parallel.nii", smooth((50, 50, 5)), affine)
    refused(tmp_path / "parallel.nii", "nearly parallel")


def test_header_keys_that_are_not_text_are_passed_over(tmp_path: Path) -> None:
    path = write_mha(tmp_path / "keys.mha", np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    path.write_bytes(path.read_bytes().replace(b"AnatomicalOrientation", b"Anatomic\xffOrientation", 1))
    assert read_volume(path).array[1, 2, 3] == 23


def test_what_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "missing.nii.gz", "does not exist")
    folder = tmp_path / "folder"
    folder.mkdir()
    refused(folder, "no DICOM")
    (folder / "notes.txt").write_text("nothing here")
    refused(folder, "no DICOM")

    whole = tmp_path / "whole.nii"
    nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)).to_filename(whole)
    header = bytearray(whole.read_bytes())
    header[46:48] = struct.pack("<h", 0)  # no slices
    (tmp_path / "empty.nii").write_bytes(header)
    refused(tmp_path / "empty.nii", "empty", "3 x 4 x 0")


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=600), st.sampled_from([".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".dcm"]))
def test_no_rubbish_gets_past_the_reader(tmp_path_factory: Any, content: bytes, suffix: str) -> None:
    path = tmp_path_factory.mktemp("rubbish") / f"rubbish{suffix}"
    path.write_bytes(content)
    refused(path)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 347), st.integers(0, 255), st.booleans())
def test_a_damaged_nifti_header_is_refused_or_read_but_never_crashes(
    tmp_path_factory: Any, where: int, value: int, packed: bool
) -> None:
    folder = tmp_path_factory.mktemp("header")
    path = folder / ("damaged.nii.gz" if packed else "damaged.nii")
    whole = folder / "whole.nii"
    nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)).to_filename(whole)
    content = bytearray(whole.read_bytes())
    content[where] = value
    path.write_bytes(gzip.compress(content) if packed else content)
    with suppress(InputError):
        assert read_volume(path).array.size > 0
