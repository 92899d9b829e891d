"""Enhanced multi-frame DICOM of every kind: frames in their places, by their own slopes, of one type and one stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from pydicom.dataset import Dataset

from MedSAM3SegmentLib.io.read_volume import read_volume
from support.dicom_files import (
    AXIAL,
    enhanced_file,
    functional_group,
    item,
    misplaced,
    picture,
    places,
    slice_file,
)
from support.images import refused

pytestmark = pytest.mark.usefixtures("nothing_on_the_terminal")

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, -0.8)


def stored_of(positions: Any, orientation: Any = AXIAL) -> np.ndarray:
    return np.stack([np.rint(picture(position, orientation)) for position in positions])


def normal_of(orientation: Any) -> np.ndarray:
    return np.cross(orientation[:3], orientation[3:])


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, OBLIQUE])
@pytest.mark.parametrize("order", [list(range(6)), [5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2]])
def test_frames_are_ordered_by_their_places(tmp_path: Path, orientation: Any, order: list[int]) -> None:
    positions = [places(6, 3 * normal_of(orientation))[n] for n in order]
    groups = [functional_group(position, orientation) for position in positions]
    path = enhanced_file(tmp_path / "volume.dcm", groups, stored_of(positions, orientation))
    volume = read_volume(path)
    assert volume.array.shape[0] == 6
    assert misplaced(volume) < 1
    assert volume.messages == ()
    assert volume.name == "DICOM MR of 6 slices"


def test_places_agree_with_highdicom(tmp_path: Path) -> None:
    order = (3, 0, 5, 1, 4, 2)
    positions = [places(6, 3 * normal_of(OBLIQUE))[n] for n in order]
    groups = [functional_group(position, OBLIQUE) for position in positions]
    for n, group in zip(order, groups, strict=True):
        group.FrameContentSequence[0].DimensionIndexValues = [n + 1]
    path = enhanced_file(
        tmp_path / "volume.dcm",
        groups,
        stored_of(positions, OBLIQUE),
        FrameOfReferenceUID="1.2.9",
        DimensionIndexSequence=item(DimensionIndexPointer=0x00209057, FunctionalGroupPointer=0x00209111),
    )
    volume, theirs = read_volume(path), highdicom.imread(path).get_volume()
    lps = theirs.map_indices_to_reference(np.argwhere(np.ones(theirs.array.shape)))
    to_ijk = np.linalg.inv(volume.grid.ijk_to_ras)
    ijk = (lps * [-1, -1, 1]) @ to_ijk[:3, :3].T + to_ijk[:3, 3]
    i, j, k = np.rint(ijk).astype(int).T
    np.testing.assert_allclose(ijk, np.stack([i, j, k], axis=1), atol=1e-3)
    np.testing.assert_array_equal(volume.array[k, j, i], theirs.array.ravel())


def test_what_all_frames_share_is_said_once(tmp_path: Path) -> None:
    positions = places(5)
    shared = functional_group(None, AXIAL, slope=0.5, intercept=100, stack=None)
    groups = [functional_group(position, None, None, None) for position in positions]
    stored = (stored_of(positions) - 100) * 2
    volume = read_volume(enhanced_file(tmp_path / "volume.dcm", groups, stored, shared))
    assert misplaced(volume) < 1
    assert volume.grid.spacing == pytest.approx((1.5, 2, 4))


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_each_frame_has_its_own_slope_and_intercept(tmp_path: Path, modality: str) -> None:
    positions = places(5)
    slopes, intercepts = [0.25, 0.5, 1.0, 2.0, 0.3], [0.0, -200.0, 30.5, 0.0, 1.0]
    exact = np.stack([picture(position) for position in positions])
    stored = np.rint((exact - np.reshape(intercepts, (5, 1, 1))) / np.reshape(slopes, (5, 1, 1)))
    groups = [
        functional_group(position, slope=slope, intercept=intercept)
        for position, slope, intercept in zip(positions, slopes, intercepts, strict=True)
    ]
    volume = read_volume(enhanced_file(tmp_path / "volume.dcm", groups, stored, modality=modality))
    assert misplaced(volume) <= 1.01
    assert volume.modality == modality


@pytest.mark.parametrize("missing", [[2], [2, 3], [1, 4]])
def test_gaps_are_filled_and_said(tmp_path: Path, missing: list[int]) -> None:
    positions = [position for n, position in enumerate(places(8)) if n not in missing]
    groups = [functional_group(position) for position in positions]
    volume = read_volume(enhanced_file(tmp_path / "volume.dcm", groups, stored_of(positions)))
    assert volume.array.shape[0] == 8
    assert misplaced(volume) < 1
    assert ["filled by interpolation" in text for text in volume.messages] == [True]


def test_a_tilted_stack_is_straightened(tmp_path: Path) -> None:
    positions = places(8, (0.0, 1.0, 4.0))
    groups = [functional_group(position) for position in positions]
    volume = read_volume(enhanced_file(tmp_path / "volume.dcm", groups, stored_of(positions), modality="CT"))
    assert any("gantry" in text for text in volume.messages)
    inner = volume.array[2:-2, 3:-3, 2:-2]
    k, j, i = (axis[2:-2, 3:-3, 2:-2] for axis in np.indices(volume.array.shape))
    ras = np.stack([i, j, k, np.ones_like(i)], axis=-1) @ volume.grid.ijk_to_ras.T
    exact = 1000 + ras[..., :3] @ np.array([2.0, 3.0, 5.0])
    covered = inner != volume.array.min()
    assert covered.mean() > 0.5
    assert np.abs(inner - exact)[covered].max() < 3


def test_several_stacks_are_named_and_chosen_by_number(tmp_path: Path) -> None:
    first, second = places(4), [(x, y, z + 9) for x, y, z in places(5)]
    groups = [functional_group(position, stack="1") for position in first]
    groups += [functional_group(position, stack="2") for position in second]
    path = enhanced_file(tmp_path / "stacks.dcm", groups, stored_of([*first, *second]))
    refused(path, "2 image series", "7.1", "7.2", "4 images", "5 images", "--series")
    for label, count in (("7.1", 5), ("7.2", 4)):
        volume = read_volume(path, series=label)
        assert volume.array.shape[0] == count
        assert misplaced(volume) < 1


def test_stacks_of_different_directions_are_not_mixed(tmp_path: Path) -> None:
    first, second = places(4), places(4, 3 * normal_of(CORONAL))
    groups = [functional_group(position, stack=None) for position in first]
    groups += [functional_group(position, CORONAL, stack=None) for position in second]
    stored = np.concatenate([stored_of(first), stored_of(second, CORONAL)])
    path = enhanced_file(tmp_path / "stacks.dcm", groups, stored)
    refused(path, "2 image series")
    for label in ("7.1", "7.2"):
        assert misplaced(read_volume(path, series=label)) < 1


def test_a_stack_number_for_each_frame_is_no_reason_to_split(tmp_path: Path) -> None:
    positions = places(5)
    groups = [functional_group(position, stack=str(n)) for n, position in enumerate(positions)]
    assert misplaced(read_volume(enhanced_file(tmp_path / "v.dcm", groups, stored_of(positions)))) < 1


def frame_type(*codes: str) -> dict[str, Any]:
    return {"MRImageFrameTypeSequence": item(FrameType=["ORIGINAL", "PRIMARY", *codes])}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (("T1", "P"), "phase"),
        (("T1", "FIELD_MAP"), "field map"),
        (("T1", "R"), "real part"),
        (("B0", "OTHER"), "OTHER"),
    ],
)
@pytest.mark.parametrize("interleaved", [False, True])
def test_only_the_magnitude_is_read_and_the_rest_said(
    tmp_path: Path, other: tuple[str, ...], said: str, interleaved: bool
) -> None:
    positions = places(4)
    magnitude = [functional_group(position, **frame_type("T1", "M")) for position in positions]
    rest = [functional_group(position, **frame_type(*other)) for position in positions]
    groups, stored = [*magnitude, *rest], np.concatenate([stored_of(positions), np.full((4, 6, 8), 7)])
    if interleaved:
        order = [n for pair in zip(range(4), range(4, 8), strict=True) for n in pair]
        groups, stored = [groups[n] for n in order], stored[order]
    path = enhanced_file(tmp_path / "types.dcm", groups, stored)
    volume = read_volume(path)
    assert volume.array.shape[0] == 4
    assert misplaced(volume) < 1
    assert len(volume.messages) == 1
    assert "magnitude" in volume.messages[0]
    assert said in volume.messages[0]


def test_the_complex_component_tells_frames_apart_too(tmp_path: Path) -> None:
    positions = places(4)
    groups = [
        functional_group(
            position, MRImageFrameTypeSequence=item(FrameType=["ORIGINAL"], ComplexImageComponent=component)
        )
        for component in ("PHASE", "MAGNITUDE")
        for position in positions
    ]
    stored = np.concatenate([np.full((4, 6, 8), 7), stored_of(positions)])
    volume = read_volume(enhanced_file(tmp_path / "types.dcm", groups, stored))
    assert misplaced(volume) < 1
    assert "phase" in volume.messages[0]


def test_types_at_other_places_are_not_taken_for_slices_between(tmp_path: Path) -> None:
    positions = places(8, (0.0, 0.0, 2.0))
    groups = [
        functional_group(position, **frame_type("T1", "M" if n % 2 == 0 else "P"))
        for n, position in enumerate(positions)
    ]
    volume = read_volume(enhanced_file(tmp_path / "types.dcm", groups, stored_of(positions)))
    assert volume.array.shape[0] == 4
    assert misplaced(volume) < 1


def test_water_and_fat_are_named_and_chosen(tmp_path: Path) -> None:
    positions = places(4)
    groups = [
        functional_group(position, **frame_type("M", kind)) for kind in ("WATER", "FAT") for position in positions
    ]
    path = enhanced_file(tmp_path / "dixon.dcm", groups, np.concatenate([stored_of(positions), np.full((4, 6, 8), 7)]))
    refused(path, "same position", "WATER", "FAT", "7.1", "7.2")
    volume = read_volume(path, series="7.1")
    assert misplaced(volume) < 1
    assert "WATER" in volume.messages[0]


def echo(time: float) -> dict[str, Any]:
    return {"MREchoSequence": item(EffectiveEchoTime=time)}


def diffusion(value: float) -> dict[str, Any]:
    return {"MRDiffusionSequence": item(DiffusionBValue=value)}


def moment(index: int) -> dict[str, Any]:
    return {"FrameContentSequence": item(StackID="1", TemporalPositionIndex=index)}


@pytest.mark.parametrize(
    ("make", "values", "words"),
    [
        (echo, (4.6, 9.2), ("echo time 4.6 ms", "echo time 9.2 ms")),
        (diffusion, (0, 800), ("b-value 0 s/mm²", "b-value 800 s/mm²")),
        (moment, (1, 2, 3), ("time point 1", "time point 3")),
    ],
)
def test_echoes_b_values_and_time_points_are_named_and_chosen(
    tmp_path: Path, make: Any, values: tuple[float, ...], words: tuple[str, ...]
) -> None:
    positions = places(4)
    groups = [functional_group(position, **make(value)) for position in positions for value in values]
    stored = np.repeat(stored_of(positions), len(values), axis=0)
    stored[1 :: len(values)] += 50
    path = enhanced_file(tmp_path / "volumes.dcm", groups, stored)
    refused(path, "same position", f"{len(values)} volumes", *words)
    volume = read_volume(path, series="7.1")
    assert misplaced(volume) < 1
    assert words[0] in volume.messages[0]
    assert misplaced(read_volume(path, series="7.2")) == pytest.approx(50, abs=1)


def test_time_points_in_a_file_each_are_told_apart(tmp_path: Path) -> None:
    positions = places(4)
    for number in (1, 2):
        groups = [functional_group(position) for position in positions]
        enhanced_file(
            tmp_path / f"{number}.dcm", groups, stored_of(positions) + 50 * (number - 1), InstanceNumber=number
        )
    refused(tmp_path, "same position", "2 volumes")
    assert misplaced(read_volume(tmp_path, series="7.1")) < 1
    assert misplaced(read_volume(tmp_path / "1.dcm")) < 1


def test_a_volume_over_several_files_is_put_together(tmp_path: Path) -> None:
    positions = places(7)
    for n, part in enumerate((positions[4:], positions[:4])):
        groups = [functional_group(position) for position in part]
        enhanced_file(tmp_path / f"{n}.dcm", groups, stored_of(part))
    volume = read_volume(tmp_path)
    assert volume.array.shape[0] == 7
    assert misplaced(volume) < 1


@pytest.mark.parametrize("count", [1, 5])
def test_one_frame_in_each_file(tmp_path: Path, count: int) -> None:
    for n, position in enumerate(places(count)):
        enhanced_file(tmp_path / f"{n}.dcm", [functional_group(position)], stored_of([position])[0][None])
    volume = read_volume(tmp_path)
    assert volume.array.shape[0] == count
    assert misplaced(volume) < 1


def test_frames_that_do_not_say_where_they_lie_are_a_guess(tmp_path: Path) -> None:
    groups = [functional_group(None, None) for _ in range(3)]
    volume = read_volume(enhanced_file(tmp_path / "lost.dcm", groups, stored_of(places(3))))
    assert volume.array.shape[0] == 3
    assert any("left and right are a guess" in text for text in volume.messages)


def test_frames_and_headers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    positions = places(4)
    groups = [functional_group(position) for position in positions]
    refused(enhanced_file(tmp_path / "few.dcm", groups[:3], stored_of(positions)), "4 frames", "describes 3")
    refused(enhanced_file(tmp_path / "none.dcm", [], stored_of(positions)), "4 frames", "describes 0")


def test_frames_of_different_pixel_sizes_are_refused(tmp_path: Path) -> None:
    positions = places(4)
    groups = [functional_group(position, spacing=(2.0, 1.5 + n)) for n, position in enumerate(positions)]
    refused(enhanced_file(tmp_path / "mixed.dcm", groups, stored_of(positions)), "Pixel Spacing")


def test_rotational_angiography_is_read_as_the_volume_it_is(tmp_path: Path) -> None:
    positions = places(5)
    groups = [functional_group(position) for position in positions]
    path = enhanced_file(
        tmp_path / "angio.dcm",
        groups,
        stored_of(positions),
        modality="MR",
        Modality="XA",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.13.1.1",
    )
    volume = read_volume(path)
    assert not volume.is_sequence
    assert misplaced(volume) < 1


def test_a_series_may_mix_classic_and_enhanced_files(tmp_path: Path) -> None:
    positions = places(5)
    for n, position in enumerate(positions[:3]):
        slice_file(tmp_path / f"{n}.dcm", position, modality="MR")
    groups = [functional_group(position, stack=None) for position in positions[3:]]
    enhanced_file(tmp_path / "rest.dcm", groups, stored_of(positions[3:]))
    volume = read_volume(tmp_path)
    assert volume.array.shape[0] == 5
    assert misplaced(volume) < 1


def test_an_empty_functional_group_is_no_crash(tmp_path: Path) -> None:
    volume = read_volume(enhanced_file(tmp_path / "empty.dcm", [Dataset(), Dataset()], stored_of(places(2))))
    assert volume.array.shape[0] == 2
    assert any("guess" in text for text in volume.messages)
