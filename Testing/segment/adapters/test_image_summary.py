"""Summaries of training pictures: what is like them and what is not, and that they are read without risk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.adapters.image_summary import LARGEST_DISTANCE, SUMMARY_FILE, ImageSummary
from MedSAM3SegmentLib.errors import ModelError

_RNG = np.random.default_rng(3)


def pictures(count: int, centre: np.ndarray, axes: np.ndarray, noise: float = 0.02) -> np.ndarray:  # type: ignore[type-arg]
    """Features that differ along a few axes, and a little in every direction."""
    along = _RNG.normal(size=(count, len(axes))) @ axes
    return (centre + along + _RNG.normal(0, noise, (count, len(centre)))).astype(np.float32)


@pytest.fixture(scope="module")
def kinds() -> list[tuple[np.ndarray, np.ndarray]]:  # type: ignore[type-arg]
    """Two kinds of pictures with one mean for each channel, which differ in what varies."""
    centre = _RNG.normal(size=40)
    return [(centre, _RNG.normal(size=(4, 40))) for _ in range(2)]


def test_pictures_of_the_same_kind_are_near_and_others_are_far(kinds: list[tuple[np.ndarray, np.ndarray]]) -> None:  # type: ignore[type-arg]
    summaries = [ImageSummary.of(pictures(64, *kind), "f") for kind in kinds]
    for number, summary in enumerate(summaries):
        assert summary is not None
        for _ in range(10):
            assert summary.distance(pictures(6, *kinds[number])) < LARGEST_DISTANCE
            assert summary.distance(pictures(6, *kinds[1 - number])) > 2 * LARGEST_DISTANCE
        # One picture among many that is damaged does not decide.
        some = pictures(7, *kinds[number])
        some[0] += 100
        assert summary.distance(some) < 1.5 * LARGEST_DISTANCE


def test_how_training_volumes_differ_says_how_far_a_new_one_may_be(
    kinds: list[tuple[np.ndarray, np.ndarray]],  # type: ignore[type-arg]
) -> None:
    centre, axes = kinds[0]

    def volume(spread: float) -> np.ndarray:  # type: ignore[type-arg]
        return pictures(6, centre + _RNG.normal(0, spread, len(centre)), axes)

    numbers = [number for number in range(16) for _ in range(6)]
    limits = {}
    for spread in (0.0, 0.02):
        summary = ImageSummary.of(np.concatenate([volume(spread) for _ in range(16)]), "f", volumes=numbers)
        assert summary is not None
        limits[spread] = summary.limit
        near = [summary.distance(volume(spread)) <= summary.limit for _ in range(40)]
        assert np.mean(near) >= 0.9
        assert summary.distance(pictures(6, *kinds[1])) > summary.limit
    assert limits[0.0] + 0.1 < limits[0.02] <= 1.8
    # Two volumes do not say how volumes differ.
    few = ImageSummary.of(np.concatenate([volume(0.02), volume(0.02)]), "f", volumes=[0] * 6 + [1] * 6)
    assert few is not None
    assert few.limit == LARGEST_DISTANCE


def test_a_summary_is_read_as_it_was_written(kinds: list[tuple[np.ndarray, np.ndarray]], tmp_path: Path) -> None:  # type: ignore[type-arg]
    volumes = [number // 8 for number in range(64)]
    summary = ImageSummary.of(pictures(64, *kinds[0]), "weights|224", volumes=volumes)
    assert summary is not None
    (tmp_path / SUMMARY_FILE).write_text(summary.to_text())
    again = ImageSummary.load(tmp_path)
    assert again is not None
    assert (again.features, again.pictures) == ("weights|224", 64)
    some = pictures(6, *kinds[0])
    assert again.distance(some) == pytest.approx(summary.distance(some), rel=1e-3)
    assert again.limit == pytest.approx(summary.limit)
    assert ImageSummary.load(tmp_path / "nowhere") is None
    # Those of older versions have no limit of their own.
    older = json.loads(summary.to_text())
    del older["limit"]
    (tmp_path / SUMMARY_FILE).write_text(json.dumps(older))
    first = ImageSummary.load(tmp_path)
    assert first is not None
    assert first.limit == LARGEST_DISTANCE


def test_too_few_pictures_have_no_summary_and_equal_ones_do() -> None:
    assert ImageSummary.of(np.zeros((7, 5), np.float32), "f") is None
    same = ImageSummary.of(np.ones((16, 5), np.float32), "f")
    assert same is not None
    assert np.isfinite(same.distance(np.ones((3, 5), np.float32)))
    assert same.distance(np.full((3, 5), 2, np.float32)) > LARGEST_DISTANCE


@pytest.mark.parametrize(
    "text", ["", "[]", '{"mean": [1]}', "null", '{"mean": "x", "spread": [], "directions": [], "deviations": []}']
)
def test_a_damaged_summary_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / SUMMARY_FILE).write_text(text)
    with pytest.raises(ModelError, match=r"image-summary\.json"):
        ImageSummary.load(tmp_path)
