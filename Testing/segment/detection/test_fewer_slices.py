"""Slices left out: what is looked at then, what is lost, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from MedSAM3SegmentLib.detection import fewer_slices
from MedSAM3SegmentLib.detection.detect_slices import ConceptQuery
from MedSAM3SegmentLib.detection.fewer_slices import check_saving, detect_fewer_slices
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask, soft_mask_to_binary
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.progress import NO_CALLBACKS, RunReporter
from MedSAM3SegmentLib.request import Grouping, Mode, SegmentRequest
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.search_region import SearchRegion
from MedSAM3SegmentLib.slice_saving import SliceSaving
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

COUNT, EDGE = 100, 48


def stack_of(thickness_mm: float, count: int = COUNT) -> SliceStack:
    return SliceStack.along(VoxelGrid((count, EDGE, EDGE), np.diag([-2.0, -2.0, thickness_mm, 1.0])), Plane.AXIAL)


class BallDetector:
    """Stands in for ``detect_slices``: each concept is a ball, and which slices it was asked on is kept."""

    def __init__(self, balls: dict[str, tuple[int, int]], thickness: float = 2.0) -> None:
        self.balls = balls
        self.thickness = thickness
        self.asked: dict[str, list[int]] = {name: [] for name in balls}

    def mask(self, name: str, index: int) -> np.ndarray[Any, Any]:
        middle, radius = self.balls[name]
        y, x = np.ogrid[:EDGE, :EDGE]
        away = (index - middle) * self.thickness
        return np.asarray(away**2 + (2.0 * (y - 24)) ** 2 + (2.0 * (x - 20)) ** 2 < radius**2)

    def __call__(
        self, features: object, queries: Sequence[ConceptQuery], region: SearchRegion, *rest: object
    ) -> list[list[SliceDetections]]:
        del features, rest
        answers = []
        for query in queries:
            items = []
            for index in region.slices:
                if query.is_asked_on(index):
                    self.asked[query.concept].append(index)
                    mask = self.mask(query.concept, index)
                    score = 0.9 if mask.any() else 0.02
                    items.append(SliceDetections(index, score, score, semantic=SoftMask.of(mask)))
            answers.append(items)
        return answers


def run(
    detector: BallDetector, saving: SliceSaving, monkeypatch: pytest.MonkeyPatch, count: int = COUNT
) -> tuple[list[list[SliceDetections]], str]:
    monkeypatch.setattr(fewer_slices, "detect_slices", detector)
    stack = stack_of(detector.thickness, count)
    region = SearchRegion.of(SegmentRequest(tuple(detector.balls)), stack)
    queries = [ConceptQuery(name, name, Window(0.0, 1.0, "")) for name in detector.balls]
    found, said = detect_fewer_slices(None, queries, region, 0.5, RunReporter(NO_CALLBACKS), saving)  # type: ignore[arg-type]
    return found, str(said)


def test_skimming_sees_every_slice_of_each_organ_and_few_others(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = BallDetector({"liver": (30, 30), "spleen": (45, 20)})
    found, said = run(detector, SliceSaving(skim=8), monkeypatch)
    for (name, (middle, radius)), items in zip(detector.balls.items(), found, strict=True):
        on = {index for index in range(COUNT) if detector.mask(name, index).any()}
        seen = {item.slice_index for item in items}
        assert on <= seen, f"{name} around {middle} of {radius} mm"
        assert len(seen) <= len(on) + 4 + COUNT / 8 + 1
        assert [item.slice_index for item in items] == sorted(seen)
        assert len(detector.asked[name]) == len(seen), "nothing is asked twice"
    looked = len({index for asked in detector.asked.values() for index in asked})
    assert looked <= 0.55 * COUNT
    assert said == f"{looked} of 100 slices were looked at: one in 8 first, then where something may be."


@pytest.mark.parametrize("middle", range(40, 48))
def test_the_smallest_organ_that_is_let_through_is_not_lost(middle: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As thick as the step, wherever it lies between the slices that come first."""
    detector = BallDetector({"spleen": (middle, 9)})
    (items,), _ = run(detector, SliceSaving(skim=8), monkeypatch)
    on = {index for index in range(COUNT) if detector.mask("spleen", index).any()}
    assert on <= {item.slice_index for item in items}


def test_nothing_there_costs_the_first_slices_only(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = BallDetector({"liver": (-500, 10)})
    (items,), _ = run(detector, SliceSaving(skim=10), monkeypatch)
    assert [item.slice_index for item in items] == [*range(0, 100, 10), 99]


def test_thin_slices_get_shapes_between(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = BallDetector({"liver": (50, 35)}, thickness=1.0)
    (items,), _ = run(detector, SliceSaving(least_distance_mm=3.0), monkeypatch)
    assert len(detector.asked["liver"]) <= 0.4 * COUNT
    assert [item.slice_index for item in items] == list(range(COUNT))
    both = total = 0
    for item in items:
        truth = detector.mask("liver", item.slice_index)
        mask = np.zeros_like(truth)
        if item.score >= 0.5 and item.semantic is not None:
            mask = soft_mask_to_binary(item.semantic, truth.shape)
        both += 2 * int((mask & truth).sum())
        total += int(mask.sum() + truth.sum())
    assert both / total >= 0.99


def test_thin_slices_are_skimmed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = BallDetector({"liver": (150, 30)}, thickness=1.0)
    (items,), said = run(detector, SliceSaving(skim=4, least_distance_mm=3.0), monkeypatch, count=300)
    shown = {item.slice_index for item in items if item.score >= 0.5}
    on = {index for index in range(300) if detector.mask("liver", index).any()}
    assert len(on ^ shown) <= 4
    assert len(detector.asked["liver"]) <= 0.2 * 300
    assert "of one in 3 one in 4 first" in said


@pytest.mark.parametrize(
    ("concept", "skim", "is_fine"),
    [("liver", 10, True), ("Spleen", 10, True), ("spleen", 11, False), ("tumor", 2, True), ("tumor", 3, False)],
)
def test_what_may_be_smaller_than_the_step_is_refused(concept: str, skim: int, is_fine: bool) -> None:
    request = SegmentRequest((concept,), saving=SliceSaving(skim=skim))
    if is_fine:
        check_saving(request, stack_of(2.0), Vocabulary.load())
        return
    with pytest.raises(InputError, match=f"'{concept}' may be as small as .* mm and would be missed"):
        check_saving(request, stack_of(2.0), Vocabulary.load())


def test_what_needs_every_slice_is_refused() -> None:
    request = SegmentRequest(("liver",), saving=SliceSaving(least_distance_mm=3.0))
    for changed in (
        replace(request, mode=Mode.PROPAGATE),
        replace(request, more_planes=(Plane.CORONAL,)),
        replace(request, grouping=Grouping.INSTANCE),
    ):
        with pytest.raises(InputError, match="look at all"):
            check_saving(changed, stack_of(1.0), Vocabulary.load())
    for wrong in ({"skim": 0}, {"least_distance_mm": -1.0}, {"least_distance_mm": float("nan")}):
        with pytest.raises(InputError):
            SliceSaving(**wrong)  # type: ignore[arg-type]
