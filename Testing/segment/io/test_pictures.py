"""Reading pictures: upright, on ITK's grid, and with the colors and bits that they have."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.io.read_volume import read_volume
from support.external_data import SHARED, needs_shared
from support.images import refused

pytestmark = pytest.mark.usefixtures("nothing_on_the_terminal")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pictures_are_upright_and_on_the_grid_that_itk_gives_them(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"picture{suffix}"
    ramp = np.add.outer(np.arange(40) * 3, np.arange(60) * 2).astype(np.uint8)  # dark at the top left
    Image.fromarray(ramp if mode == "L" else np.stack([ramp, ramp // 2, ramp], -1)).save(path, dpi=(72, 72))
    volume = read_volume(path)
    assert volume.array.shape == ((1, 40, 60) if mode == "L" else (1, 40, 60, 3))
    for plane in (Plane.AXIAL, Plane.ACQUIRED):
        stack = SliceStack.along(volume.grid, plane)
        assert (stack.plane, stack.slice_shape) == (Plane.AXIAL, (40, 60))
        shown = stack.extract(volume.array)[0]
        np.testing.assert_array_equal(shown, np.asarray(Image.open(path)))
    itk = SimpleITK.ReadImage(str(path))
    assert volume.grid.spacing[:2] == pytest.approx(itk.GetSpacing())
    assert volume.grid.origin == (0, 0, 0)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("1", (1, 8, 9)),
        ("L", (1, 8, 9)),
        ("LA", (1, 8, 9)),
        ("P", (1, 8, 9, 3)),
        ("RGB", (1, 8, 9, 3)),
        ("RGBA", (1, 8, 9, 3)),
    ],
)
def test_every_kind_of_png(tmp_path: Path, mode: str, expected: tuple[int, ...]) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    picture = Image.fromarray(colors).convert(mode)
    picture.save(tmp_path / "picture.png")
    volume = read_volume(tmp_path / "picture.png")
    assert volume.array.shape == expected
    assert volume.array.dtype == np.uint8
    np.testing.assert_array_equal(volume.array[0], np.asarray(picture.convert("L" if len(expected) == 3 else "RGB")))


def test_a_gray_color_file_is_scalar_and_transparency_is_black(tmp_path: Path) -> None:
    pixels = np.zeros((5, 6, 4), np.uint8)
    pixels[..., :3] = np.arange(30, dtype=np.uint8).reshape(5, 6, 1) + 100
    pixels[..., 3] = 255
    pixels[0, 0, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "gray.png")
    array = read_volume(tmp_path / "gray.png").array
    assert array.shape == (1, 5, 6)
    assert array[0, 0, 0] == 0
    np.testing.assert_array_equal(array.ravel()[1:], np.arange(101, 130))


def test_a_16_bit_picture_keeps_its_bits(tmp_path: Path) -> None:
    pixels = (np.arange(30, dtype=np.uint16) * 2000).reshape(5, 6)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "deep.png").array[0], pixels)


@pytest.mark.parametrize("unit", [0, 1, 2])
def test_a_jpeg_has_the_spacing_that_itk_gives_it(tmp_path: Path, unit: int) -> None:
    path = tmp_path / "picture.jpg"
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(path, dpi=(300, 150))
    content = bytearray(path.read_bytes())
    content[content.index(b"JFIF") + 7] = unit
    path.write_bytes(content)
    assert read_volume(path).grid.spacing[:2] == pytest.approx(SimpleITK.ReadImage(str(path)).GetSpacing())


@pytest.mark.parametrize("kind", ["u2", "i4", "f4"])
def test_a_tiff_keeps_its_bits(tmp_path: Path, kind: str) -> None:
    pixels = (np.arange(30) * 2000).reshape(5, 6).astype(kind)
    Image.fromarray(pixels).save(tmp_path / "deep.tif", dpi=(100, 50))
    volume = read_volume(tmp_path / "deep.tif")
    np.testing.assert_array_equal(volume.array[0], pixels)
    assert volume.array.dtype == np.dtype(kind)
    assert volume.grid.spacing[:2] == pytest.approx((0.254, 0.508))


def test_a_tiff_of_a_kind_that_only_itk_knows(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (5, 6, 3), dtype=np.uint16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(pixels, isVector=True), str(tmp_path / "rgb.tif"))
    refused(tmp_path / "rgb.tif", "3 values per voxel")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".tif"])
@pytest.mark.parametrize("count", [1, 3])
def test_pictures_that_are_cut_off_are_refused_wherever(tmp_path: Path, suffix: str, count: int) -> None:
    if count > 1 and suffix in (".jpg", ".bmp"):
        count = 1
    noise = np.random.default_rng(0).integers(0, 256, (count, 30, 40), dtype=np.uint8)
    pictures = [Image.fromarray(part) for part in noise]
    more = {"save_all": True, "append_images": pictures[1:]} if count > 1 else {}
    pictures[0].save(tmp_path / f"whole{suffix}", **more)
    content = (tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"cut{suffix}"
    for share in (0.02, 0.2, 0.5, 0.8, 0.95):
        path.write_bytes(content[: int(len(content) * share)])
        refused(path)


def test_a_picture_that_declares_more_than_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    for side, words in ((60000, "more pixels than a picture has"), (12000, "cannot hold")):
        size = side.to_bytes(4, "big")
        header = b"IHDR" + size + size + whole[24:29]
        path.write_bytes(whole[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole[33:])
        refused(path, words)


@needs_shared
@pytest.mark.parametrize("name", ["a.tif", "b.gif"])
def test_the_pictures_of_others(name: str) -> None:
    refused(SHARED / "cases/hostile" / name, "check that it is complete")
