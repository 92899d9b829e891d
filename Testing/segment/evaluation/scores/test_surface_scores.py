"""The surfaces' scores against the library that defines them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from MedSAM3SegmentLib.evaluation.scores.surface_scores import surface_scores

spacings = st.one_of(st.just(1.0), st.sampled_from([0.1, 0.7, 2.5]), st.floats(0.2, 5.0))


def by_the_library(
    mask: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...], tolerance: float
) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import surface_distance

        distances = surface_distance.compute_surface_distances(reference, mask, spacing)
        return (
            float(surface_distance.compute_surface_dice_at_tolerance(distances, tolerance)),
            float(surface_distance.compute_robust_hausdorff(distances, 95)),
        )


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, tuple[float, ...], float]:
    shape = draw(npst.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9))
    masks = npst.arrays(bool, shape).filter(lambda mask: bool(mask.any()))
    spacing = draw(st.tuples(*[spacings] * len(shape)))
    # Also exactly as far as some elements are.
    tolerance = draw(st.one_of(st.floats(0.0, 9.0), st.integers(0, 5).map(lambda steps: steps * spacing[0])))
    return draw(masks), draw(masks), spacing, tolerance


@given(pairs())
def test_equals_the_library_to_the_last_bit(pair: tuple[np.ndarray, np.ndarray, tuple[float, ...], float]) -> None:
    assert surface_scores(*pair) == by_the_library(*pair)


@pytest.mark.parametrize(("shape", "sigma"), [((256, 256), 12.0), ((20, 60, 50), 4.0)])
def test_equals_the_library_on_shapes_as_of_organs(shape: tuple[int, ...], sigma: float) -> None:
    field = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=shape), sigma)
    mask, reference = field > 0.5 * field.std(), np.roll(field, 2, axis=-1) > 0.6 * field.std()
    spacing = (2.5, 0.7, 0.9)[-len(shape) :]
    for tolerance in (0.0, 0.7, 1.4, 2.0):
        assert surface_scores(mask, reference, spacing, tolerance) == by_the_library(
            mask, reference, spacing, tolerance
        )
