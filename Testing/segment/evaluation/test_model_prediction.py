"""A model over cases: a perfect one, moved ones by hand, words and oracle boxes, other sizes, and going on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.evaluation.cases.case import CaseSet, EvaluationCase, Reference
from MedSAM3SegmentLib.evaluation.cases.dataset_catalog import find_described
from MedSAM3SegmentLib.evaluation.cases.described_cases import described_cases
from MedSAM3SegmentLib.evaluation.cases.manifest_cases import manifest_cases
from MedSAM3SegmentLib.evaluation.evaluate_cases import Evaluation, evaluate
from MedSAM3SegmentLib.evaluation.model_prediction import ModelPredictions, PromptKind, oracle_box, resize_nearest
from MedSAM3SegmentLib.evaluation.prediction import FilePredictions
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.progress import RunCallbacks
from MedSAM3SegmentLib.prompts.prompts import BoxReading
from MedSAM3SegmentLib.prompts.slice_prompts import boxes_on
from MedSAM3SegmentLib.volume import Volume
from support.evaluation_files import read_cases, read_summary, square, write_picture, write_volume
from support.external_data import DATA, needs_shared
from support.known_segmenter import IDENTITY, KnownSegmenter
from support.results import axial_grid

BOTH = [PromptKind.WORDS, PromptKind.WORDS_AND_BOX]


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[CaseSet, dict[str, dict[str, np.ndarray]]]:
    """Three pictures with a polyp of 20 x 20, and one without; what a perfect model answers."""
    cases, answers = [], {}
    for name, mask in (
        ("a", square()),
        ("b", square(first=5)),
        ("c", square(first=9)),
        ("none", np.zeros((40, 40), bool)),
    ):
        image = write_picture(tmp_path / "in" / f"{name}.png", np.full((40, 40), 90, np.uint8))
        reference = Reference(mask[None], axial_grid((1, 40, 40)), True)
        cases.append(EvaluationCase(name, lambda _, reference=reference: {"polyp": reference}, (image,), image))
        answers[image.name] = {"polyp": mask[None].astype(np.int32)}
    return CaseSet("polyps", {"polyp": "polyp"}, cases), answers


def predictor(
    segmenter: KnownSegmenter, output: Path, kinds: list[PromptKind] = BOTH, phrases: tuple[str, ...] = ("polyp",)
) -> ModelPredictions:
    return ModelPredictions(segmenter, IDENTITY, {"polyp": phrases}, kinds, None, output / "masks")


def test_a_perfect_model_scores_one(pictures: tuple, tmp_path: Path) -> None:
    case_set, answers = pictures
    segmenter = KnownSegmenter(answers)
    summary = evaluate(case_set, predictor(segmenter, tmp_path / "out"), Evaluation(tmp_path / "out"))
    words, boxes = summary["results"]
    assert (words["prompt"], boxes["prompt"]) == ("T", "T+I")
    for entry in (words, boxes):
        assert [entry[name]["mean"] for name in ("dice", "iou", "nsd", "hd95")] == [1.0, 1.0, 1.0, 0.0]
    assert (words["without_reference"], words["false_found"]) == (1, 0)
    # There is nothing to draw an oracle's box around.
    assert boxes["without_reference"] == 0
    assert "oracle" in (tmp_path / "out" / "tables.md").read_text()
    assert summary["predictor"]["model"]["sha256"] == "1" * 64
    asked = [request for request in segmenter.requests if request.prompts]
    assert all(request.prompts["polyp"].reading is BoxReading.THINGS_LIKE_THIS for request in asked)
    assert len(asked) == 3


@pytest.mark.parametrize("moved", [1, 4, 10])
def test_a_moved_model_scores_as_counted_by_hand(pictures: tuple, tmp_path: Path, moved: int) -> None:
    case_set, answers = pictures
    model = predictor(KnownSegmenter(answers, moved), tmp_path / "out", [PromptKind.WORDS])
    (entry,) = evaluate(case_set, model, Evaluation(tmp_path / "out"))["results"]
    shared = 20 - moved
    assert entry["dice"]["mean"] == pytest.approx(shared / 20)
    assert entry["iou"]["mean"] == pytest.approx(shared / (20 + moved))
    assert entry["hd95"]["mean"] == pytest.approx(moved)
    row = read_cases(tmp_path / "out")["a", "polyp"]
    assert [int(row[name]) for name in ("tp", "fp", "fn")] == [20 * shared, 20 * moved, 20 * moved]


def test_a_sweep_of_phrases_has_a_row_each(pictures: tuple, tmp_path: Path) -> None:
    case_set, answers = pictures
    segmenter = KnownSegmenter(answers)
    model = predictor(segmenter, tmp_path / "out", [PromptKind.WORDS], ("polyp", "lesion"))
    results = evaluate(case_set, model, Evaluation(tmp_path / "out"))["results"]
    assert [(entry["phrase"], entry["dice"]["mean"]) for entry in results] == [("polyp", 1.0), ("lesion", 0.0)]
    assert len(segmenter.requests) == 4  # both phrases at once


def test_words_against_boxes_is_a_test_in_pairs(pictures: tuple, tmp_path: Path) -> None:
    case_set, answers = pictures
    summary = evaluate(case_set, predictor(KnownSegmenter(answers), tmp_path / "out"), Evaluation(tmp_path / "out"))
    (entry,) = summary["words_against_boxes"]
    assert (entry["cases"], entry["difference"]["mean"], entry["non_inferior"]) == (3, 0.0, True)


def test_a_run_that_was_cancelled_goes_on_and_gives_the_same(pictures: tuple, tmp_path: Path) -> None:
    case_set, answers = pictures
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    evaluate(case_set, predictor(KnownSegmenter(answers, 3), whole), Evaluation(whole))
    first = KnownSegmenter(answers, 3)
    with pytest.raises(Cancelled, match="2 cases"):
        evaluate(case_set, predictor(first, parts), Evaluation(parts), cancel=lambda: len(first.requests) >= 4)
    second = KnownSegmenter(answers, 3)
    evaluate(case_set, predictor(second, parts), Evaluation(parts))
    assert len(second.requests) == 3  # words and box for one, words for the one without
    names = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.name != ".lock")
    assert len(names) > 10
    for name in names:
        assert (parts / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_model_that_is_stopped_in_a_case_keeps_the_cases_before(pictures: tuple, tmp_path: Path) -> None:
    case_set, answers = pictures
    segmenter = KnownSegmenter(answers)
    model = predictor(segmenter, tmp_path / "out")
    model.callbacks = RunCallbacks(cancel=lambda: len(segmenter.requests) == 3)  # the second of two of a case
    with pytest.raises(Cancelled, match="Stopped after 1 case; the same command goes on there"):
        evaluate(case_set, model, Evaluation(tmp_path / "out"))
    assert not (tmp_path / "out" / "summary.json").exists()
    model.callbacks = RunCallbacks()
    assert len(evaluate(case_set, model, Evaluation(tmp_path / "out"))["results"]) == 2


def test_another_model_does_not_go_on(pictures: tuple, tmp_path: Path) -> None:
    case_set, answers = pictures
    evaluate(case_set, predictor(KnownSegmenter(answers), tmp_path / "out"), Evaluation(tmp_path / "out"))
    other = predictor(KnownSegmenter(answers), tmp_path / "out")
    other.model = {**IDENTITY, "sha256": "2" * 64}
    with pytest.raises(InputError, match="other predictor"):
        evaluate(case_set, other, Evaluation(tmp_path / "out"))


@pytest.mark.parametrize("size", [20, 80])
def test_a_reference_of_another_size_is_scored_at_its_own(tmp_path: Path, size: int) -> None:
    image = write_picture(tmp_path / "a.png", np.full((40, 40), 90, np.uint8))
    truth = resize_nearest(square()[None], (1, size, size))
    case = EvaluationCase("a", lambda _: {"polyp": Reference(truth, axial_grid(truth.shape), True)}, (image,), image)
    model = predictor(KnownSegmenter({"a.png": {"polyp": square()[None].astype(np.int32)}}), tmp_path / "out")
    summary = evaluate(CaseSet("x", {"polyp": "polyp"}, [case]), model, Evaluation(tmp_path / "out"))
    assert [entry["dice"]["mean"] for entry in summary["results"]] == [1.0, 1.0]
    assert any("other sizes" in note for note in summary["notes"])
    assert int(read_cases(tmp_path / "out")["a", "polyp"]["tp"]) == size * size // 4


def test_a_reference_of_another_shape_is_refused(tmp_path: Path) -> None:
    image = write_picture(tmp_path / "a.png", np.full((40, 40), 90, np.uint8))
    truth = np.ones((1, 40, 30), bool)
    case = EvaluationCase("a", lambda _: {"polyp": Reference(truth, axial_grid(truth.shape), True)}, (image,), image)
    model = predictor(KnownSegmenter({"a.png": {}}), tmp_path / "out", [PromptKind.WORDS])
    with pytest.raises(InputError, match=r"a\.png.*resample"):
        evaluate(CaseSet("x", {"polyp": "polyp"}, [case]), model, Evaluation(tmp_path / "out"))


def test_a_volume_in_millimetres(tmp_path: Path) -> None:
    truth = np.zeros((10, 20, 20), np.uint8)
    truth[3:7, 4:12, 4:12] = 1
    image = write_volume(tmp_path / "ct.nii.gz", truth * 50, (0.5, 0.5, 4.0))

    def read(grid: VoxelGrid | None) -> dict[str, Reference]:
        assert grid is not None
        return {"polyp": Reference(truth > 0, grid)}

    answers = {"ct.nii.gz": {"polyp": truth.astype(np.int32)}}
    case_set = CaseSet("ct", {"polyp": "polyp"}, [EvaluationCase("ct", read, (image,), image)])
    summary = evaluate(case_set, predictor(KnownSegmenter(answers, 2), tmp_path / "out"), Evaluation(tmp_path / "out"))
    words, boxes = summary["results"]
    assert words["dice"]["mean"] == boxes["dice"]["mean"] == 0.75
    assert words["hd95"]["mean"] == pytest.approx(1.0)
    assert summary["rules"]["distance_units"] == ["mm"]
    assert len(list((tmp_path / "out" / "masks").rglob("ct.nii.gz"))) == 2


def test_objects_are_scored_where_they_are_labelled(tmp_path: Path) -> None:
    objects = np.zeros((1, 40, 40), np.int32)
    objects[0, 2:10, 2:10], objects[0, 20:30, 20:30] = 1, 2
    image = write_picture(tmp_path / "a.png", np.full((40, 40), 90, np.uint8))
    reference = Reference(objects > 0, axial_grid((1, 40, 40)), True, objects)
    case_set = CaseSet("x", {"polyp": "polyp"}, [EvaluationCase("a", lambda _: {"polyp": reference}, (image,), image)])
    found = np.where(objects == 2, 0, objects)
    model = predictor(KnownSegmenter({"a.png": {"polyp": found}}), tmp_path / "out", [PromptKind.WORDS])
    (entry,) = evaluate(case_set, model, Evaluation(tmp_path / "out"))["results"]
    assert entry["pq"]["mean"] == pytest.approx(1 / 1.5)
    assert entry["ap"]["mean"] == pytest.approx(0.5)
    assert read_summary(tmp_path / "out")["results"][0]["ap50"]["mean"] == pytest.approx(0.5)


class TestOracleBox:
    def test_is_around_the_largest_part_on_its_largest_slice(self) -> None:
        mask = np.zeros((6, 30, 30), bool)
        mask[1, 0:3, 0:3] = True
        mask[2, 5:9, 6:12] = True
        mask[3, 5:10, 6:13] = True
        grid = axial_grid(mask.shape, (0.5, 0.5, 3.0))
        box = oracle_box(Reference(mask, grid), Volume(np.zeros(mask.shape, np.int16), grid, "CT"))
        assert box is not None
        (placed,) = boxes_on(SliceStack.along(grid), [box])
        assert placed.slices == range(3, 4)
        assert placed.box == pytest.approx((6 / 30, 5 / 30, 13 / 30, 10 / 30))

    @pytest.mark.parametrize("seed", range(6))
    def test_on_any_grid_it_holds_the_mask_of_its_slice(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        axes = random.permutation(3)
        matrix = np.eye(4)
        matrix[:3, :3] = np.diag(random.uniform(0.5, 3, 3) * random.choice([-1, 1], 3))[:, axes]
        matrix[:3, 3] = random.uniform(-50, 50, 3)
        grid = VoxelGrid((9, 12, 14), matrix)
        mask = np.zeros(grid.shape, bool)
        mask[3:6, 4:9, 2:11] = True
        box = oracle_box(Reference(mask, grid), Volume(np.zeros(grid.shape, np.int16), grid, "CT"))
        assert box is not None
        stack = SliceStack.along(grid)
        (placed,) = boxes_on(stack, [box])
        (index,) = placed.slices
        rows, columns = stack.slice_shape
        x0, y0, x1, y1 = (value * size for value, size in zip(placed.box, (columns, rows) * 2, strict=True))
        there = np.argwhere(stack.extract(mask)[index])
        assert (y0, x0) == pytest.approx(there.min(axis=0), abs=1e-6)
        assert (y1, x1) == pytest.approx(there.max(axis=0) + 1, abs=1e-6)

    def test_of_a_single_pixel_has_an_area(self) -> None:
        mask = np.zeros((1, 9, 9), bool)
        mask[0, 4, 4] = True
        grid = axial_grid(mask.shape)
        box = oracle_box(Reference(mask, grid, True), Volume(np.zeros(mask.shape, np.uint8), grid))
        assert box is not None
        assert len(boxes_on(SliceStack.along(grid), [box])) == 1

    def test_of_nothing_is_none(self) -> None:
        grid = axial_grid((1, 9, 9))
        empty = Reference(np.zeros(grid.shape, bool), grid, True)
        assert oracle_box(empty, Volume(np.zeros(grid.shape, np.uint8), grid)) is None


def real_cases(name: str, here: Path) -> CaseSet:
    """A few cases of the real pictures."""
    if name == "nuclei_dsb2018":
        found = described_cases(find_described("dsb2018"), DATA / name, "all", partial=True)
        return replace(found, cases=found.cases[:3])
    ultrasound, pictures = DATA / "ultrasound_nerve", DATA / "images_2d"
    if name == "ultrasound_nerve":
        files = [(path, ultrasound / "masks" / path.name) for path in sorted((ultrasound / "images").iterdir())[:3]]
        concepts: dict[str, list[int]] = {"first": [1], "second": [2]}
    else:
        files = [(pictures / "20_ultrasound_breast.png", pictures / "20_ultrasound_breast_tumor.png")]
        files += [(pictures / "26_OCT_retinal.png", pictures / "26_OCT_retinal_edema.png")]
        concepts = {"lesion": [255]}
    listed = [{"image": str(image), "labels": str(mask), "concepts": concepts} for image, mask in files]
    (here / "cases.json").write_text(json.dumps({"cases": listed}))
    return manifest_cases(here / "cases.json")


@needs_shared
@pytest.mark.parametrize("name", ["nuclei_dsb2018", "ultrasound_nerve", "images_2d"])
@pytest.mark.parametrize("moved", [0, 3])
def test_real_pictures_by_a_perfect_and_a_moved_model(tmp_path: Path, name: str, moved: int) -> None:
    case_set = real_cases(name, tmp_path)
    answers: dict[str, dict[str, np.ndarray]] = {}
    expected = {}
    for case in case_set.cases:
        assert case.image is not None
        for concept, reference in case.read_references(None).items():
            objects = reference.mask.astype(np.int32) if reference.objects is None else reference.objects
            answers.setdefault(case.image.name, {})[case_set.concepts[concept]] = objects
            found = np.roll(reference.mask, moved, axis=2)
            if reference.mask.any():
                counts = np.bincount(2 * reference.mask.ravel() + found.ravel(), minlength=4)
                expected[case.name, concept] = 2 * counts[3] / (2 * counts[3] + counts[1] + counts[2])
    phrases = {concept: (phrase,) for concept, phrase in case_set.concepts.items()}
    model = KnownSegmenter(answers, moved)
    predictions = ModelPredictions(model, IDENTITY, phrases, [PromptKind.WORDS], None, tmp_path / "out" / "masks")
    summary = evaluate(case_set, predictions, Evaluation(tmp_path / "out", tolerance=None, pictures=False))
    rows = read_cases(tmp_path / "out")
    assert len(expected) >= 2
    for key, dice in expected.items():
        assert float(rows[key]["dice"]) == pytest.approx(dice, abs=1e-12)
        assert (dice == 1.0) == (moved == 0)
    if moved == 0:
        assert all(entry["dice"]["mean"] == 1.0 for entry in summary["results"] if entry["dice"])
        assert all(entry["false_found"] == 0 for entry in summary["results"])
    if name == "nuclei_dsb2018" and moved == 0:
        (entry,) = summary["results"]
        assert entry["pq"]["mean"] == entry["ap"]["mean"] == 1.0
        assert [int(row["objects_reference"]) for row in rows.values()] == [5, 17, 55]


def test_files_are_compared_with_words_where_a_baseline_has_both(pictures: tuple, tmp_path: Path) -> None:
    case_set, answers = pictures
    evaluate(case_set, predictor(KnownSegmenter(answers, 4), tmp_path / "base"), Evaluation(tmp_path / "base"))
    for case in case_set.cases:
        write_picture(tmp_path / "agent" / f"{case.name}.png", case.read_references(None)["polyp"].mask[0])
    files = FilePredictions(tmp_path / "agent", case_set, {"polyp": (255,)})
    run = Evaluation(tmp_path / "gain", baseline=tmp_path / "base", pictures=False)
    (entry,) = evaluate(case_set, files, run)["against_baseline"]
    assert entry["baseline"] == {"prompt": "T", "phrase": "polyp"}
    assert (entry["dice"], entry["dice_of_other"]) == (1.0, pytest.approx(0.8))
