"""Pages show what decides, and their cells mean places in the patient."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from MedSAM3AgentLib.actions import ExampleBox
from MedSAM3AgentLib.evidence import box_of_cells
from MedSAM3AgentLib.pages.drawing import COLORS
from MedSAM3AgentLib.pages.page import PAGE_EDGE, PageSource, draw_action_page, draw_verdict_page
from MedSAM3AgentLib.pages.slices import deciding_slices
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.prompts.slice_prompts import boxes_on
from support.scripted_segmenter import GRID, abdomen

VOLUME, MASKS = abdomen("JANE DOE")
STACK = SliceStack.along(GRID)


def source(stack: SliceStack = STACK) -> PageSource:
    return PageSource(VOLUME, stack, Window.preset("soft-tissue"), dict.fromkeys(range(stack.count), 0.5))


def has_color(png: bytes, color: tuple[int, int, int]) -> bool:
    return bool((np.asarray(Image.open(BytesIO(png))) == color).all(axis=-1).any())


def test_a_verdict_page_has_contour_and_bare_twin_and_nothing_of_the_header() -> None:
    page = draw_verdict_page(source(), MASKS["liver"], "target: liver")
    picture = Image.open(BytesIO(page.png))
    assert max(picture.size) <= PAGE_EDGE
    assert picture.info == {}
    assert has_color(page.png, COLORS[0])
    assert {MASKS["liver"][tile.slice_index].any() for tile in page.tiles} == {True}
    assert b"JANE" not in page.png


def test_the_deciding_slices_are_the_largest_and_both_ends() -> None:
    on = np.flatnonzero(MASKS["liver"].any(axis=(1, 2)))
    areas = MASKS["liver"].sum(axis=(1, 2))
    chosen = deciding_slices(MASKS["liver"], STACK, {}, 6)
    assert {int(on[0]), int(on[-1]), int(np.argmax(areas))} <= set(chosen)
    weakest = int(on[3])
    assert weakest in deciding_slices(MASKS["liver"], STACK, {int(n): 0.9 for n in on} | {weakest: 0.1}, 6)
    assert deciding_slices(np.zeros(GRID.shape, bool), STACK, {7: 0.9, 8: 0.1}, 1) == [7]


def test_cells_of_every_tile_are_that_part_of_that_slice_in_the_patient() -> None:
    for plane in (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL):
        stack = SliceStack.along(GRID, plane)
        for drawn in (True, False):
            page = draw_action_page(source(stack), {1: MASKS["spleen"]}, "t", drawn=drawn)
            assert bool(page.png) == drawn
        for tile in page.tiles:
            (box,) = boxes_on(stack, [box_of_cells(ExampleBox(tile.number, (2, 3), (4, 5)), tile, stack)])
            assert list(box.slices) == [tile.slice_index]
            rows, columns = (np.array(part) for part in (tile.rows, tile.columns))
            x = (columns[0] + np.array([2, 5]) / 8 * (columns[1] - columns[0])) / stack.slice_shape[1]
            y = (rows[0] + np.array([3, 6]) / 8 * (rows[1] - rows[0])) / stack.slice_shape[0]
            assert np.allclose(box.box, (x[0], y[0], x[1], y[1]))
