"""The picture shows the right slices, the right way up, in the segments' colors, and says when it is only a demo."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.reporting.preview_image import draw_preview
from MedSAM3SegmentLib.reporting.slice_selection import MOST_TILES, USUAL_TILES, choose_tiles
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary
from MedSAM3SegmentLib.volume import Volume
from support.grids import grids
from support.results import axial_grid, result_of

EMPTY = np.zeros((20, 40, 50), bool)
VOLUME = Volume(np.full(EMPTY.shape, 100, np.uint8), axial_grid(EMPTY.shape))


def _ball(centre: tuple[int, int, int], radius: float) -> np.ndarray:
    places = np.indices(EMPTY.shape)
    return sum((axis - c) ** 2 for axis, c in zip(places, centre, strict=True)) <= radius**2


def _like(picture: np.ndarray, concept: str) -> np.ndarray:
    """Pixels in the concept's own color: its outline and its legend entry."""
    color = np.round(np.array(Vocabulary.load().color_for(concept)) * 255)
    return (np.abs(picture.astype(int) - color) <= 1).all(axis=2)


def test_shows_the_largest_cross_section_of_every_concept() -> None:
    masks = {"liver": _ball((4, 20, 25), 4), "spleen": _ball((15, 20, 25), 4)}
    shown = [tile.index for tile in choose_tiles(result_of(VOLUME, masks))]
    assert {4, 15} <= set(shown)
    assert len(shown) == USUAL_TILES
    assert shown == sorted(shown)


def test_many_scattered_concepts_do_not_make_an_endless_picture() -> None:
    masks = {f"thing {n}": _ball((n, 20, 25), 0.5) for n in range(20)}
    tiles = choose_tiles(result_of(VOLUME, masks))
    assert len(tiles) == MOST_TILES


def test_where_nothing_was_found_the_best_scores_are_shown() -> None:
    tiles = choose_tiles(result_of(VOLUME, {"liver": EMPTY}))
    assert len(tiles) == USUAL_TILES


@pytest.mark.parametrize("found", [True, False])
def test_outlines_are_drawn_in_the_segments_color_only_where_it_is_found(found: bool) -> None:
    masks = {"liver": _ball((10, 20, 25), 8) if found else EMPTY}
    picture = np.array(draw_preview(VOLUME, result_of(VOLUME, masks)))
    legend = 40 * 40
    assert (np.count_nonzero(_like(picture, "liver")) > legend) == found


def test_the_patients_left_is_on_the_right() -> None:
    # i runs to the patient's left: high i is left.
    left, right = _ball((10, 20, 42), 6), _ball((10, 20, 8), 6)
    picture = np.array(draw_preview(VOLUME, result_of(VOLUME, {"left kidney": EMPTY, "spleen": left, "liver": right})))
    tiles = picture[200:]
    assert np.nonzero(_like(tiles, "spleen"))[1].mean() > np.nonzero(_like(tiles, "liver"))[1].mean() + 50


def test_slices_keep_their_physical_shape() -> None:
    shape = (1, 30, 30)
    volume = Volume(np.full(shape, 100, np.uint8), axial_grid(shape, (1.0, 4.0, 5.0)))
    picture = np.array(draw_preview(volume, result_of(volume, {"liver": np.ones(shape, bool)})))
    rows, columns = np.nonzero(_like(picture[130:], "liver"))  # the legend, with its own spot of color, lies above
    assert np.ptp(rows) / np.ptp(columns) == pytest.approx(4.0, rel=0.03)


def test_a_demo_can_be_told_from_its_picture() -> None:
    masks = {"liver": _ball((10, 20, 25), 8)}
    real = draw_preview(VOLUME, result_of(VOLUME, masks))
    demo = draw_preview(VOLUME, result_of(VOLUME, masks, is_demo=True))
    warning = (np.array(demo).reshape(-1, 3) == (255, 191, 71)).all(axis=1).sum()
    assert warning > 200
    assert not (np.array(real).reshape(-1, 3) == (255, 191, 71)).all(axis=1).any()


def test_a_color_picture_stays_in_color() -> None:
    array = np.zeros((1, 60, 80, 3), np.uint8)
    array[..., 0] = 200
    volume = Volume(array, axial_grid((1, 60, 80)), name="skin.png")
    mask = np.zeros((1, 60, 80), bool)
    mask[0, 20:40, 20:40] = True
    picture = np.array(draw_preview(volume, result_of(volume, {"melanoma": mask})))
    assert np.count_nonzero((picture == (200, 0, 0)).all(axis=2)) > 1000


@settings(max_examples=15, deadline=None)
@given(grids(), st.sampled_from(list(Plane)), st.integers(0, 2**32 - 1))
def test_every_grid_plane_and_mask_can_be_drawn(grid, plane: Plane, seed: int) -> None:
    rng = np.random.default_rng(seed)
    volume = Volume(rng.normal(0, 100, grid.shape), grid, name="ein sehr langer Name " * 8 + "日本語")
    masks = {"liver": rng.random(grid.shape) < 0.3, "unheard of [bold] thing " * 6: np.zeros(grid.shape, bool)}
    picture = draw_preview(volume, result_of(volume, masks, plane))
    assert picture.mode == "RGB"
    assert picture.width < 2500
