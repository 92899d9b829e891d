"""Reading FreeSurfer's MGH and MGZ: the voxels that nibabel reads where it says that they lie."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.io.segmentation import read_segmentation
from support.grids import grids
from support.images import refused

pytestmark = pytest.mark.usefixtures("nothing_on_the_terminal")


@pytest.mark.parametrize("suffix", [".mgh", ".mgz", ".MGZ"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4"])
def test_voxels_and_types(tmp_path: Path, suffix: str, dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    nibabel.MGHImage(array, np.diag([1, 2, 3, 1])).to_filename(tmp_path / "made.mgz")
    content = (tmp_path / "made.mgz").read_bytes()
    (tmp_path / f"a{suffix}").write_bytes(content)
    volume = read_volume(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume.array, array.T)
    assert volume.array.dtype == np.dtype(dtype)
    assert volume.messages == ()
    names = [segment.name for segment in read_segmentation(tmp_path / f"a{suffix}")[0]]
    assert names == [f"Label {n}" for n in range(1, 24)]


@settings(max_examples=40, deadline=None)
@given(grids())
def test_places_are_those_of_nibabel(tmp_path_factory: Any, grid: VoxelGrid) -> None:
    path = tmp_path_factory.mktemp("mgh") / "a.mgz"
    array = np.arange(np.prod(grid.shape), dtype=np.int32).reshape(grid.shape)
    nibabel.MGHImage(array.T, grid.ijk_to_ras).to_filename(path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.grid.same_as(grid, 2e-3)


def test_what_is_not_told_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.mgh"
    nibabel.MGHImage(np.zeros((2, 3, 4), np.float32), np.eye(4)).to_filename(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:28] + b"\0\0" + whole[30:])
    volume = read_volume(path)
    assert "left and right are a guess" in volume.messages[0]
    np.testing.assert_array_equal(volume.grid.directions, [[-1, 0, 0], [0, 0, 1], [0, -1, 0]])
    path.write_bytes(whole[:200])
    refused(path, "not an MGH file")
    path.write_bytes(whole[:300])
    refused(path, "300 of 380 bytes")
    path.write_bytes(whole[:4] + b"\x7f\0\0\0" * 3 + whole[16:])
    refused(path, "truncated")
    path.write_bytes(whole[:30] + b"\0\0\0\0" + whole[34:])
    refused(path, "repair the spacing")
    nibabel.MGHImage(np.zeros((2, 3, 4, 5), np.float32), np.eye(4)).to_filename(path)
    refused(path, "5 volumes")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 120), st.integers(0, 255))
def test_damaged_headers_are_refused_or_read(tmp_path_factory: Any, where: int, value: int) -> None:
    path = tmp_path_factory.mktemp("mgh") / "a.mgh"
    nibabel.MGHImage(np.zeros((2, 3, 4), np.int16), np.eye(4)).to_filename(path)
    content = bytearray(path.read_bytes())
    content[where] = value
    path.write_bytes(content)
    with suppress(InputError):
        assert read_volume(path).array.size > 0
