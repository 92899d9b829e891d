"""Films: J and F of frames, whole films followed, folders of any tool's frames; values counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.evaluation.cases.case import CaseSet
from MedSAM3SegmentLib.evaluation.cases.dataset_catalog import find_described
from MedSAM3SegmentLib.evaluation.cases.described_cases import described_cases
from MedSAM3SegmentLib.evaluation.cases.films import as_films
from MedSAM3SegmentLib.evaluation.evaluate_cases import Evaluation, evaluate
from MedSAM3SegmentLib.evaluation.model_prediction import ModelPredictions, PromptKind
from MedSAM3SegmentLib.evaluation.scores.video_scores import contour_accuracy
from MedSAM3SegmentLib.request import Mode
from support.evaluation_files import evaluate as run
from support.evaluation_files import read_cases, read_summary, square, write_picture
from support.known_segmenter import IDENTITY, KnownSegmenter

#: Of 40 x 40 pixels: 20 x 20 moved by 5 columns share 300 of 500 pixels.
MOVED = 5
J = 300 / 500


def polypgen(root: Path) -> CaseSet:
    """Twelve frames of one film, with a polyp in all but the last, a film without, and a still."""
    folder = root / "sequenceData" / "positive" / "seq1"
    for frame in range(1, 13):
        gray = np.full((40, 40), 100 + frame, np.uint8)
        write_picture(folder / "images_seq1" / f"a_{frame}.jpg", gray)
        write_picture(folder / "masks_seq1" / f"a_{frame}.jpg", square() & (frame < 12))
    for frame in range(2):
        write_picture(
            root / "sequenceData/negativeOnly/seq1_neg" / f"n_{frame}.jpg", np.full((40, 40), 9 + frame, np.uint8)
        )
    write_picture(root / "data_C6" / "images_C6" / "s.jpg", np.full((40, 40), 50, np.uint8))
    write_picture(root / "data_C6" / "masks_C6" / "s_mask.jpg", square())
    return described_cases(find_described("polypgen"), root, "all", partial=True)


def predictions(answers: dict[str, np.ndarray], output: Path, moved: int) -> tuple[KnownSegmenter, ModelPredictions]:
    known = {name: {"polyp": mask.astype(np.int32)} for name, mask in answers.items()}
    segmenter = KnownSegmenter(known, moved)
    kinds = [PromptKind.WORDS]
    return segmenter, ModelPredictions(segmenter, IDENTITY, {"polyp": ("polyp",)}, kinds, None, output / "masks")


def test_frames_one_by_one_have_j_and_f_over_films(tmp_path: Path) -> None:
    cases = polypgen(tmp_path / "in")
    answers = {case.image.name: case.read_references(None)["polyp"].mask for case in cases.cases if case.image}
    _, model = predictions(answers, tmp_path / "out", MOVED)
    (entry,) = evaluate(cases, model, Evaluation(tmp_path / "out"))["results"]
    f = contour_accuracy(square(moved=MOVED), square())
    # The film without a polyp is right in all frames; the still is in no film.
    assert (entry["video"]["films"], entry["video"]["frames"]) == (2, 14)
    assert entry["video"]["j"]["mean"] == pytest.approx(((11 * J + 1) / 12 + 1) / 2, abs=0.02)
    assert entry["video"]["f"]["mean"] == pytest.approx(((11 * f + 1) / 12 + 1) / 2, abs=0.02)
    rows = read_cases(tmp_path / "out")
    assert (rows["seq1/a_3", "polyp"]["sequence"], rows["seq1/a_3", "polyp"]["frames"]) == ("seq1", "1")
    assert rows["C6/s", "polyp"]["j"] == ""
    assert "J&F" in (tmp_path / "out" / "tables.md").read_text().replace("\\", "")


def test_a_film_is_followed_as_one_and_scored_frame_by_frame(tmp_path: Path) -> None:
    cases = as_films(polypgen(tmp_path / "in"))
    assert [case.name for case in cases.cases] == ["seq1", "seq1_neg"]
    assert any("1 images that are no frames" in note for note in cases.notes)
    volume, references = cases.cases[0].read_image(), cases.cases[0].read_references(None)
    assert volume is not None
    assert volume.is_sequence
    # Frame 2 comes before frame 10.
    assert [round(float(frame.mean())) for frame in volume.array] == [100 + frame for frame in range(1, 13)]
    assert references["polyp"].mask.any(axis=(1, 2)).tolist() == [True] * 11 + [False]
    assert references["polyp"].mask.shape == volume.grid.shape
    answers = {case.name: case.read_references(None)["polyp"].mask for case in cases.cases}
    segmenter, model = predictions(answers, tmp_path / "out", MOVED)
    (entry,) = evaluate(cases, model, Evaluation(tmp_path / "out"))["results"]
    assert {request.mode for request in segmenter.requests} == {Mode.PROPAGATE}
    assert entry["video"]["j"]["mean"] == pytest.approx(((11 * J + 1) / 12 + 1) / 2, abs=0.02)
    row = read_cases(tmp_path / "out")["seq1", "polyp"]
    # Between frames there is no length, so that there are no surfaces.
    assert (row["frames"], row["hd95"], row["nsd"]) == ("12", "", "")
    assert (tmp_path / "out" / "masks" / "01-T-polyp" / "seq1.nii.gz").is_file()
    assert list((tmp_path / "out" / "pictures").iterdir())


def test_frames_of_other_sizes_are_no_film(tmp_path: Path) -> None:
    cases = polypgen(tmp_path)
    write_picture(tmp_path / "sequenceData/positive/seq1/images_seq1/a_2.jpg", np.zeros((40, 44), np.uint8))
    with pytest.raises(InputError, match=r"seq1/a_2 has 44 x 40 x 1 .* seq1/a_1.* 40 x 40 x 1"):
        as_films(cases).cases[0].read_image()


def test_folders_of_frames_of_any_tool_with_several_objects(tmp_path: Path) -> None:
    for film in ("bear", "cow"):
        for frame in (1, 2, 10):
            truth, found = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
            truth[square()], truth[:5, :5] = 1, 2
            found[square(moved=MOVED * (film == "cow"))], found[:5, :5] = 1, 2
            write_picture(tmp_path / "truth" / film / f"{frame}.png", truth)
            write_picture(tmp_path / "mine" / film / f"{frame}.png", found)
    words = ("--references", tmp_path / "truth", "--predictions", tmp_path / "mine", "--video")
    assert run(*words, "--output", tmp_path / "out") == 0
    summary = read_summary(tmp_path / "out")
    one, other = (entry["video"] for entry in summary["results"])
    assert (one["films"], one["frames"], other["j_and_f"]["mean"]) == (2, 6, 1.0)
    assert one["j"]["mean"] == pytest.approx((1 + J) / 2)
    names = summary["split"]["names"]
    assert names == [f"{film}/{frame}" for film in ("bear", "cow") for frame in (1, 2, 10)]
    assert run(*words, "--output", tmp_path / "beside", "--jobs", "1") == 0
    assert (tmp_path / "beside" / "cases.csv").read_bytes() == (tmp_path / "out" / "cases.csv").read_bytes()


def test_a_set_without_films_says_so(tmp_path: Path) -> None:
    polypgen(tmp_path)
    cases = described_cases(find_described("polypgen"), tmp_path, "all", partial=True)
    stills = CaseSet("stills", cases.concepts, [case for case in cases.cases if not case.sequence])
    with pytest.raises(InputError, match="no frames of films"):
        as_films(stills)
