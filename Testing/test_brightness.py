"""What an object looks like: a neighbour of another brightness is not taken for it at its ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.brightness import Brightness
from MedSAM3SegmentLib.propagation import follow
from MedSAM3SegmentLib.result import StopReason, Track
from MedSAM3SegmentLib.seeding import Seed
from MedSAM3SegmentLib.watching import Watch
from scripted_tracker import ScriptedTracker
from test_propagation import ALL, DEPTH, EDGE, disc, target

RNG = np.random.default_rng(5)


def noisy(mean: float, spread: float) -> np.ndarray:
    return np.clip(np.rint(RNG.normal(mean, spread, (EDGE, EDGE))), 0, 255).astype(np.uint8)


@settings(deadline=None)
@given(mean=st.integers(60, 190), spread=st.integers(8, 15), colour=st.booleans())
def test_it_is_that_of_the_pixels_within_the_rim(mean: int, spread: int, colour: bool) -> None:
    picture = np.random.default_rng(mean).normal(mean, spread, (EDGE, EDGE))
    mask = disc(14)
    # The rim is half something else, as it is where the mask is a pixel too wide.
    picture[mask & ~disc(13)] = 255 - mean
    picture = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    seen = Brightness.of(np.stack([picture] * 3, axis=-1) if colour else picture, mask)
    assert seen is not None
    assert seen.median == pytest.approx(mean, abs=3)
    assert seen.spread == pytest.approx(spread, rel=0.25)


def test_of_a_tip_nothing_is_said_and_flat_pictures_have_some_spread() -> None:
    assert Brightness.of(noisy(100, 5), disc(2.5)) is None
    flat = Brightness.of(np.full((EDGE, EDGE), 100, np.uint8), disc(10))
    assert flat is not None
    assert flat.distance(Brightness(112.0, 1.0)) == pytest.approx(2.0)


#: A kidney that gets small, and beyond it a liver in the same place that the tracker takes for more of it.
TAPERING = {z: disc(14 if z < 20 else max(14 - 2 * (z - 19), 6)) for z in range(10, 24)}
BEYOND = {z: disc(7) for z in range(24, 36)}


def walked(brightness: dict[int, float], script: dict[int, np.ndarray], look: bool = True) -> Track:
    pictures = {z: noisy(brightness.get(z, 120.0), 8) for z in range(DEPTH)}
    (track,) = follow(
        [target(Seed(14, script[14]))],
        ScriptedTracker(script),  # type: ignore[arg-type]
        lambda index: index,  # type: ignore[arg-type, return-value]
        ALL,
        Watch(),
        picture_of=pictures.__getitem__ if look else None,
    )
    return track


def test_a_neighbour_of_another_brightness_ends_it() -> None:
    brightness = dict.fromkeys(BEYOND, 70.0)
    track = walked(brightness, TAPERING | BEYOND)
    assert max(track.masks) == 23
    assert [(stop.slice_index, stop.reason) for stop in track.stops if stop.forward] == [
        (24, StopReason.BRIGHTNESS_CHANGED)
    ]
    assert max(walked(brightness, TAPERING | BEYOND, look=False).masks) == 35


def test_the_same_brightness_goes_on() -> None:
    assert max(walked({}, TAPERING | BEYOND).masks) == 35


def test_within_an_object_brightness_may_change() -> None:
    """As from vertebra to disc and back."""
    script = {z: disc(12) for z in range(5, 35)}
    track = walked({z: 120.0 + 50 * (z // 3 % 2) for z in range(DEPTH)}, script)
    assert (min(track.masks), max(track.masks)) == (5, 34)


def test_one_dark_slice_near_the_end_is_passed_over() -> None:
    track = walked({22: 30.0}, TAPERING | BEYOND)
    assert 22 not in track.masks
    assert max(track.masks) == 35
