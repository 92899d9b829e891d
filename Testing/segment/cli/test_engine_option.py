"""``medsam3 segment --engine auto``: the same segmentation from an engine that runs, and what is said without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.engine.process.discovery import FOLDER_VARIABLE, announce_engine
from MedSAM3SegmentLib.engine.process_id import ParentWatch
from MedSAM3SegmentLib.engine.server.model_cache import FeatureCaches, ModelCache, load_segmenter
from MedSAM3SegmentLib.engine.server.server import Binding, EngineServer
from MedSAM3SegmentLib.engine.server.volume_store import VolumeStore
from MedSAM3SegmentLib.exit_codes import BAD_INPUT
from MedSAM3SegmentLib.io.segmentation import read_segmentation
from MedSAM3SegmentLib.model_store.resolve import files_version
from MedSAM3SegmentLib.models.abilities import check_abilities
from support.cli_runs import Shell

TOKEN = "a-token-of-thirty-two-letters-..."


@pytest.fixture(autouse=True)
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "run"))


@pytest.fixture
def serving(tmp_path: Path, run_folder: None) -> Iterator[list[str]]:
    """An engine on a socket as ``medsam3 serve`` starts it; the models that it loaded, as it loads them."""
    del run_folder
    loaded: list[str] = []

    def load(model, device, features):  # type: ignore[no-untyped-def]
        loaded.append(model)
        return load_segmenter(model, device, features)

    shelf = ModelCache(load, 10**9, FeatureCaches(10**9, 10**9), check_abilities, files_version)
    server = EngineServer(Binding(), TOKEN, shelf, VolumeStore(10**8, tmp_path), ParentWatch())
    server.start()
    with announce_engine(server.address, TOKEN):
        yield loaded
    assert server.stop()


def test_two_commands_share_a_model_and_give_what_one_by_itself_gives(
    segment: Shell, serving: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--concept", "liver; spleen", "--slices", "2:8")
    assert segment(*options, "--output", "alone.seg.nrrd") == 0
    assert serving == []
    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr("MedSAM3SegmentLib.cli.segment_file._load_segmenter", None)
        for _ in range(2):
            assert segment(*options, "--engine", "auto", "--output", "asked.seg.nrrd") == 0
    assert len(serving) == 1
    assert "in the running engine" in capsys.readouterr().err
    (alone, grid), (asked, same_grid) = read_segmentation("alone.seg.nrrd"), read_segmentation("asked.seg.nrrd")
    assert grid.same_as(same_grid)
    assert [part.name for part in alone] == [part.name for part in asked] == ["liver", "spleen"]
    for one, other in zip(alone, asked, strict=True):
        assert one.mask.any()
        np.testing.assert_array_equal(one.mask, other.mask)


def test_without_an_engine_that_is_said_and_the_model_is_loaded(
    segment: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("--concept", "liver", "--engine", "auto") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "No engine of this version runs, so the model is loaded here" in said
    assert read_segmentation("out.seg.nrrd")[0][0].mask.any()


@pytest.mark.parametrize(
    "options", [("--dtype", "float32"), ("--resolution", "84"), ("--threads", "1"), ("--draft",), ("--model", "none")]
)
def test_what_the_engine_has_chosen_already_is_refused(
    segment: Shell, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("--concept", "liver", "--engine", "auto", *options) == BAD_INPUT
    assert options[0] in capsys.readouterr().err
    assert not Path("out.seg.nrrd").exists()
