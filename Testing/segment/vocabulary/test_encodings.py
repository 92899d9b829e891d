"""JSON files that a person may have edited, as any editor saves them: UTF-8 and UTF-16, with and without a mark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from MedSAM3SegmentLib.checkpoints.model_card import CARD_FILE, ModelCard
from MedSAM3SegmentLib.io.labelmap_nifti import read_names
from MedSAM3SegmentLib.model_store.catalog import known_models
from MedSAM3SegmentLib.resources import resource_path
from MedSAM3SegmentLib.training.architecture import Architecture
from MedSAM3SegmentLib.training.architecture_file import read_architecture
from MedSAM3SegmentLib.vocabulary.vocabulary_file import read_vocabulary

encodings = pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])


@encodings
def test_a_vocabulary(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "vocabulary.json"
    entry = {"phrase": "Gallenblase (größe)", "colour": [1, 2, 3]}
    path.write_bytes(json.dumps({"concepts": [entry]}, ensure_ascii=False, indent=1).encode(encoding))
    (concept,) = read_vocabulary(path)
    assert "größe" in concept.phrase


@encodings
def test_a_model_card(tmp_path: Path, encoding: str) -> None:
    card = {"name": "Lunge, Würzburg", "threshold": 0.4}
    (tmp_path / CARD_FILE).write_bytes(json.dumps(card, ensure_ascii=False).encode(encoding))
    assert ModelCard.load(tmp_path).name == "Lunge, Würzburg"
    assert ModelCard.load(tmp_path).threshold == 0.4


@encodings
def test_an_architecture(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "small.json").write_bytes(json.dumps({"heads": Architecture().heads}).encode(encoding))
    assert read_architecture(tmp_path / "small.json") == Architecture()


@encodings
def test_the_list_of_models(tmp_path: Path, encoding: str) -> None:
    text = resource_path("models.json").read_text(encoding="utf-8")
    (tmp_path / "models.json").write_bytes(text.encode(encoding))
    assert known_models(tmp_path / "models.json") == known_models()


@encodings
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_the_names_beside_a_label_map(tmp_path: Path, encoding: str, suffix: str) -> None:
    text = json.dumps({"labels": {"1": "Leber", "300": "Größe"}}, ensure_ascii=False)
    (tmp_path / "a.labels.json").write_bytes(text.encode(encoding))
    assert read_names(tmp_path / f"a{suffix}") == {1: "Leber", 300: "Größe"}


def test_a_file_of_that_name_that_says_nothing_of_labels_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.labels.json").write_text("[1, 2]")
    assert read_names(tmp_path / "a.nii.gz") == {}
    assert read_names(tmp_path / "b.nii.gz") == {}
