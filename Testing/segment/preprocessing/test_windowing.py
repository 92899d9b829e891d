"""Windows, and the one preprocessing function that training and inference share."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.preprocessing.model_input import to_model_input
from MedSAM3SegmentLib.preprocessing.windowing import (
    CT_WINDOWS,
    Window,
    WindowReason,
    choose_window,
    describe_window,
    is_ct,
    percentile_window,
    to_display,
    window_label,
)
from MedSAM3SegmentLib.volume import Volume
from support.external_data import DATA, needs_shared


def volume_of(array: np.ndarray, modality: str = "") -> Volume:
    return Volume(array, VoxelGrid(array.shape[:3], np.eye(4)), modality)


def head_like(dtype: type = np.int16) -> np.ndarray:
    """Bright tissue in the middle slices, nothing in the first and last."""
    array = np.zeros((6, 8, 8), dtype)
    array[2:4, 1:7, 1:7] = np.random.default_rng(0).integers(100, 1000, (2, 6, 6))
    return array


# Windows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CT_WINDOWS)
def test_presets_are_used_by_name_in_any_case(name):
    window = Window.parse(f" {name.upper()} ")
    assert (window.low, window.high) == CT_WINDOWS[name]
    assert window.name == name
    assert window.low < window.high


def test_a_custom_window_is_parsed():
    assert Window.parse("-160,240") == Window(-160.0, 240.0, "custom")
    assert Window.parse(" 1e2 , 1e3 ") == Window(100.0, 1000.0)


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_any_two_numbers_are_a_window_or_are_refused(low, high):
    text = f"{low!r},{high!r}"
    if low < high:
        assert Window.parse(text) == Window(low, high)
    else:
        with pytest.raises(InputError, match="is empty"):
            Window.parse(text)


@pytest.mark.parametrize("text", ["", "wide", "1;2", "1,2,3", "a,b", ",", "1,", "nan,1", "0,inf", "5,5", "7,3"])
def test_a_wrong_window_is_refused_in_one_sentence(text):
    with pytest.raises(InputError) as caught:
        Window.parse(text)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_window_or_an_input_error(text):
    try:
        window = Window.parse(text)
    except InputError:
        return
    assert window.low < window.high


# What kind of image it is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_a_volume_of_unknown_modality_is_ct_when_it_reaches_air(dtype):
    array = np.full((2, 3, 3), 40, dtype)
    assert not is_ct(volume_of(array))
    array[0, 0, 0] = -1000
    assert is_ct(volume_of(array))
    assert not is_ct(volume_of(array, "MR"))
    assert is_ct(volume_of(np.full((2, 3, 3), 40, dtype), "CT"))


def test_not_a_number_is_not_air():
    array = np.array([[[np.nan, -np.inf, 40.0]]])
    assert not is_ct(volume_of(array))
    assert is_ct(volume_of(np.array([[[np.nan, -1000.0, 40.0]]])))
    assert not is_ct(volume_of(np.full((1, 2, 2), np.nan)))


def test_pictures_hold_no_hounsfield_units_even_of_a_ct():
    for picture in (np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, 4, 4), np.uint8)):
        for modality in ("", "CT", "US"):
            volume = volume_of(picture, modality)
            assert not is_ct(volume)
            assert choose_window(volume, "liver") == Window(0.0, 255.0, "display")


def test_ct_takes_the_concepts_window_and_else_soft_tissue():
    volume = volume_of(np.full((1, 4, 4), -1000, np.int16))
    assert choose_window(volume) == Window(-160.0, 240.0, "soft-tissue")
    assert choose_window(volume, "lung").name == "lung"
    with pytest.raises(InputError, match="no window named 'wide'"):
        choose_window(volume, "wide")


@pytest.mark.parametrize("array", [np.zeros((1, 4, 4), np.uint8), head_like(), np.zeros((1, 4, 4, 3), np.uint8)])
@pytest.mark.parametrize("modality", ["", "CT", "MR"])
def test_the_users_own_window_always_wins(array, modality):
    mine = Window(1.0, 2.0)
    assert choose_window(volume_of(array, modality), "lung", mine) is mine


def test_mr_ignores_a_ct_preset():
    volume = volume_of(head_like(), "MR")
    assert choose_window(volume, "lung") == choose_window(volume) == percentile_window(volume.array)
    assert choose_window(volume_of(head_like().astype(np.uint16))).name == "percentiles 1-99"
    eight_bit = (head_like() // 4).astype(np.uint8)
    assert choose_window(volume_of(eight_bit, "MR")).name == "percentiles 1-99"


# Percentiles ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(hnp.arrays(np.float64, (2, 5, 7), elements=st.floats(-1e6, 1e6)))
def test_percentiles_are_of_the_whole_volume(array):
    window = percentile_window(array)
    ordered = np.sort(array, axis=None)

    def percentile(percent: float) -> float:
        place = (ordered.size - 1) * percent / 100
        below, above = ordered[int(np.floor(place))], ordered[int(np.ceil(place))]
        return float(below + (above - below) * (place - np.floor(place)))

    low, high = percentile(1), percentile(99)
    if high > low:
        assert (window.low, window.high) == pytest.approx((low, high))
    elif ordered[-1] > ordered[0]:
        assert (window.low, window.high) == (ordered[0], ordered[-1])
    else:
        assert window.low == ordered[0]
        assert (to_display(array, window) == 0).all()


@pytest.mark.parametrize("value", [0.0, -7.0, 3.5, 1e8, 1e17, -1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_volume_is_black(value, dtype):
    array = np.full((2, 3, 3), value, dtype)
    assert (to_display(array, percentile_window(array)) == 0).all()


def test_a_few_bright_voxels_in_nothing_are_seen():
    array = np.zeros((10, 20, 20), np.int16)
    array[5, 5, 5] = 300
    shown = to_display(array, percentile_window(array))
    assert shown[5, 5, 5] == 255
    assert np.count_nonzero(shown) == 1


def test_what_is_no_number_does_not_count_and_is_black():
    array = head_like(np.float32)
    window = percentile_window(array)
    broken = np.concatenate([array, np.full((3, 8, 8), np.nan, np.float32)])
    assert percentile_window(broken) == window
    shown = to_display(broken, window)
    assert (shown[6:] == 0).all()
    assert (shown[:6] == to_display(array, window)).all()
    with pytest.raises(InputError, match="no finite voxel"):
        percentile_window(np.full((2, 2, 2), np.nan))
    assert to_display(np.array([np.inf, -np.inf, np.nan]), window).tolist() == [255, 0, 0]


def test_empty_slices_stay_black():
    """Windowed slice by slice they would be noise from edge to edge."""
    array = head_like(np.float32)
    array[[0, 1, 4, 5]] += np.random.default_rng(1).uniform(0, 2, (4, 8, 8)).astype(np.float32)
    shown = to_display(array, choose_window(volume_of(array, "MR")))
    assert shown[[0, 1, 4, 5]].max() <= 1
    assert shown[2:4].max() == 255


# Pictures for the model -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32, np.float64, ">i2", ">f4"])
def test_grey_levels_run_from_low_to_high(dtype):
    array = np.array([0, 100, 150, 199, 200, 201, 300, 1000], dtype)
    assert to_display(array, Window(100.0, 300.0)).tolist() == [0, 0, 64, 126, 128, 129, 255, 255]


def test_a_window_far_beyond_single_precision_does_not_fail():
    with np.errstate(all="raise"):
        assert to_display(np.array([-1e300, 0.0, 1e300]), Window(-1.0, 1.0)).tolist() == [0, 128, 255]


def pillow_prepare(picture: np.ndarray, window: Window, size: int) -> np.ndarray:
    """The same by another road: windowed in double precision, resized by Pillow, scaled to -1..1 as float [3, y, x]."""
    levels = (picture.astype(np.float64) - window.low) / (window.high - window.low)
    image = Image.fromarray(np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8))
    resized = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR).convert("RGB"))
    return (resized.transpose(2, 0, 1) / 255.0 - 0.5) / 0.5


GREY_LEVEL = 2 / 255 + 1e-6


@settings(deadline=None)
@given(
    hnp.arrays(
        np.int16, st.tuples(st.just(2), st.integers(1, 40), st.integers(1, 40)), elements=st.integers(-1100, 3000)
    ),
    st.sampled_from([14, 28, 56]),
    st.sampled_from(sorted(CT_WINDOWS)),
)
def test_preparing_agrees_with_pillow_within_one_grey_level(slices, size, preset):
    window = Window.preset(preset)
    prepared = to_model_input(slices, window, size).numpy()
    assert prepared.shape == (2, 3, size, size)
    assert prepared.dtype == np.float32
    expected = np.stack([pillow_prepare(picture, window, size) for picture in slices])
    assert np.abs(prepared - expected).max() <= GREY_LEVEL


@settings(deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.just(1), st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_preparing_color_agrees_with_pillow_within_one_grey_level(slices):
    prepared = to_model_input(slices, Window(0.0, 255.0), 28).numpy()
    assert np.abs(prepared[0] - pillow_prepare(slices[0], Window(0.0, 255.0), 28)).max() <= GREY_LEVEL


def test_a_slice_of_the_models_size_is_not_resampled():
    slices = np.random.default_rng(2).integers(0, 256, (1, 28, 28)).astype(np.uint8)
    prepared = to_model_input(slices, Window(0.0, 255.0), 28).numpy()
    assert (np.rint((prepared + 1) * 127.5)[0] == slices[0]).all()
    assert prepared.min() >= -1
    assert prepared.max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("plane", [Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL])
def test_flipped_views_of_a_stack_can_be_prepared(dtype, plane):
    array = np.random.default_rng(3).integers(0, 200, (5, 6, 7)).astype(dtype)
    slices = SliceStack.along(VoxelGrid(array.shape, np.eye(4)), plane).extract(array)
    assert min(slices.strides) < 0
    window = Window(0.0, 200.0)
    prepared = to_model_input(slices, window, 14)
    assert (prepared == to_model_input(np.ascontiguousarray(slices), window, 14)).all()


def test_preparing_leaves_the_volume_as_it_was():
    slices = head_like(np.float32)
    before = slices.copy()
    to_model_input(slices, Window(0.0, 255.0), 14)
    assert (slices == before).all()


# Real images ----------------------------------------------------------------------------------------------------------


def read(path: str) -> np.ndarray:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(DATA / path)))


@needs_shared
def test_real_ct_and_mr_are_told_apart_and_fill_the_grey_range():
    ct = volume_of(read("ct_abdomen/ct.nii.gz"))
    assert is_ct(ct)
    assert choose_window(ct).name == "soft-tissue"
    mr = volume_of(read("mr_abdomen/mr.nii.gz"))
    assert not is_ct(mr)
    for volume in (ct, mr):
        shown = to_display(volume.array, choose_window(volume))
        assert shown.std() > 30
        assert np.unique(shown).size > 100


# Why a window was chosen ----------------------------------------------------------------------------------------------


def test_a_window_says_why_it_was_chosen_and_is_the_same_for_it():
    ct, mr = volume_of(np.full((1, 4, 4), -1000, np.int16)), volume_of(head_like(), "MR")
    chosen = {
        WindowReason.CONCEPT: choose_window(ct, "lung"),
        WindowReason.USUAL: choose_window(ct),
        WindowReason.VALUES: choose_window(mr, "lung"),
        WindowReason.DISPLAY: choose_window(volume_of(np.zeros((1, 4, 4), np.uint8))),
        WindowReason.GIVEN: choose_window(ct, "lung", Window.parse("lung")),
    }
    assert all(window.reason is reason for reason, window in chosen.items())
    assert chosen[WindowReason.CONCEPT] == chosen[WindowReason.GIVEN], "one pass of the encoder serves both"
    assert window_label(chosen[WindowReason.CONCEPT]) == "lung: suits the concept"
    assert window_label(Window(-1.5, 20.25)) == "-1.5 to 20.25: given"
    assert describe_window(chosen[WindowReason.USUAL]) == (
        "Seen through the window soft-tissue (-160 to 240 HU), as is usual for CT."
    )
    assert len({str(describe_window(window)) for window in chosen.values()}) == len(chosen)
    assert all(describe_window(window).endswith(".") for window in chosen.values())
