"""Pictures of cases: outlines in the colors of the legend, and the image still to be seen below."""

from __future__ import annotations

import numpy as np

from MedSAM3SegmentLib.evaluation.case_pictures import draw_case
from MedSAM3SegmentLib.evaluation.cases.case import Reference
from MedSAM3SegmentLib.volume import Volume
from support.evaluation_files import square
from support.results import axial_grid

GREEN, MAGENTA, WHITE = (60, 220, 90), (240, 70, 220), (255, 255, 255)


def test_outlines_have_the_colors_of_the_legend() -> None:
    grid = axial_grid((1, 64, 64))
    truth, found = square(64, 10, 20)[None], square(64, 10, 20, moved=8)[None]
    volume = Volume(np.full((1, 64, 64), 100, np.uint8), grid)
    picture = np.asarray(draw_case(found, Reference(truth, grid, True), volume))
    assert picture.shape == (512, 512, 3)  # 8 times as large: rows 80 to 239, columns 80 to 239 and 144 to 303
    assert tuple(picture[160, 80]) == GREEN
    assert tuple(picture[160, 303]) == MAGENTA
    assert tuple(picture[80, 190]) == WHITE  # the upper rim of both
    assert picture[160, 110, 1] > picture[160, 110, 0]  # greenish in the reference alone
    assert picture[160, 280, 0] > picture[160, 280, 1]
    assert tuple(picture[20, 20]) == tuple(picture[400, 400])  # the image as it is
    alone = np.asarray(draw_case(found, Reference(truth, grid, True), None))
    assert tuple(alone[20, 20]) == (0, 0, 0)
