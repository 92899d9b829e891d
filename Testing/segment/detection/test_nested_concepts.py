"""One concept inside of another one of the same request: "tumor inside liver"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.assembly.assemble import with_threshold
from MedSAM3SegmentLib.checkpoints.networks import TrackerNetworks
from MedSAM3SegmentLib.detection import multiplanar
from MedSAM3SegmentLib.detection.detect_slices import ConceptQuery
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.features.slice_encoder import SliceFeatures
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.progress import (
    PartialMask,
    Progress,
    RunCallbacks,
    RunReporter,
    Stage,
)
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, TargetPrompts
from MedSAM3SegmentLib.reporting.report import segment_provenance
from MedSAM3SegmentLib.request import AssemblyOptions, Mode, SegmentRequest
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.search_region import SearchRegion
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.tracking.correction import correction_request
from MedSAM3SegmentLib.volume import Volume
from support.grids import stored_as
from support.untrained_tracker import make_tracker

SHAPE = (10, 20, 24)


def block(*ranges: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*part) for part in ranges)] = True
    return mask


LIVER = block((2, 8), (3, 12), (4, 15))
#: One in the liver, one that reaches out of it, one beside it, and one above.
TUMORS = (block((3, 6), (5, 8), (6, 9)) | block((4, 9), (9, 15), (10, 13)) | block((3, 6), (15, 18), (17, 22))) | block(
    (8, 10), (5, 8), (6, 9)
)
SPLEEN = block((1, 6), (14, 19), (16, 23))

#: What is where.
TRUTH = {"liver": LIVER, "tumor": TUMORS, "spleen": SPLEEN}

#: For objects too thin to be believed.
KEEP_ALL = AssemblyOptions(drop_isolated=False)

#: The voxels stored so that axial slices are neither the first axis nor upright.
TURNED = ((2, 0, 1), (True, False, True))


@pytest.fixture
def segmenter(tiny_model_folder: Path) -> Segmenter:
    return Segmenter.load(str(tiny_model_folder), "cpu")


def volume_of() -> Volume:
    array = np.random.default_rng(0).integers(-200, 300, SHAPE).astype(np.int16)
    stored, grid = stored_as(array, VoxelGrid(SHAPE, np.diag([-2.0, -2.0, 3.0, 1.0])), TURNED)
    return Volume(np.ascontiguousarray(stored), grid, "CT", "test")


def stored(mask: np.ndarray) -> np.ndarray:
    return stored_as(mask, VoxelGrid(SHAPE, np.eye(4)), TURNED)[0]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """The slices that were looked at, by phrase; the detector sees the masks above on each."""
    looked: dict[str, list[int]] = {}

    def look(
        features: SliceFeatures,
        questions: Sequence[ConceptQuery],
        search_region: SearchRegion,
        threshold: float,
        reporter: RunReporter,
    ) -> list[list[SliceDetections]]:
        del features, threshold, reporter
        answers = []
        for question in questions:
            pictures = search_region.stack.extract(stored(TRUTH.get(question.prompt, np.zeros(SHAPE, bool))))
            looked[question.prompt] = list(search_region.slices)
            answers.append(
                [
                    SliceDetections(n, 0.9, 0.9, semantic=SoftMask.of(pictures[n]))
                    if pictures[n].any()
                    else SliceDetections(n, 0.02, 0.02)
                    for n in search_region.slices
                ]
            )
        return answers

    monkeypatch.setattr(multiplanar, "detect_slices", look)
    return looked


def test_a_concept_of_the_request_is_found_first_and_cuts_the_others(
    segmenter: Segmenter, seen: dict[str, list[int]]
) -> None:
    request = SegmentRequest(("tumor", "liver", "spleen"), plane=Plane.AXIAL, inside="The Liver")
    result = segmenter.segment(volume_of(), request)

    tumor, liver, spleen = result.concepts
    assert [concept.concept for concept in result.concepts] == ["tumor", "liver", "spleen"]
    assert np.array_equal(liver.mask, stored(LIVER))
    assert np.array_equal(tumor.mask, stored(TUMORS & LIVER))
    assert not spleen.found
    assert len(seen["liver"]) == 10
    assert len(seen["tumor"]) == 6, "only slices with the liver are looked at"
    assert result.provenance.inside == f"liver (a concept of the same request, {LIVER.sum()} voxels, holes included)"
    assert segment_provenance(result, tumor)["inside"] == result.provenance.inside
    assert segment_provenance(result, tumor)["limited_to"]["mask"] is True
    assert "limited_to" not in segment_provenance(result, liver)


def test_a_hole_is_inside_but_a_notch_is_not(
    segmenter: Segmenter, seen: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models leave a tumor out of the liver; the segment of the liver itself keeps its hole."""
    hole, notch = block((3, 7), (5, 9), (6, 10)), block((3, 7), (9, 12), (12, 15))
    monkeypatch.setitem(TRUTH, "liver", LIVER & ~hole & ~notch)
    request = SegmentRequest(("liver", "tumor"), plane=Plane.AXIAL, inside="liver", assembly=KEEP_ALL)
    liver, tumor = segmenter.segment(volume_of(), request).concepts
    assert np.array_equal(liver.mask, stored(LIVER & ~hole & ~notch))
    assert np.array_equal(tumor.mask, stored(TUMORS & LIVER & ~notch))
    assert list(seen) == ["liver", "tumor"]


