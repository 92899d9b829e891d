"""``medsam3 train``: from labeled files or phantoms to a model that segments, or one line that says what is wrong."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.synthetic.phantom import make_phantom
from support.cli_runs import GRID, files_in, start, write_phantom
from support.images import image_on_grid
from support.tiny_model import TINY_ARCHITECTURE


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two small labeled volumes; the liver, and something that is absent."""
    cases = []
    for seed in (31, 8):
        image = write_phantom(tmp_path / "data" / f"{seed}.nii.gz", seed)
        labels = make_phantom(seed, GRID).masks["liver"].astype(np.uint8) * 5
        SimpleITK.WriteImage(image_on_grid(labels, GRID), str(tmp_path / "data" / f"{seed}-labels.nii.gz"))
        concepts = {"The Liver": [5], "gallstone": []}
        cases.append({"image": image.name, "labels": f"{seed}-labels.nii.gz", "concepts": concepts})
    path = tmp_path / "data" / "cases.json"
    path.write_text(json.dumps({"cases": cases}))
    return path


def test_a_model_trained_from_a_manifest_segments(
    here: Path, manifest: Path, architecture: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--manifest", str(manifest), "--architecture", str(architecture), "--steps", "2", "--seed", "4"]
    assert main(["train", "--output", "my-model", *words]) == 0
    assert "my-model" in capsys.readouterr().out
    assert files_in(here)[0] == "my-model"
    card = ModelCard.load(here / "my-model")
    assert not card.is_demo
    assert card.training["seed"] == 4
    assert card.training["architecture"] == TINY_ARCHITECTURE
    assert main(["segment", str(image), "--concept", "liver", "--model", "my-model", "--output", "o.seg.nrrd"]) == 0


def test_a_model_is_trained_on_from_a_base(here: Path, manifest: Path, tiny_model_folder: Path, image: Path) -> None:
    before = (tiny_model_folder / "model.safetensors").read_bytes()
    words = ["--manifest", str(manifest), "--base", str(tiny_model_folder), "--steps", "2"]
    assert main(["train", "--output", "my-model", *words]) == 0
    assert (tiny_model_folder / "model.safetensors").read_bytes() == before
    assert (here / "my-model" / "model.safetensors").read_bytes() != before
    card = ModelCard.load(here / "my-model")
    assert card.name == "my-model"
    assert card.training["base"]["name"] == "tiny test model"
    assert main(["segment", str(image), "--concept", "liver", "--model", "my-model", "--output", "o.seg.nrrd"]) == 0


def test_a_high_threshold_of_a_base_is_not_that_of_what_is_trained_on_it(
    here: Path, manifest: Path, tiny_model_folder: Path
) -> None:
    """Scores of what it was not made for are lower, and would not be reported."""
    base = Path(shutil.copytree(tiny_model_folder, here / "base"))
    for tune, own, expected in (("all", 0.8, 0.5), ("detector", 0.8, 0.5), ("lora", 0.8, 0.5), ("lora", 0.3, 0.3)):
        replace(ModelCard.load(base), threshold=own).save(base)
        shutil.rmtree(here / tune, ignore_errors=True)
        words = ["--manifest", str(manifest), "--base", str(base), "--tune", tune, "--steps", "1"]
        assert main(["train", "--output", tune, *words]) == 0
        assert ModelCard.load(here / tune).threshold == expected


def test_a_killed_training_goes_on_with_the_losses_of_one_that_was_not_killed(
    here: Path, manifest: Path, tiny_model_folder: Path
) -> None:
    words = ["--manifest", str(manifest), "--base", str(tiny_model_folder), "--tune", "lora", "--rank", "2"]
    words += ["--steps", "20", "--save-every", "5", "--batch-size", "2"]
    training = start("train", "--output", "killed", *words, cwd=here)
    curve, state = here / "killed.training" / "learning-curve.csv", here / "killed.training" / "state.pt"
    deadline = time.monotonic() + 300
    # After a snapshot, and some steps beyond it, which are done again.
    while not (state.exists() and len(curve.read_text().splitlines()) > 8):
        assert training.poll() is None, training.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    training.kill()
    training.communicate()
    with curve.open("a") as file:
        file.write("1")  # of a row that was being written
    assert main(["train", "--output", "killed", *words, "--resume"]) == 0
    assert main(["train", "--output", "whole", *words]) == 0
    curves = [(here / name / "learning-curve.csv").read_text() for name in ("killed", "whole")]
    assert curves[0] == curves[1]
    assert len(curves[0].splitlines()) == 21
    assert files_in(here / "killed") == files_in(here / "whole")
    assert (here / "killed" / "adapter_model.safetensors").read_bytes() == (
        here / "whole" / "adapter_model.safetensors"
    ).read_bytes()


def test_what_was_trained_on_phantoms_is_a_demo(here: Path, architecture: Path) -> None:
    words = ["--phantoms", "1", "--architecture", str(architecture), "--steps", "1"]
    assert main(["train", "--output", "my-demo", *words]) == 0
    assert ModelCard.load(here / "my-demo").is_demo


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--manifest", "missing.json"), "missing.json"),
        (("--manifest", "bad.json"), "bad.json"),
        (("--phantoms", "0"), "0"),
        (("--steps", "0"), "0"),
        (("--seed", "-1"), "-1"),
        (("--learning-rate", "nan", "--phantoms", "1"), "nan"),
        (("--learning-rate", "1e-4"), "--learning-rate"),
        (("--base", "demo"), "--base"),
        (("--phantoms", "1", "--manifest", "bad.json"), "--manifest"),
        (("--phantoms", "1", "--architecture", "missing.json"), "missing.json"),
        (("--phantoms", "1", "--architecture", "bad.json"), "bad.json"),
        (("--output", "full"), "full"),
        (("--output", "absent/model"), "absent"),
    ],
)
def test_bad_training_options_end_with_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    Path("bad.json").write_text("{")
    Path("full").mkdir()
    Path("full/precious.txt").write_text("work of years")
    before = files_in(here)
    assert main(["train", "--output", "model", *words]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("medsam3: ")]
    assert len(errors) == 1
    assert says in errors[0]
    assert files_in(here) == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_size": 60}, "image_size"),
        ({"vision_heads": 3}, "vision_heads"),
        ({"width": "wide"}, "width"),
        ({"queries": 0}, "queries"),
        ({"queries": True}, "queries"),
        ({"global_layers": 1}, "global_layers"),
        ({"global_layers": [2]}, "global_layers"),
        ({"layers": 3}, "layers"),
    ],
)
def test_an_architecture_that_cannot_be_built_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object], says: str
) -> None:
    Path("a.json").write_text(json.dumps({**TINY_ARCHITECTURE, **change}))
    assert main(["train", "--output", "model", "--phantoms", "1", "--architecture", "a.json"]) == 2
    assert says in capsys.readouterr().err
    assert files_in(here) == ["a.json"]
