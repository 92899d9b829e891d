"""Choosing an adapter by a volume's pictures, by concept and by kind of image, with reasons."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.adapters.image_summary import SUMMARY_FILE
from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.errors import ModelError
from MedSAM3SegmentLib.features.pick_adapter import AdapterChoice, pick_adapter, require_adapter
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.synthetic.phantom import make_phantom, tilted_grid
from MedSAM3SegmentLib.training.dataset import stack_with_labels
from MedSAM3SegmentLib.training.fine_tuning.tuning import LoraOptions, Tune
from MedSAM3SegmentLib.volume import Volume
from support.fine_tuning import recipe, tune

_GRID = tilted_grid((8, 40, 40), (9.0, 9.0, 24.0))


def inverted(volume: Volume) -> Volume:
    """Pictures of another kind: bright where the others are dark."""
    return replace(volume, array=(1000 - volume.array.astype(np.int32)).astype(np.int16), modality="")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    """A store with an adapter of phantoms and one of inverted phantoms, both for the liver."""
    store = tmp_path_factory.mktemp("store")
    for name in ("plain", "inverted"):
        model = load_model(str(tiny_model_folder), "cpu", dtype="float32")
        made = [make_phantom(seed, _GRID) for seed in range(6)]
        volumes = [replace(one.volume, modality="") if name == "plain" else inverted(one.volume) for one in made]
        stacks = [
            stack_with_labels(volume, {"liver": one.masks["liver"]}) for volume, one in zip(volumes, made, strict=True)
        ]
        how = recipe(Tune.LORA if name == "plain" else Tune.DETECTOR, lora=LoraOptions(rank=2))
        how = replace(how, plan=replace(how.plan, views=8))
        tune(model, stacks, how, store / name, tiny_model_folder)
        replace(ModelCard.load(store / name), concepts=("liver",), modality="CT").save(store / name)
    return store


@pytest.fixture
def store(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained, tmp_path / "store")
    monkeypatch.setenv("MEDSAM3_MODELS", str(tmp_path / "store"))
    return tmp_path / "store"


def plain(seed: int = 9) -> Volume:
    return replace(make_phantom(seed, _GRID).volume, modality="")


def reasons(choice: AdapterChoice) -> dict[str, str]:
    return {fit.name: str(fit.reason) for fit in choice.fits}


@pytest.mark.usefixtures("store")
def test_the_adapter_of_such_pictures_is_picked() -> None:
    assert pick_adapter(plain(), ["Liver"], "cpu").adapter == "plain"
    choice = pick_adapter(inverted(plain()), ["liver"], "cpu")
    assert choice.adapter == "inverted"
    assert "pictures like these" in choice.sentence
    assert "other pictures" in reasons(choice)["plain"]


@pytest.mark.usefixtures("store")
def test_none_is_picked_for_other_pictures() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (6, 40, 40, 3)).astype(np.uint8)
    choice = pick_adapter(Volume(noise, replace(_GRID, shape=(6, 40, 40))), ["liver"], "cpu")
    assert choice.adapter is None
    assert all("other pictures" in reason for reason in reasons(choice).values())
    with pytest.raises(ModelError, match="No installed adapter fits this volume"):
        require_adapter(choice)


@pytest.mark.usefixtures("store")
def test_what_a_card_says_is_enough_to_refuse_without_loading() -> None:
    def load(source: str, device: str) -> Sam3Detector:
        raise AssertionError(f"{source} was loaded on {device}")

    choice = pick_adapter(plain(), ["liver", "spleen"], "cpu", load=load)
    assert choice.adapter is None
    assert "not trained to find 'spleen'" in reasons(choice)["plain"]
    choice = pick_adapter(replace(plain(), modality="MR"), [], "cpu", load=load)
    assert "was trained on CT, and this is MR" in reasons(choice)["plain"]


def test_adapters_that_cannot_be_compared_say_so(store: Path, tmp_path: Path) -> None:
    (store / "inverted" / SUMMARY_FILE).unlink()
    card = ModelCard.load(store / "plain")
    replace(card, base=str(tmp_path / "gone")).save(store / "plain")
    said = reasons(pick_adapter(plain(), ["liver"], "cpu"))
    assert "does not say what pictures" in said["inverted"]
    assert "the base 'gone', which is not here" in said["plain"]
    assert str(tmp_path) not in said["plain"]
    summary = (store / "plain" / SUMMARY_FILE).read_text()
    (store / "plain" / SUMMARY_FILE).write_text(summary.replace('"features": "', '"features": "other'))
    card.save(store / "plain")
    assert "other weights" in reasons(pick_adapter(plain(), ["liver"], "cpu"))["plain"]


@pytest.mark.usefixtures("store")
def test_the_shell_picks_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from support.labelled_datasets import write_image

    volume = plain()
    path = str(write_image(tmp_path / "new.nii.gz", volume.array, volume.grid))
    assert main(["adapters", "pick", path, "--concept", "liver", "--device", "cpu"]) == 0
    assert "--model plain" in capsys.readouterr().out
    words = ["segment", path, "--model", "pick", "--output", str(tmp_path / "o.seg.nrrd"), "--device", "cpu"]
    assert main([*words, "--concept", "liver"]) == 0
    assert "'plain' was picked" in capsys.readouterr().err
    assert main([*words, "--concept", "lung"]) == 3
    assert "not trained to find 'lung'" in capsys.readouterr().err


def test_what_is_given_away_and_installed_again_keeps_its_summary(store: Path, tmp_path: Path) -> None:
    assert main(["adapters", "export", "plain", str(tmp_path / "given")]) == 0
    assert main(["adapters", "remove", "plain"]) == 0
    assert main(["adapters", "add", str(tmp_path / "given"), "--name", "again"]) == 0
    assert (store / "again" / SUMMARY_FILE).is_file()
