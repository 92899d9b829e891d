"""DICOM files and folders as they come: without preamble, copied, zipped, beside pipes, damaged, hostile."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.read_volume import read_volume
from support.dicom_files import misplaced, places, read_back, series_files, set_pixels, slice_file
from support.images import refused

pytestmark = pytest.mark.usefixtures("nothing_on_the_terminal")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, None])
@pytest.mark.parametrize("suffix", ["", ".dcm", ".ima"])
def test_files_without_preamble(tmp_path: Path, syntax: str | None, suffix: str) -> None:
    def change(data: Dataset) -> None:
        if syntax is not None:
            data.file_meta.TransferSyntaxUID = syntax

    for n, position in enumerate(places(6)):
        slice_file(tmp_path / f"IM{n}{suffix}", position, preamble=False, change=change)
    (tmp_path / "notes.txt").write_text("six slices")
    (tmp_path / "table.csv").write_text("a;b\n1;2\n")
    volume = read_volume(tmp_path)
    assert volume.array.shape[0] == 6
    assert misplaced(volume) < 1
    assert volume.messages == ()
    assert misplaced(read_volume(tmp_path / f"IM0{suffix}")) < 1


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_every_plain_encoding(tmp_path: Path, syntax: UID) -> None:
    def change(data: Dataset) -> None:
        data.file_meta.TransferSyntaxUID = syntax
        if not syntax.is_little_endian:
            data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()

    series_files(tmp_path, places(5), change=change)
    volume = read_volume(tmp_path)
    assert volume.array.shape[0] == 5
    assert misplaced(volume) < 1


def test_one_instance_uid_for_all_is_no_reason_to_drop_any(tmp_path: Path) -> None:
    series_files(tmp_path, places(6), SOPInstanceUID="1.2.3.4")
    volume = read_volume(tmp_path)
    assert volume.array.shape[0] == 6
    assert misplaced(volume) < 1


@pytest.mark.parametrize("uid", ["1.2.3.4", None])
def test_the_same_image_stored_twice_counts_once(tmp_path: Path, uid: str | None) -> None:
    for path in series_files(tmp_path / "a", places(5), **({} if uid is None else {"SOPInstanceUID": uid})):
        (tmp_path / f"copy of {path.name}").write_bytes(path.read_bytes())
    volume = read_volume(tmp_path)
    assert volume.array.shape[0] == 5
    assert misplaced(volume) < 1


def test_other_pixels_under_the_same_uid_and_place_are_another_image(tmp_path: Path) -> None:
    paths = series_files(tmp_path, places(5), SOPInstanceUID="1.2.3.4")
    data = read_back(paths[0])
    set_pixels(data, data.pixel_array + 1)
    data.save_as(tmp_path / "other.dcm")
    refused(tmp_path, "same position")


def test_a_pipe_and_a_socket_beside_the_files_are_passed_over(tmp_path: Path) -> None:
    series_files(tmp_path, places(5))
    os.mkfifo(tmp_path / "pipe.dcm")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as unused:
        here = Path.cwd()
        os.chdir(tmp_path)  # an address of a socket is short
        try:
            unused.bind("socket.dcm")
        finally:
            os.chdir(here)
        (tmp_path / "loop.dcm").symlink_to("loop.dcm")
        (tmp_path / "nowhere.dcm").symlink_to("missing.dcm")
        (tmp_path / "up").symlink_to(tmp_path)
        assert misplaced(read_volume(tmp_path)) < 1


def test_a_folder_of_pipes_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    refused(tmp_path, "no DICOM file")


def test_a_damaged_file_among_others_is_said(tmp_path: Path) -> None:
    series_files(tmp_path, places(5))
    (tmp_path / "broken.dcm").write_bytes(b"\x08\x00\x05\x00CS\xff\xff rubbish" * 4)
    volume = read_volume(tmp_path)
    assert volume.array.shape[0] == 5
    assert volume.messages == ("1 DICOM file could not be read and was left out.",)


def test_a_cut_off_slice_is_named(tmp_path: Path) -> None:
    paths = series_files(tmp_path, places(5))
    paths[2].write_bytes(paths[2].read_bytes()[:-20])
    with pytest.raises(InputError, match="cut off or damaged") as caught:
        read_volume(tmp_path)
    assert paths[2].name in str(caught.value)


# What bites


def nested(depth: int, with_lengths: bool) -> bytes:
    """A sequence in a sequence, and so on."""
    if not with_lengths:
        begin = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
        end = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
        return begin * depth + end * depth
    content = b""
    for _ in range(depth):
        an_item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content
        content = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, len(an_item)) + an_item
    return content


@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize("place", [0x0040A730, 0x52009230])
def test_sequences_nested_without_end_are_refused(tmp_path: Path, with_lengths: bool, place: int) -> None:
    path = slice_file(tmp_path / "nested.dcm", (0, 0, 0))
    content = path.read_bytes()
    pixels = content.index(b"\xe0\x7f\x10\x00")
    bomb = nested(20_000 if not with_lengths else 4_000, with_lengths)
    bomb = struct.pack("<HH", place >> 16, place & 0xFFFF) + bomb[4:]
    path.write_bytes(content[:pixels] + bomb + content[pixels:])
    refused(path, "nested too deeply")


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"Rows": 60000, "Columns": 60000}, ("declares", "bytes of pixels")),
        ({"NumberOfFrames": 2_000_000_000}, ("frames",)),
        ({"NumberOfFrames": 5000}, ("bytes of pixels",)),
        ({"Rows": 0}, ("no DICOM image",)),
        ({"Columns": None}, ("no DICOM image",)),
        ({"BitsAllocated": 24}, ("not known here",)),
        ({"SamplesPerPixel": 7}, ("not known here",)),
        ({"BitsStored": 40}, ("not known here",)),
        ({"HighBit": 3}, ("not known here",)),
        ({"Rows": 3}, ("damaged",)),
        ({"RescaleSlope": 0}, ("rescale slope",)),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, ("broken orientation",)),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, ("broken orientation",)),
        ({"ImagePositionPatient": [1e9, 0, 0]}, ("without size or place",)),
        ({"PixelSpacing": [0, 0]}, ("Pixel Spacing",)),
        ({"PixelSpacing": [2, -1]}, ("Pixel Spacing",)),
        ({"PixelSpacing": [2]}, ("Pixel Spacing",)),
    ],
)
def test_what_a_header_cannot_mean_is_refused(tmp_path: Path, tags: dict, words: tuple[str, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        slice_file(tmp_path / "odd.dcm", (0, 0, 0), **tags)
    refused(tmp_path / "odd.dcm", *words)


def test_a_deflated_bomb_is_refused(tmp_path: Path) -> None:
    import zlib

    import pydicom

    data = read_back(slice_file(tmp_path / "bomb.dcm", (0, 0, 0)))
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(tmp_path / "bomb.dcm", force_encoding=True, implicit_vr=False, little_endian=True)
    content = (tmp_path / "bomb.dcm").read_bytes()
    start = 144 + struct.unpack_from("<I", content, 140)[0]
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(260)) + packer.flush()
    (tmp_path / "bomb.dcm").write_bytes(content[:start] + bomb)
    refused(tmp_path / "bomb.dcm", "far more than its size allows")


# Zipped folders


def zipped(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for path in sorted(folder.rglob("*")):
            target.write(path, path.relative_to(folder))
    return archive


def temporary_folders() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob("medsam3-dicom-*")}


def test_a_zipped_folder_is_read_and_nothing_is_left(tmp_path: Path) -> None:
    before = temporary_folders()
    series_files(tmp_path / "Doe Jane" / "series", places(6))
    (tmp_path / "Doe Jane" / "readme.txt").write_text("from the archive")
    volume = read_volume(zipped(tmp_path / "Doe Jane", tmp_path / "Doe_Jane.zip"))
    assert volume.array.shape[0] == 6
    assert misplaced(volume) < 1
    assert volume.name == "DICOM CT of 6 slices"
    assert temporary_folders() == before


def test_files_without_preamble_are_found_in_a_zipped_folder(tmp_path: Path) -> None:
    for n, position in enumerate(places(4)):
        slice_file(tmp_path / "series" / f"IM{n}", position, preamble=False)
    assert misplaced(read_volume(zipped(tmp_path / "series", tmp_path / "series.zip"))) < 1


def test_no_name_in_an_archive_becomes_a_path(tmp_path: Path) -> None:
    paths = series_files(tmp_path / "series", places(4))
    archive = tmp_path / "in" / "evil.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as target:
        names = ("../../outside.dcm", "/tmp/absolute.dcm", "..\\..\\windows.dcm", "x" * 300 + "/%s%n.dcm")
        for name, path in zip(names, paths, strict=True):
            target.writestr(name, path.read_bytes())
        link = zipfile.ZipInfo("link.dcm")
        link.external_attr = 0o120777 << 16
        target.writestr(link, "/etc/passwd")
    before = sorted(tmp_path.rglob("*"))
    volume = read_volume(archive)
    assert misplaced(volume) < 1
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/absolute.dcm").exists()


def test_archives_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    before = temporary_folders()
    (tmp_path / "notes.txt").write_text("nothing")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as target:
        target.write(tmp_path / "notes.txt", "notes.txt")
    refused(tmp_path / "none.zip", "no DICOM file")
    series_files(tmp_path / "series", places(4))
    content = zipped(tmp_path / "series", tmp_path / "whole.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    refused(tmp_path / "cut.zip", "damaged")
    damaged = bytearray(content)
    damaged[200:260] = bytes(60)
    (tmp_path / "damaged.zip").write_bytes(damaged)
    refused(tmp_path / "damaged.zip")
    locked = bytearray(content)
    for at in [n for n in range(len(locked) - 4) if locked[n : n + 4] in (b"PK\x01\x02", b"PK\x03\x04")]:
        locked[at + (8 if locked[at + 2] == 1 else 6)] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    refused(tmp_path / "locked.zip", "encrypted")
    (tmp_path / "text.zip").write_text("PKno archive")
    refused(tmp_path / "text.zip", "damaged")
    assert temporary_folders() == before


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target,
        target.open("a.dcm", "w", force_zip64=True) as entry,
    ):
        entry.write(bytes(128) + b"DICM")
        for _ in range(520):
            entry.write(bytes(1 << 20))
    refused(tmp_path / "bomb.zip", "far more than its size allows")


def test_an_error_in_an_archive_names_the_archive(tmp_path: Path) -> None:
    paths = series_files(tmp_path / "series", places(4))
    paths[1].write_bytes(paths[1].read_bytes()[:-20])
    text = refused(zipped(tmp_path / "series", tmp_path / "cut.zip"), "cut off")
    assert "medsam3-dicom" not in text
