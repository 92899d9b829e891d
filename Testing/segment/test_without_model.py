"""Filling between drawn slices without a model: what was drawn comes back, and what needs a model is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.evaluation.studies.drawn_slices import Drawing, draw_objects, fill_drawn, interpolate
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.progress import RunCallbacks
from MedSAM3SegmentLib.prompts.examples import Example
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, PointPromptRAS, TargetPrompts
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.results.tracks import SliceSource
from MedSAM3SegmentLib.synthetic.phantom import Phantom, make_phantom, tilted_grid
from MedSAM3SegmentLib.without_model import ShapeSegmenter
from support.paths import ROOT

ORGANS = ("liver", "spleen", "left kidney")

#: Slices across, down and through, so that each plane is cut once.
PLANES = (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    """An oblique volume with anisotropic voxels."""
    return make_phantom(321, tilted_grid((30, 60, 54), (5.5, 6.0, 6.5), (12.0, -7.0, 5.0)))


def drawn_request(phantom: Phantom, plane: Plane, step: int = 4) -> SegmentRequest:
    stack = SliceStack.along(phantom.volume.grid, plane)
    prompts = {}
    for organ in ORGANS:
        slices = stack.extract(phantom.masks[organ])
        drawn = np.flatnonzero(slices.any(axis=(1, 2)))[::step]
        mask = np.zeros_like(slices)
        mask[drawn] = slices[drawn]
        marks = MaskPromptRAS(np.ascontiguousarray(stack.insert(mask)), tuple(map(int, drawn)))
        prompts[organ] = TargetPrompts(masks=(marks,), is_phrase=False)
    return SegmentRequest(ORGANS, plane=plane, mode=Mode.FROM_PROMPTS, prompts=prompts)


@pytest.mark.parametrize("plane", PLANES)
def test_drawn_slices_come_back_to_the_voxel_and_the_others_lie_where_they_should(phantom, plane):
    request = drawn_request(phantom, plane)
    result = ShapeSegmenter().segment(phantom.volume, request)
    for concept in result.concepts:
        truth, mask = (result.stack.extract(one) for one in (phantom.masks[concept.concept], concept.mask))
        (marks,) = request.prompts[concept.concept].masks
        drawn = list(marks.slices)
        assert np.array_equal(mask[drawn], truth[drawn])
        rest = [index for index in range(drawn[0], drawn[-1]) if index not in drawn]
        overlap = 2 * np.count_nonzero(mask[rest] & truth[rest]) / (mask[rest].sum() + truth[rest].sum())
        assert overlap > 0.9
        assert not mask[: drawn[0]].any()
        assert not mask[drawn[-1] + 1 :].any()
        assert {concept.sources[index] for index in drawn} == {SliceSource.DRAWN}
        assert {concept.sources[index] for index in rest} <= {SliceSource.INTERPOLATED, SliceSource.MOVED}


@pytest.mark.parametrize("drawing", list(Drawing))
def test_it_is_never_worse_than_shape_interpolation(phantom, drawing):
    stack = SliceStack.along(phantom.volume.grid, Plane.AXIAL)
    objects = draw_objects({name: phantom.masks[name] for name in ORGANS}, stack, drawing)
    assert objects
    filled = fill_drawn(ShapeSegmenter(), phantom.volume, stack, objects)
    gains = [one.score(filled[one.name]) - one.score(interpolate(one)) for one in objects]
    assert min(gains) > -0.01
    assert np.mean(gains) > 0


def test_examples_in_the_volume_itself_are_drawn_slices(phantom):
    stack = SliceStack.along(phantom.volume.grid, Plane.AXIAL)
    objects = draw_objects({"liver": phantom.masks["liver"]}, stack, Drawing.EVERY_THIRD)
    shown = fill_drawn(ShapeSegmenter(), phantom.volume, stack, objects, as_examples=True)
    drawn = fill_drawn(ShapeSegmenter(), phantom.volume, stack, objects)
    assert np.array_equal(shown["liver"], drawn["liver"])


def test_the_result_says_that_no_model_was_used(phantom):
    result = ShapeSegmenter().segment(phantom.volume, drawn_request(phantom, Plane.AXIAL))
    assert result.provenance.model.name == "none"
    assert sum("No model was used" in text for text in result.messages) == len(ORGANS)


def test_points_are_left_out_and_that_is_said(phantom):
    request = drawn_request(phantom, Plane.AXIAL)
    (marks,) = request.prompts["liver"].masks
    place = phantom.volume.grid.to_ras(np.array([3.0, 3.0, 3.0]))
    prompts = TargetPrompts((PointPromptRAS(tuple(map(float, place))),), (), (marks,), is_phrase=False)
    request = SegmentRequest(("liver",), plane=Plane.AXIAL, mode=Mode.FROM_PROMPTS, prompts={"liver": prompts})
    assert any("points" in text for text in ShapeSegmenter().segment(phantom.volume, request).messages)


def test_what_needs_a_model_is_refused_in_words(phantom):
    segmenter = ShapeSegmenter()
    with pytest.raises(InputError, match="draw 'liver' on two slices"):
        segmenter.segment(phantom.volume, SegmentRequest(("liver",)))
    one = drawn_request(phantom, Plane.AXIAL, step=1000)
    with pytest.raises(InputError, match="on two slices"):
        segmenter.segment(phantom.volume, one)
    other = make_phantom(322, phantom.volume.grid)
    shown = {"liver": (Example(other.volume, np.ones(other.volume.grid.shape, bool)),)}
    with pytest.raises(InputError, match="another image"):
        segmenter.segment(phantom.volume, SegmentRequest(("liver",), examples=shown))
    drawn = drawn_request(phantom, Plane.AXIAL)
    inside = SegmentRequest(ORGANS, mode=Mode.FROM_PROMPTS, prompts=drawn.prompts, plane=Plane.AXIAL, inside="liver")
    with pytest.raises(InputError, match="with a model"):
        segmenter.segment(phantom.volume, inside)


def test_it_can_be_cancelled(phantom):
    with pytest.raises(Cancelled):
        ShapeSegmenter().segment(phantom.volume, drawn_request(phantom, Plane.AXIAL), RunCallbacks(cancel=lambda: True))


def test_a_cancel_ends_it_at_the_next_step_and_each_slice_is_a_step(phantom):
    request = drawn_request(phantom, Plane.AXIAL)
    asked = 0

    def ask(last: int | None) -> RunCallbacks:
        nonlocal asked
        asked = 0

        def cancel() -> bool:
            nonlocal asked
            asked += 1
            return asked == last

        return RunCallbacks(cancel=cancel)

    result = ShapeSegmenter().segment(phantom.volume, request, ask(None))
    every = asked
    filled = sum(source is not SliceSource.DRAWN for one in result.concepts for source in one.sources.values())
    assert every >= filled
    for last in (1, every // 3, every // 2, every):
        with pytest.raises(Cancelled):
            ShapeSegmenter().segment(phantom.volume, request, ask(last))
        assert asked == last


def test_it_needs_no_pytorch():
    code = (
        "import sys; sys.modules['torch'] = None; import MedSAM3SegmentLib.without_model, "
        "MedSAM3SegmentLib.evaluation.studies.find_study"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(ROOT) / "MedSAM3Segment")
