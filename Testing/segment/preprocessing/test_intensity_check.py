"""Values that no window is for: CT not in HU, MR taken for CT and the reverse; and nothing is said of what is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.preprocessing.intensity_check import check_intensities
from MedSAM3SegmentLib.synthetic.phantom import make_phantom, tilted_grid
from MedSAM3SegmentLib.volume import Volume
from support.external_data import DATA, SHARED, needs_shared

CASES = SHARED / "cases" / "ct-not-in-hu"

CT_FILES = ["ct_abdomen/ct.nii.gz", "ct_dicom/series", "ct_dicom_seg/series", "ct_vertebra/ct.nii.gz"]
HEAD = "geometry/sheared_head_ct.nii.gz"
MR_FILES = ["mr_abdomen/mr.nii.gz", "mr_spinal_cord/t2s.nii.gz", "mr_breast/mr.nrrd"]

RNG = np.random.default_rng(0)


def volume_of(array: np.ndarray, modality: str = "") -> Volume:
    return Volume(array, VoxelGrid(array.shape[:3], np.eye(4)), modality)


def trunk(air: float = -1000, noise: float = 12) -> np.ndarray:
    """Air, fat, soft tissue, bone and lung in the shares of a trunk, int16 in HU."""
    kinds = RNG.choice([air, -100, 50, 400, -850], (12, 40, 40), p=[0.4, 0.15, 0.3, 0.05, 0.1])
    return (kinds + RNG.normal(0, noise, kinds.shape)).astype(np.int16)


def said_of(array: np.ndarray, modality: str = "CT") -> str:
    return " ".join(check_intensities(volume_of(array, modality)))


# Nothing is said of what is right -------------------------------------------------------------------------------------


@needs_shared
@pytest.mark.parametrize("name", [*CT_FILES, HEAD, *MR_FILES])
def test_real_images_are_what_they_are(name):
    volume = read_volume(DATA / name)
    assert check_intensities(volume) == ()
    if name not in MR_FILES:
        assert check_intensities(replace(volume, modality="CT")) == ()
    elif volume.array.dtype != np.uint8:
        assert check_intensities(replace(volume, modality="MR")) == ()


@needs_shared
@pytest.mark.parametrize("name", CT_FILES)
@pytest.mark.parametrize("modality", ["", "CT"])
def test_a_small_field_of_a_real_ct_is_one_too(name, modality):
    array = read_volume(DATA / name).array
    middle = tuple(length // 2 for length in array.shape)
    for share in (2, 3, 4):
        parts = tuple(
            slice(m - max(4, n // share // 2), m + max(4, n // share // 2))
            for m, n in zip(middle, array.shape, strict=True)
        )
        assert said_of(array[parts], modality) == ""


@pytest.mark.parametrize("modality", ["", "CT"])
@pytest.mark.parametrize(
    "change",
    [
        lambda a: a,
        lambda a: np.where(RNG.random(a.shape) < 0.2, -2000, a),  # padding, as GE has it
        lambda a: np.where(RNG.random(a.shape) < 0.2, -3024, a),  # as Philips and Siemens have it
        lambda a: np.where(RNG.random(a.shape) < 0.01, 30000, a),  # metal
        lambda a: np.where(RNG.random(a.shape) < 0.1, 350, a),  # contrast
        lambda a: np.clip(a, -1024, 3071),
        lambda a: a + 80,  # CBCT
        lambda a: a.astype(np.float32) * 1.001 + 0.3,
    ],
)
def test_a_ct_is_one_whatever_is_in_it(change: Callable[[np.ndarray], np.ndarray], modality: str):
    assert said_of(change(trunk()).astype(np.float32), modality) == ""


def test_a_head_of_a_child_a_liver_and_air_alone_are_ct():
    head = np.where(RNG.random((12, 40, 40)) < 0.8, RNG.normal(28, 6, (12, 40, 40)), RNG.normal(500, 90, (12, 40, 40)))
    head[:, :8] = -1000
    liver = RNG.normal(110, 15, (12, 40, 40))
    air = np.full((12, 40, 40), -1000.0)
    noisy = air + RNG.normal(0, 10, air.shape)
    for array in (head, liver, air, noisy):
        assert said_of(array.astype(np.int16)) == ""


@pytest.mark.parametrize("seed", range(4))
def test_synthetic_abdomens_are_what_they_are(seed):
    assert check_intensities(make_phantom(seed, tilted_grid((20, 48, 48), (7.5, 7.5, 9.0))).volume) == ()


@pytest.mark.parametrize("modality", ["US", "PT", "NM", "OT"])
def test_other_images_are_not_looked_at(modality):
    assert said_of(trunk() + 1024, modality) == ""


def test_an_mr_of_any_scale_is_one():
    tissues = RNG.choice([5, 300, 700, 1000, 1300], (12, 40, 40), p=[0.4, 0.15, 0.2, 0.15, 0.1])
    mr = np.abs(tissues * RNG.normal(1, 0.15, tissues.shape))
    for scale in (0.001, 0.2, 1.0, 3.0):
        for modality in ("", "MR"):
            assert said_of(mr * scale, modality) == ""


# What is wrong is said, with what to give -----------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["", "CT"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32])
def test_a_ct_without_rescale_is_noticed(modality, dtype):
    array = np.clip(trunk() + 1024, 0, 4095).astype(dtype)
    assert "CT with 1024 added" in said_of(array, modality)
    assert "--window 864,1264" in said_of(array, modality)
    padded = np.where(RNG.random(array.shape) < 0.2, -2000, array.astype(np.float32))
    assert "CT with 1024 added" in said_of(padded, modality)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: (a - a.min()) / np.ptp(a),
        lambda a: 2 * (a - a.min()) / np.ptp(a) - 1,
        lambda a: 255 * (a - a.min()) / np.ptp(a),
        lambda a: np.clip((a + 160) / 400, 0, 1),
        lambda a: np.clip((a + 160) / 400 * 255, 0, 255),
        lambda a: (a - a.mean()) / a.std(),
        lambda a: 1000 * (a - a.min()) / np.ptp(a),
        lambda a: (a + 32768).astype(np.uint16),
        lambda a: a - 2500,
    ],
)
def test_a_normalised_ct_is_noticed(change: Callable[[np.ndarray], np.ndarray]):
    said = said_of(change(trunk().astype(np.float64)))
    assert "do not look like Hounsfield units" in said
    assert "--window" in said
    assert "--modality" in said


@needs_shared
@pytest.mark.parametrize("name", CT_FILES)
@pytest.mark.parametrize(
    "change",
    [
        lambda a: a + 1024,
        lambda a: (a - a.min()) / np.ptp(a),
        lambda a: 255 * (a - a.min()) / np.ptp(a),
        lambda a: np.clip((a + 160) / 400, 0, 1),
        lambda a: np.clip(a, -160, 240),
    ],
)
def test_real_ct_that_was_changed_is_noticed(name: str, change: Callable[[np.ndarray], np.ndarray]):
    said = said_of(change(read_volume(DATA / name).array.astype(np.float64)))
    assert "Hounsfield units" in said or "were cut off at -160" in said


def test_a_ct_that_was_cut_off_is_noticed():
    assert "cut off at -160 and 240 HU" in said_of(np.clip(trunk(), -160, 240))
    assert "cut off at -200 HU" in said_of(np.clip(trunk(), -200, 3000))
    assert said_of(np.clip(trunk(), -1000, 1000)) == ""


def test_an_8_bit_ct_is_told_so():
    assert "8-bit values" in said_of(np.clip(trunk() // 8 + 128, 0, 255).astype(np.uint8))


def test_an_mr_that_is_called_a_ct_is_noticed_and_the_reverse():
    mr = np.abs(RNG.normal(400, 200, (12, 40, 40))).astype(np.int16)
    assert "--modality if it is no CT" in said_of(mr, "CT")
    phase = RNG.uniform(-4096, 4095, (12, 40, 40)).astype(np.int16)
    assert "taken for a CT because it has values below -500" in said_of(phase, "")
    assert "do not look like" in said_of(phase, "CT")
    assert said_of(phase, "MR") == ""
    assert "said to be MR" in said_of(trunk(), "MR")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 1, 1), np.int16),
        np.zeros((0, 4, 4), np.int16),
        np.full((12, 40, 40), np.nan),
        np.full((12, 40, 40), -1000, np.int16),
        np.where(RNG.random((12, 40, 40)) < 0.5, np.nan, np.inf),
        np.zeros((4, 40, 40, 3), np.uint8),
    ],
)
@pytest.mark.parametrize("modality", ["", "CT", "MR"])
def test_what_has_no_values_to_tell_from_is_left_alone(array, modality):
    assert said_of(array, modality) == ""


@pytest.mark.skipif(not CASES.is_dir(), reason=f"needs the real images in {DATA}, which are not here")
@pytest.mark.parametrize(
    ("name", "is_right"), [("ct.nii.gz", True), ("ct-plus-1024.nii.gz", False), ("series-without-rescale", False)]
)
def test_the_cases(name, is_right):
    said = check_intensities(read_volume(Path(CASES / name)))
    assert bool(said) is not is_right
    assert is_right or "--window" in said[0]
