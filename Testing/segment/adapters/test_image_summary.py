"""Summaries of training pictures: what is like them and what is not, and that they are read without risk."""

from __future__ import annotations

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
    return [(centre, _RNG.normal(size=(12, 40)) * np.geomspace(1, 0.1, 12)[:, None]) for _ in range(2)]


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


def test_a_summary_is_read_as_it_was_written(kinds: list[tuple[np.ndarray, np.ndarray]], tmp_path: Path) -> None:  # type: ignore[type-arg]
    summary = ImageSummary.of(pictures(64, *kinds[0]), "weights|224")
    assert summary is not None
    (tmp_path / SUMMARY_FILE).write_text(summary.to_text())
    again = ImageSummary.load(tmp_path)
    assert again is not None
    assert (again.features, again.pictures) == ("weights|224", 64)
    some = pictures(6, *kinds[0])
    assert again.distance(some) == pytest.approx(summary.distance(some), rel=1e-3)
    assert ImageSummary.load(tmp_path / "nowhere") is None


def test_a_summary_of_another_version_is_none(kinds: list[tuple[np.ndarray, np.ndarray]], tmp_path: Path) -> None:  # type: ignore[type-arg]
    summary = ImageSummary.of(pictures(64, *kinds[0]), "weights|224")
    assert summary is not None
    text = summary.to_text()
    assert '"version": 2' in text
    (tmp_path / SUMMARY_FILE).write_text(text.replace('"version": 2', '"version": 1'))
    assert ImageSummary.load(tmp_path) is None


def test_distances_are_those_of_the_shrunk_covariance() -> None:
    """Against the matrices themselves."""
    some, new = _RNG.normal(size=(30, 12)) * np.linspace(0.1, 2, 12), _RNG.normal(size=(5, 12))
    summary = ImageSummary.of(some.astype(np.float32), "f")
    assert summary is not None
    moved = some - some.mean(axis=0)
    plain = moved.T @ moved / 30
    ball = np.trace(plain) / 12 * np.eye(12)
    chance = np.mean([np.sum((np.outer(one, one) - plain) ** 2) for one in moved]) / 30
    share = chance / np.sum((plain - ball) ** 2)
    inverse = np.linalg.inv((1 - share) * plain + share * ball)
    away = new - some.mean(axis=0)
    expected = np.sqrt(np.einsum("pi,ij,pj->p", away, inverse, away) / 12)
    found = [summary.distance(one[None].astype(np.float32)) for one in new]
    np.testing.assert_allclose(np.array(found) * summary.scale, expected, rtol=1e-3)


def test_too_few_pictures_have_no_summary_and_equal_ones_do() -> None:
    assert ImageSummary.of(np.zeros((7, 5), np.float32), "f") is None
    same = ImageSummary.of(np.ones((16, 5), np.float32), "f")
    assert same is not None
    assert np.isfinite(same.distance(np.ones((3, 5), np.float32)))
    assert same.distance(np.full((3, 5), 2, np.float32)) > LARGEST_DISTANCE


@pytest.mark.parametrize(
    "text", ["", "[]", '{"mean": [1]}', "null", '{"version": 2, "mean": "x", "directions": []}', '{"version": 2}']
)
def test_a_damaged_summary_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / SUMMARY_FILE).write_text(text)
    with pytest.raises(ModelError, match=r"image-summary\.json"):
        ImageSummary.load(tmp_path)
