"""Reading pictures: upright, on ITK's grid, and with the colors and bits that they have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.io.read_volume import read_volume

pytestmark = pytest.mark.usefixtures("nothing_on_the_terminal")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
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
