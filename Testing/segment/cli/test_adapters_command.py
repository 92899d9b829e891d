"""``medsam3 train --tune`` and ``medsam3 adapters``: from labels to an adapter in use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from MedSAM3SegmentLib.checkpoints.lora import load_adapter
from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.cli.main import main
from support.cli_runs import files_in


@pytest.fixture
def adapter(here: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trained adapter folder, beside an empty store."""
    monkeypatch.setenv("MEDSAM3_MODELS", str(here / "store"))
    words = ["--phantoms", "2", "--base", str(tiny_model_folder), "--steps", "2", "--tune", "lora", "--rank", "2"]
    more = ["--validation", "0.5", "--batch-size", "2", "--modality", "CT", "--prompts", "T"]
    assert main(["train", "--output", "my-lora", *words, *more]) == 0
    return here / "my-lora"


def test_an_adapter_is_trained_installed_used_and_given_away(
    here: Path, adapter: Path, image: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = ModelCard.load(adapter)
    assert card.is_demo
    assert card.base == str(tiny_model_folder)
    assert card.modality == "CT"
    assert card.prompts == ("T",)
    assert "liver" in card.concepts
    assert "presence" in card.validation
    assert "validation presence" in (adapter / "learning-curve.csv").read_text()
    assert sum(file.stat().st_size for file in adapter.iterdir()) < 3e6
    assert not (here / "my-lora.training").exists()

    assert main(["adapters", "add", str(adapter), "--name", "abdomen"]) == 0
    assert main(["adapters", "list"]) == 0
    shown = capsys.readouterr().out
    assert "abdomen: CT; finds liver" in shown
    assert main(["segment", str(image), "--concept", "liver", "--model", "abdomen", "--output", "o.seg.nrrd"]) == 0

    assert main(["adapters", "export", "abdomen", "given", "--format", "peft"]) == 0
    given = b"".join(file.read_bytes() for file in Path("given").iterdir() if file.suffix == ".json")
    assert str(here).encode() not in given
    assert str(tiny_model_folder).encode() not in given
    assert main(["adapters", "export", "abdomen", "given.pt", "--format", "medsam3"]) == 0
    ours, theirs = load_adapter(Path("given")), load_adapter(Path("given.pt"))
    assert ours.names == theirs.names
    for name, change in ours.changes.items():
        assert float((theirs.changes[name].delta() - change.delta()).abs().max()) < 1e-5

    assert main(["adapters", "remove", "abdomen"]) == 0
    assert main(["adapters", "list"]) == 0
    assert "No adapters" in capsys.readouterr().out


def test_an_adapter_between_slices_is_trained_installed_and_used(
    here: Path,
    image: Path,
    tiny_model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MEDSAM3_MODELS", str(here / "store"))
    words = ["--phantoms", "1", "--base", str(tiny_model_folder), "--steps", "2", "--batch-size", "2"]
    more = ["--tune", "slice-adapter", "--losses", "meta", "--checkpoint-activations", "--tensorboard", "--views", "1"]
    assert main(["train", "--output", "beside", *words, *more]) == 0
    assert ModelCard.load(here / "beside").training["losses"]["kind"] == "MetaLossWeights"
    assert any((here / "beside.tensorboard").iterdir())
    assert main(["adapters", "add", "beside"]) == 0
    for model in ("beside", f"{tiny_model_folder}+beside"):
        assert main(["segment", str(image), "--concept", "liver", "--model", model, "--output", "o.seg.nrrd"]) == 0
        (here / "o.seg.nrrd").unlink()
    capsys.readouterr()
    # Where it would be lost without a word.
    for command in (
        ["models", "convert", "beside", "whole"],
        ["adapters", "export", "beside", "beside.pt", "--format", "medsam3"],
        ["train", "--output", "more", *words, "--base", "beside", "--tune", "all"],
        ["train", "--output", "more", "--tracker", "--phantoms", "1", "--steps", "1", "--base", "beside"],
    ):
        assert main(command) != 0
        assert len(capsys.readouterr().err.strip().splitlines()) >= 1
    assert files_in(here / "store") != []
    assert not any((here / name).exists() for name in ("whole", "beside.pt", "more"))


def test_a_model_of_a_base_and_an_adapter_is_made(here: Path, adapter: Path) -> None:
    assert main(["models", "convert", str(adapter), "merged"]) == 0
    assert ModelCard.load(here / "merged").is_demo


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("add", "nowhere"), "nowhere"),
        (("add", "BASE"), "models add"),
        (("remove", "nothing"), "nothing"),
        (("export", "BASE", "out"), "whole model"),
    ],
)
def test_what_is_no_adapter_is_refused(
    here: Path,
    tiny_model_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.setenv("MEDSAM3_MODELS", str(here / "store"))
    given = [str(tiny_model_folder) if word == "BASE" else word for word in words]
    assert main(["adapters", *given]) == 2
    assert says in capsys.readouterr().err
    assert files_in(here) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--tune", "lora"), "--base"),
        (("--base", "BASE", "--rank", "4"), "--tune lora"),
        (("--base", "BASE", "--tune", "lora", "--targets", "vision,legs"), "legs"),
        (("--base", "BASE", "--tune", "lora", "--alpha", "nan"), "nan"),
        (("--base", "BASE", "--tune", "lora", "--layer-decay", "0.5"), "--layer-decay"),
        (("--base", "BASE", "--layer-decay", "1.5"), "1.5"),
        (("--base", "BASE", "--views", "2"), "--views"),
        (("--base", "BASE", "--validation", "1.5"), "1.5"),
        (("--base", "BASE", "--validation", "absent.json"), "absent.json"),
        (("--base", "BASE", "--resume"), "--resume"),
        (("--base", "BASE", "--validation", "0.5"), "one training volume"),
        (("--base", "BASE", "--tracker", "--tune", "all"), "--tune"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    here: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    given = [str(tiny_model_folder) if word == "BASE" else word for word in words]
    assert main(["train", "--output", "model", "--phantoms", "1", "--steps", "1", *given]) == 2
    assert says in capsys.readouterr().err
    assert files_in(here) == []


def test_a_demo_that_is_trained_on_real_volumes_stays_a_demo(here: Path, tiny_model_folder: Path, image: Path) -> None:
    import numpy as np
    import SimpleITK

    labels = SimpleITK.Cast(SimpleITK.ReadImage(str(image)) > 0, SimpleITK.sitkUInt8)
    assert np.any(SimpleITK.GetArrayViewFromImage(labels))
    SimpleITK.WriteImage(labels, "labels.nii.gz")
    case = {"image": str(image), "labels": "labels.nii.gz", "concepts": {"body": [1]}}
    Path("cases.json").write_text(json.dumps({"cases": [case]}))
    words = ["--manifest", "cases.json", "--base", str(tiny_model_folder), "--steps", "1", "--batch-size", "2"]
    assert main(["train", "--output", "model", *words]) == 0
    assert ModelCard.load(here / "model").is_demo
