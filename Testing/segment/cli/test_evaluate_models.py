"""``medsam3 evaluate`` with a model: a manifest, data sets, studies, the list, and options that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.synthetic.phantom import make_phantom
from support.cli_runs import GRID, write_phantom
from support.evaluation_files import evaluate, read_cases, read_summary, write_picture, write_volume
from support.external_data import DATA, needs_shared
from support.images import image_on_grid
from support.tiny_model import TINY_SCORE


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err.strip().splitlines()[-1]
    assert text.startswith("medsam3: ")
    assert text.endswith(".")
    return text


def test_a_manifest_by_a_model_that_finds_all(here: Path, tmp_path: Path, tiny_model_folder: Path) -> None:
    import SimpleITK

    image = write_phantom(tmp_path / "data" / "31.nii.gz", 31)
    truth = make_phantom(31, GRID).masks["liver"]
    SimpleITK.WriteImage(image_on_grid(truth.astype(np.uint8) * 5, GRID), str(tmp_path / "data" / "labels.nii.gz"))
    case = {"image": image.name, "labels": "labels.nii.gz", "concepts": {"Liver": [5], "gallstone": []}}
    (tmp_path / "data" / "cases.json").write_text(json.dumps({"cases": [case]}))
    words = ("--manifest", tmp_path / "data" / "cases.json", "--model", tiny_model_folder, "--output", "out")
    assert evaluate(*words, "--threshold", TINY_SCORE) == 0
    rows = read_cases(here / "out")
    share = truth.mean()
    assert float(rows["31", "Liver"]["dice"]) == pytest.approx(2 * share / (1 + share))
    assert rows["31", "gallstone"]["presence"] == "false found"
    summary = read_summary(here / "out")
    assert summary["predictor"]["model"]["name"] == "tiny test model"
    assert summary["predictor"]["threshold"] == TINY_SCORE
    assert "demo" in (here / "out" / "tables.md").read_text()
    # What was kept is what a tool's files would be.
    kept = here / "out" / "masks" / "01-T-Liver"
    again = ("--manifest", tmp_path / "data" / "cases.json", "--predictions", kept, "--label", "Liver=1")
    assert evaluate(*again, "--concept", "Liver", "--output", "again", "--no-pictures") == 0
    assert read_cases(here / "again")["31", "Liver"]["dice"] == rows["31", "Liver"]["dice"]


def write_ravir(root: Path) -> None:
    vessels = np.zeros((56, 56), np.uint8)
    vessels[5:20], vessels[30:40] = 128, 255
    for name in ("IR_1", "IR_2"):
        write_picture(root / "train" / "training_images" / f"{name}.png", np.full((56, 56), ord(name[-1]), np.uint8))
        write_picture(root / "train" / "training_masks" / f"{name}.png", vessels)


RAVIR = ("--dataset", "ravir", "--root", "data", "--partial", "--split", "all", "--output", "out")


def test_the_study_of_fine_concepts(here: Path, tiny_model_folder: Path) -> None:
    write_ravir(here / "data")
    assert evaluate(*RAVIR, "--model", tiny_model_folder, "--threshold", TINY_SCORE, "--study", "fine-concepts") == 0
    results = read_summary(here / "out")["results"]
    assert [(one["concept"], one["prompt"], one["phrase"]) for one in results] == [
        ("artery", "T", "retinal artery"),
        ("vein", "T", "retinal vein"),
        ("vessel", "T", "retinal blood vessel"),
    ]
    # All is found of what covers 15 and 10 of 56 rows.
    means = [one["dice"]["mean"] for one in results]
    assert means == pytest.approx([2 * 15 / 71, 2 * 10 / 66, 2 * 25 / 81])
    table = (here / "out" / "tables.md").read_text()
    assert f"{sum(means) / 3:.3f}" in table  # the mean of concepts
    assert "0.7539" in table  # the published row


def test_processes_beside_the_model_give_the_same_files(here: Path, tiny_model_folder: Path) -> None:
    write_ravir(here / "data")
    words = (*RAVIR[:-1], "alone", "--model", tiny_model_folder, "--threshold", TINY_SCORE, "--prompts", "T;T+I")
    assert evaluate(*words) == 0
    assert evaluate(*words[:8], "beside", *words[9:], "--jobs", "2") == 0
    files = [path.relative_to(here / "alone") for path in (here / "alone").rglob("*") if path.is_file()]
    assert any(path.parts[0] == "masks" for path in files)
    for path in files:
        assert (here / "beside" / path).read_bytes() == (here / "alone" / path).read_bytes(), path
    # What is done is done, however many processes did it.
    assert evaluate(*words[:8], "beside", *words[9:]) == 0


def test_the_study_of_words_or_boxes(here: Path, tiny_model_folder: Path) -> None:
    write_ravir(here / "data")
    words = (*RAVIR, "--model", tiny_model_folder, "--threshold", TINY_SCORE, "--concept", "vessel", "--no-pictures")
    assert evaluate(*words, "--study", "words-or-boxes") == 0
    summary = read_summary(here / "out")
    assert [one["prompt"] for one in summary["results"]] == ["T", "T+I"]
    assert summary["words_against_boxes"][0]["cases"] == 2
    head = next(line for line in (here / "out" / "tables.md").read_text().splitlines() if line.startswith("| concept"))
    assert "Dice T |" in head
    assert "Dice T+I (oracle box)" in head


def test_the_study_of_an_agents_gain(here: Path, tiny_model_folder: Path) -> None:
    write_ravir(here / "data")
    base = (*RAVIR[:-1], "base", "--concept", "vessel", "--no-pictures")
    assert evaluate(*base, "--model", tiny_model_folder, "--threshold", TINY_SCORE) == 0
    for name in ("IR_1", "IR_2"):
        mask = np.zeros((56, 56), bool)
        mask[5:20], mask[30:40] = True, True
        write_picture(here / "agent" / f"{name}.png", mask)
    words = (*RAVIR, "--concept", "vessel", "--predictions", "agent", "--label", "vessel=255", "--no-pictures")
    assert evaluate(*words, "--baseline", "base", "--study", "agent-gain") == 0
    (entry,) = read_summary(here / "out")["against_baseline"]
    assert entry["difference"]["mean"] == pytest.approx(1 - 2 * 25 / 81)
    assert [third["cases"] for third in entry["gain_by_baseline"]] == [1, 1]


def test_the_list_needs_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert evaluate("--list") == 0
    printed = capsys.readouterr().out
    for part in ("busi", "isles24", "CC BY-NC-ND 4.0", "stage1_train/ID/images/ID.png", "synapse.org", "1000 Test"):
        assert part in printed
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "--output is missing"),
        (("--output", "o"), "nothing was named"),
        (("--output", "o", "--dataset", "busi", "--model", "demo"), "--root"),
        (("--output", "o", "--dataset", "busi", "--root", "data"), "--model"),
        (("--output", "o", "--dataset", "busi", "--root", "data", "--nnunet", "data", "--model", "demo"), "--nnunet"),
        (("--output", "o", "--references", "data", "--model", "demo"), "no images"),
        (("--output", "o", "--dataset", "nothing", "--root", "data", "--model", "demo"), "'nothing'"),
        (("--output", "o", "--references", "data", "--predictions", "data", "--prompts", "T"), "--prompts"),
        (("--output", "o", "--references", "data", "--predictions", "data", "--split", "all"), "--split"),
        (("--output", "o", "--manifest", "none.json", "--model", "demo"), "none.json"),
        ((*RAVIR, "--model", "demo", "--prompts", "vessels"), "CONCEPT=phrase"),
        ((*RAVIR, "--model", "demo", "--concept", "liver"), "'liver'"),
        ((*RAVIR, "--model", "demo", "--threshold", "2"), "threshold"),
        ((*RAVIR, "--model", "demo", "--limit", "0"), "--limit"),
        ((*RAVIR, "--model", "demo", "--objects"), "--objects"),
        ((*RAVIR, "--model", "nowhere"), "nowhere"),
        ((*RAVIR, "--model", "demo", "--study", "agent-gain"), "agent-gain"),
        ((*RAVIR, "--predictions", "data", "--study", "words-or-boxes"), "words-or-boxes"),
    ],
)
def test_options_that_do_not_fit(
    here: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    write_ravir(here / "data")
    assert evaluate(*words) in (2, 3)
    assert says in sentence(capsys)
    assert [path.name for path in here.iterdir()] == ["data"]


def test_a_damaged_image_stops_and_what_is_done_stays(
    here: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ravir(here / "data")
    image = here / "data" / "train" / "training_images" / "IR_2.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:60])
    words = (*RAVIR, "--model", tiny_model_folder, "--threshold", TINY_SCORE)
    assert evaluate(*words) == 2
    assert "IR_2.png" in sentence(capsys)
    assert not (here / "out" / "summary.json").exists()
    image.write_bytes(whole)
    assert evaluate(*words) == 0
    assert {case for case, _ in read_cases(here / "out")} == {"IR_1", "IR_2"}


def test_a_volume_by_words_and_box(here: Path, tiny_model_folder: Path) -> None:
    label = np.zeros((6, 24, 24), np.uint8)
    label[2:4, 4:16, 4:16] = 1
    write_volume(here / "p" / "PA000005" / "image" / "PA000005.nii.gz", label * 90, (1, 1, 3))
    write_volume(here / "p" / "PA000005" / "label" / "PA000005.nii.gz", label, (1, 1, 3))
    words = ("--dataset", "parse2022", "--root", "p", "--partial", "--split", "all", "--output", "out")
    assert evaluate(*words, "--model", tiny_model_folder, "--threshold", TINY_SCORE, "--prompts", "T;T+I") == 0
    words_, boxes = read_summary(here / "out")["results"]
    assert words_["dice"]["mean"] == pytest.approx(2 * 288 / (288 + 6 * 576))
    assert boxes["dice"] is not None


@needs_shared
@pytest.mark.parametrize(
    ("words", "cases"),
    [
        (("--dataset", "dsb2018", "--root", DATA / "nuclei_dsb2018", "--partial", "--split", "all", "--limit", 1), 1),
        (("--manifest", "cases.json"), 2),
    ],
)
def test_real_images_by_the_demo_model(here: Path, words: tuple[object, ...], cases: int) -> None:
    """It was trained on synthetic abdomens, and the results say so."""
    ultrasound, pictures = DATA / "ultrasound_nerve", DATA / "images_2d"
    listed = [
        (ultrasound / "images" / "0004.png", ultrasound / "masks" / "0004.png", {"nerve or vessel": [1, 2]}),
        (pictures / "20_ultrasound_breast.png", pictures / "20_ultrasound_breast_tumor.png", {"tumor": [255]}),
    ]
    manifest = [{"image": str(i), "labels": str(m), "concepts": c} for i, m, c in listed]
    (here / "cases.json").write_text(json.dumps({"cases": manifest}))
    assert evaluate(*words, "--model", "demo", "--output", "out") == 0
    summary = read_summary(here / "out")
    assert summary["split"]["cases"] == cases
    assert summary["predictor"]["model"]["demo"]
    assert all(0 <= one["dice"]["mean"] <= 1 for one in summary["results"])
    assert "says nothing about real ones" in (here / "out" / "tables.html").read_text()


def test_a_tools_files_of_a_set_where_zero_is_foreground_need_their_values_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = np.full((40, 40), 255, np.uint8)
    layers[5:10], layers[10:12], layers[20:30] = 0, 80, 160
    write_picture(here / "data" / "Train" / "Image" / "0001.png", np.full((40, 40), 9, np.uint8))
    write_picture(here / "data" / "Train" / "Layer_Masks" / "0001.png", layers)
    words = ("--dataset", "goals", "--root", "data", "--partial", "--split", "all", "--predictions", "mine")
    write_picture(here / "mine" / "0001.png", layers)
    assert evaluate(*words, "--output", "out") == 2
    assert "--label" in sentence(capsys)
    shifted = np.select([layers == 0, layers == 80, layers == 160], [1, 2, 3]).astype(np.uint8)
    write_picture(here / "mine" / "0001.png", shifted)
    labels = ("retinal nerve fiber layer=1", "ganglion cell layer=2", "choroid=3")
    assert evaluate(*words, "--output", "said", *[word for text in labels for word in ("--label", text)]) == 0
    assert [float(row["dice"]) for row in read_cases(here / "said").values()] == [1.0, 1.0, 1.0]