def test_a_slice_that_is_filled_between_two_stays_inside(
    segmenter: Segmenter, seen: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The detector misses the tumor on slice 4, where the liver is smaller than on its neighbors."""
    del seen
    narrow, tumor = LIVER & ~block((4, 5), (3, 8), (4, 15)), block((3, 6), (5, 11), (6, 9))
    monkeypatch.setitem(TRUTH, "liver", narrow)
    monkeypatch.setitem(TRUTH, "tumor", tumor & ~block((4, 5), (0, 20), (0, 24)))
    request = SegmentRequest(("liver", "tumor"), plane=Plane.AXIAL, inside="liver")
    found = segmenter.segment(volume_of(), request).concepts[1].mask
    assert np.array_equal(found, stored(tumor & narrow))


def test_a_moved_threshold_keeps_what_was_cut(segmenter: Segmenter, seen: dict[str, list[int]]) -> None:
    del seen
    request = SegmentRequest(("liver", "tumor"), plane=Plane.AXIAL, inside="liver")
    moved = with_threshold(segmenter.segment(volume_of(), request), 0.2)
    assert np.array_equal(moved.concepts[0].mask, stored(LIVER))
    assert np.array_equal(moved.concepts[1].mask, stored(TUMORS & LIVER))


def test_an_outer_phrase_is_searched_first_and_is_not_in_the_result(
    segmenter: Segmenter, seen: dict[str, list[int]]
) -> None:
    result = segmenter.segment(volume_of(), SegmentRequest(("tumor",), plane=Plane.AXIAL, inside="liver"))
    (tumor,) = result.concepts
    assert np.array_equal(tumor.mask, stored(TUMORS & LIVER))
    assert list(seen) == ["liver", "tumor"]
    assert result.provenance.inside == f"liver (looked for first, {LIVER.sum()} voxels, holes included)"


def test_the_range_of_slices_holds_for_both(segmenter: Segmenter, seen: dict[str, list[int]]) -> None:
    del seen
    request = SegmentRequest(("liver", "tumor"), plane=Plane.AXIAL, inside="liver", assembly=KEEP_ALL)
    halves = [segmenter.segment(volume_of(), replace(request, slices=part)) for part in ((0, 5), (5, 10))]
    assert np.array_equal(halves[0].concepts[0].mask | halves[1].concepts[0].mask, stored(LIVER))
    assert np.array_equal(halves[0].concepts[1].mask | halves[1].concepts[1].mask, stored(TUMORS & LIVER))


def test_only_what_is_asked_for_is_shown_on_the_way(segmenter: Segmenter) -> None:
    """Whoever shows it has no color for a phrase that does not come back."""
    for concepts in (("tumor",), ("tumor", "liver")):
        shown: list[PartialMask] = []
        request = SegmentRequest(concepts, plane=Plane.AXIAL, threshold=0.3, inside="liver")
        result = segmenter.segment(volume_of(), request, RunCallbacks(partial=shown.append))
        assert {piece.concept for piece in shown} == set(concepts)
        masks = {concept.concept: result.stack.extract(concept.mask) for concept in result.concepts}
        assert all(np.array_equal(piece.mask, masks[piece.concept][piece.slice_index]) for piece in shown)


@pytest.mark.parametrize("mode", [Mode.SLICES, Mode.PROPAGATE])
def test_a_container_that_is_not_there_is_an_answer(
    segmenter: Segmenter, seen: dict[str, list[int]], mode: Mode
) -> None:
    segmenter.model.tracker = TrackerNetworks((tracker := make_tracker()).network, tracker._neck)
    request = SegmentRequest(("pancreas", "tumor"), plane=Plane.AXIAL, inside="pancreas", mode=mode)
    result = segmenter.segment(volume_of(), request)
    assert [concept.found for concept in result.concepts] == [False, False]
    assert "tumor" not in seen
    assert "'pancreas' was not found, so nothing could be looked for inside of it." in result.messages
    assert result.provenance.inside == "pancreas (a concept of the same request, not found)"


def test_what_a_mask_given_by_hand_was_is_said_too(segmenter: Segmenter, seen: dict[str, list[int]]) -> None:
    del seen
    result = segmenter.segment(volume_of(), SegmentRequest(("tumor",), inside=stored(LIVER)))
    assert np.array_equal(result.concepts[0].mask, stored(TUMORS & LIVER))
    assert result.provenance.inside == f"a mask that was given ({LIVER.sum()} voxels)"
    assert segmenter.segment(volume_of(), SegmentRequest(("tumor",))).provenance.inside == ""


@pytest.mark.parametrize(
    ("concepts", "inside", "words"),
    [
        (("tumor",), "  ", "one structure"),
        (("tumor",), "liver; spleen", "one structure"),
        (("liver",), "liver", "inside of itself"),
        (("Liver",), "the liver", "inside of itself"),
    ],
)
def test_a_name_that_makes_no_sense_is_refused_in_one_sentence(
    concepts: tuple[str, ...], inside: str, words: str
) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        SegmentRequest(concepts, inside=inside)
    assert str(refusal.value).count(".") == 1


def test_objects_that_are_followed_stay_inside(segmenter: Segmenter) -> None:
    """With real networks, which see much everywhere: nothing of the others lies out of what the first one became."""
    tracker = make_tracker()
    segmenter.model.tracker = TrackerNetworks(tracker.network, tracker._neck)
    drawn = TargetPrompts(masks=(MaskPromptRAS(stored(LIVER & block((5, 6), (0, 20), (0, 24)))),), is_phrase=False)
    request = SegmentRequest(
        ("tumor", "liver"),
        plane=Plane.AXIAL,
        threshold=0.3,
        inside="liver",
        mode=Mode.PROPAGATE,
        prompts={"liver": drawn},
    )
    tumor, liver = segmenter.segment(volume_of(), request).concepts
    assert liver.found
    assert liver.tracks
    assert not (tumor.mask & ~liver.mask).any()


def test_what_is_drawn_may_lie_inside_of_a_phrase(segmenter: Segmenter) -> None:
    """The phrase is looked for on every slice, as nothing was drawn of it to be followed from."""
    tracker = make_tracker()
    segmenter.model.tracker = TrackerNetworks(tracker.network, tracker._neck)
    drawn = TargetPrompts(masks=(MaskPromptRAS(stored(TUMORS & block((4, 5), (0, 20), (0, 24)))),), is_phrase=False)
    request = SegmentRequest(
        ("it",), plane=Plane.AXIAL, threshold=0.3, inside="liver", mode=Mode.FROM_PROMPTS, prompts={"it": drawn}
    )
    result = segmenter.segment(volume_of(), request)
    assert np.array_equal(result.concepts[0].mask & stored(block((4, 5), (0, 20), (0, 24))), drawn.masks[0].mask)
    assert result.provenance.inside.startswith("liver (looked for first, ")


def test_a_corrected_slice_is_carried_inside_of_the_same_mask(segmenter: Segmenter, seen: dict[str, list[int]]) -> None:
    del seen
    request = SegmentRequest(("liver", "tumor"), plane=Plane.AXIAL, inside="liver")
    result = segmenter.segment(volume_of(), request)
    stack, changed = result.stack, result.concepts[1].mask.copy()
    corrected = int(np.flatnonzero(stack.extract(changed).any(axis=(1, 2)))[0])
    stack.extract(changed)[corrected, :2] = True
    again = correction_request(request, result, "tumor", changed, [corrected])
    assert np.array_equal(again.inside, stored(LIVER))
    assert correction_request(request, result, "liver", result.concepts[0].mask, [corrected]).inside is None


@pytest.mark.parametrize("threshold", [0.3, 0.9])
def test_the_progress_is_one_whatever_the_first_concept_leaves_to_look_at(
    segmenter: Segmenter, threshold: float
) -> None:
    """At 0.3 the tiny model finds everything everywhere, and at 0.9 nothing, so that nothing is looked for inside."""
    reports: list[Progress] = []
    request = SegmentRequest(("liver", "tumor"), plane=Plane.AXIAL, threshold=threshold, inside="liver")
    result = segmenter.segment(volume_of(), request, RunCallbacks(progress=reports.append))
    assert [concept.found for concept in result.concepts] == [threshold == 0.3] * 2
    looking = [report for report in reports if report.stage is Stage.SEGMENTING]
    done = [report.done for report in looking]
    # All slices are planned for the tumor, and none are left to look at where no liver was found.
    assert {report.total for report in looking} == ({20} if threshold == 0.3 else {20, 10})
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, looking[-1].total)
    assert looking[-1].seconds_left == 0
