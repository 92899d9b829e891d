"""What was found is what is written: a tumor in a liver, and a liver that goes on, through the shell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.io.segment import PROVENANCE_TAG
from MedSAM3SegmentLib.io.segmentation import read_segmentation
from MedSAM3SegmentLib.synthetic.phantom import make_phantom
from support.images import image_on_grid

WORDS = ("--concept", "tumor; liver", "--slices", "27:32")


@pytest.fixture(scope="module")
def abdomen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The abdomen of ``medsam3 demo``, with a tumor in its liver."""
    import SimpleITK

    path = tmp_path_factory.mktemp("abdomen") / "phantom.nii.gz"
    phantom = make_phantom(24)
    SimpleITK.WriteImage(image_on_grid(phantom.volume.array, phantom.volume.grid), str(path))
    return path


def labels_of(path: str) -> tuple[dict[str, int], dict[str, object]]:
    """Voxels by name, and the file beside the label map."""
    segments, _ = read_segmentation(path)
    return {one.name: int(one.mask.sum()) for one in segments}, json.loads(
        Path(path.removesuffix(".nii.gz") + ".labels.json").read_text()
    )


def concepts_of(path: str) -> dict[str, dict[str, object]]:
    return {concept["concept"]: concept for concept in json.loads(Path(path).read_text())["concepts"]}


@pytest.mark.usefixtures("here")
def test_the_tumor_stays_in_the_liver_and_what_it_covers_is_said(
    abdomen: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["segment", str(abdomen), *WORDS, "--output", "both.nii.gz", "--report", "r.json"]) == 0
    said = capsys.readouterr()
    voxels, beside = labels_of("both.nii.gz")
    report = concepts_of("r.json")
    tumor, liver = report["tumor"], report["liver"]
    assert voxels["tumor"] == tumor["voxels"] > 0
    (covered,) = liver["covered"]
    assert covered["by"] == "tumor"
    assert voxels["liver"] == liver["voxels"] - covered["voxels"]
    assert 0 < covered["voxels"] <= tumor["voxels"]
    assert tumor["covered"] == []
    assert beside["covered"] == [{"name": "liver", **covered}]
    milliliters = f"{covered['volume_mm3'] / 1000:.3g} mL"
    assert f"{milliliters} are 'tumor'" in said.err
    assert f"{milliliters} labelled tumor" in " ".join(said.out.split())


@pytest.mark.usefixtures("here")
def test_the_later_one_may_cover_all_of_the_other_but_not_unsaid(
    abdomen: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*WORDS, "--overlap", "later", "--output", "later.nii.gz", "--report", "r.json"]
    assert main(["segment", str(abdomen), *words]) == 0
    said = capsys.readouterr()
    voxels, _ = labels_of("later.nii.gz")
    report = concepts_of("r.json")
    assert voxels["liver"] == report["liver"]["voxels"]
    lost = sum(part["voxels"] for part in report["tumor"]["covered"])
    assert voxels.get("tumor", 0) == report["tumor"]["voxels"] - lost < report["tumor"]["voxels"]
    assert "'tumor' " in said.err
    assert "are 'liver'" in said.err


def test_refusing_writes_nothing_and_slicers_own_format_keeps_both(
    abdomen: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["segment", str(abdomen), *WORDS, "--overlap", "refuse"]
    assert main([*words, "--output", "no.nii.gz", "--report", "no.json", "--preview", "no.png"]) == 2
    said = capsys.readouterr().err
    assert "share" in said
    assert ".seg.nrrd" in said
    assert list(here.iterdir()) == []
    assert main([*words, "--output", "yes.seg.nrrd", "--report", "yes.json"]) == 0
    segments, _ = read_segmentation("yes.seg.nrrd")
    masks = {one.name: one.mask for one in segments}
    report = concepts_of("yes.json")
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        name: concept["voxels"] for name, concept in report.items()
    }
    assert (masks["tumor"] & masks["liver"]).any()
    assert all(concept["covered"] == [] for concept in report.values())


@pytest.mark.usefixtures("here")
def test_instances_of_several_concepts_do_not_hide_each_other(abdomen: Path) -> None:
    words = [*WORDS, "--segments-per", "instance", "--output", "each.nii.gz", "--report", "r.json"]
    assert main(["segment", str(abdomen), *words]) == 0
    voxels, beside = labels_of("each.nii.gz")
    report = concepts_of("r.json")
    assert voxels["tumor 1"] == report["tumor"]["instances"][0]["voxels"]
    assert {part["name"] for part in beside["covered"]} == {"liver 1"}
    assert report["liver"]["covered"][0]["by"] == "tumor 1"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("mode", ["slices", "propagate"])
def test_a_liver_that_goes_on_beyond_the_slices_is_marked(
    abdomen: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    words = ["--concept", "liver", "--slices", "20:22", "--mode", mode, "--without", "dropping"]
    assert main(["segment", str(abdomen), *words, "--output", "part.seg.nrrd", "--report", "r.json"]) == 0
    said = capsys.readouterr()
    ends = [
        {"limit": "slices", "side": "inferior", "slice": 20},
        {"limit": "slices", "side": "superior", "slice": 21},
    ]
    liver = concepts_of("r.json")["liver"]
    assert liver["cut_off"] == liver["instances"][0]["cut_off"] == ends
    assert any("cut off" in sentence for sentence in liver["messages"])
    assert "liver: cut off: inferior, superior" in said.out
    assert "≥" in said.out
    assert "(inferior, slice 20; superior, slice 21)" in said.err
    ((segment,), _) = read_segmentation("part.seg.nrrd")
    assert json.loads(segment.tags[PROVENANCE_TAG])["cut_off"] == ends


@pytest.mark.usefixtures("here")
def test_of_a_whole_organ_nothing_is_said(abdomen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = make_phantom(24).masks["spleen"]
    first, *_, last = np.flatnonzero(truth.any(axis=(1, 2))).tolist()
    words = ["--concept", "spleen", "--slices", f"{first - 3}:{last + 4}"]
    assert main(["segment", str(abdomen), *words, "--output", "o.nii.gz", "--report", "r.json"]) == 0
    assert concepts_of("r.json")["spleen"]["found"]
    assert concepts_of("r.json")["spleen"]["cut_off"] == []
    said = capsys.readouterr()
    assert "cut off" not in said.out + said.err
    assert "cut off" not in said.out
    assert "≥" not in said.out


@pytest.mark.usefixtures("here")
def test_a_region_is_an_end_as_well(abdomen: Path) -> None:
    phantom = make_phantom(24)
    mask = phantom.masks["liver"]
    places = phantom.volume.grid.to_ras(np.argwhere(mask[20:22])[:, ::-1] + np.array([0.0, 0.0, 20.0]))
    low, high = places.min(axis=0), places.max(axis=0)
    middle = (low[0] + high[0]) / 2
    corners = (
        f"{middle:.1f},{low[1] - 50:.1f},{low[2] - 50:.1f}/{high[0] + 50:.1f},{high[1] + 50:.1f},{high[2] + 50:.1f}"
    )
    words = ["--concept", "liver", "--slices", "20:22", f"--region={corners}", "--output", "o.seg.nrrd"]
    assert main(["segment", str(abdomen), *words, "--report", "r.json"]) == 0
    limits = {(part["limit"], part["side"]) for part in concepts_of("r.json")["liver"]["cut_off"]}
    assert ("region", "left") in limits
    assert ("region", "right") not in limits
