"""The shell's options for how slices become a volume, and the files that come of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.cli.write_result import write_result
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.io.labelmap_nifti import write_label_map
from MedSAM3SegmentLib.io.segment import PROVENANCE_TAG, Segment
from MedSAM3SegmentLib.io.segmentation import read_segmentation, write_segmentation
from MedSAM3SegmentLib.request import AssemblyOptions, Grouping, SegmentRequest
from MedSAM3SegmentLib.results.result import ConceptResult, Instance, SegmentResult
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.volume import Volume
from support.dicom_files import places, series_files
from support.images import image_on_grid
from support.results import axial_grid, result_of
from support.scripted_tracker import CopyingTracker
from support.tiny_model import TINY_SCORE

SHAPE = (8, 12, 10)
GRID = axial_grid(SHAPE, (2.0, 2.0, 3.0))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, but for ``ct.nii.gz``."""
    monkeypatch.chdir(tmp_path)
    array = np.random.default_rng(0).integers(-200, 300, SHAPE).astype(np.int16)
    SimpleITK.WriteImage(image_on_grid(array, GRID), "ct.nii.gz")
    return tmp_path


def segment(model: Path, *words: str) -> int:
    common = ["--model", str(model), "--device", "cpu", "--threshold", str(TINY_SCORE), "--output", "out.seg.nrrd"]
    return main(["segment", "ct.nii.gz", *common, *words])


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[SegmentRequest]:
    """What the segmenter is asked; the untrained model's answers say nothing about it."""
    asked: list[SegmentRequest] = []
    answer = Segmenter.segment

    def noted(self: Segmenter, volume: Volume, request: SegmentRequest, *more: object, **named: object) -> object:
        asked.append(request)
        return answer(self, volume, request, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Segmenter, "segment", noted)
    return asked


def mask_in(path: str = "out.seg.nrrd") -> np.ndarray:
    (found,) = read_segmentation(path)[0]
    return found.mask


def block(*ranges: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*part) for part in ranges)] = True
    return mask


def write_mask(path: str, mask: np.ndarray) -> None:
    write_segmentation(path, [Segment("liver", mask, (1.0, 0.0, 0.0))], GRID, {})


@pytest.mark.usefixtures("here")
def test_inside_a_segment_and_a_region_cuts_the_result(tiny_model_folder: Path) -> None:
    inside = block((1, 6), (3, 9), (2, 8))
    write_mask("liver.seg.nrrd", inside)
    low, high = (",".join(map(str, GRID.to_ras(np.array(place, float)))) for place in ((0, 0, 2), (9, 5, 7)))
    assert segment(tiny_model_folder, "--concept", "tumor", "--inside", "liver.seg.nrrd", f"--region={low}/{high}") == 0
    assert np.array_equal(mask_in(), block((2, 6), (3, 6), (2, 8)))


@pytest.mark.usefixtures("here")
def test_inside_another_concept_which_is_written_only_if_it_is_asked_for(
    tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("liver").mkdir()  # a concept's own name is no file's
    assert segment(tiny_model_folder, "--concept", "liver; tumor", "--inside", "liver") == 0
    assert [found.name for found in read_segmentation("out.seg.nrrd")[0]] == ["liver", "tumor"]
    assert segment(tiny_model_folder, "--concept", "tumor", "--inside", "spleen") == 0
    (found,) = read_segmentation("out.seg.nrrd")[0]
    provenance = json.loads(found.tags[PROVENANCE_TAG])
    assert (found.name, provenance["inside"]) == (
        "tumor",
        f"spleen (looked for first, {block().size} voxels, holes included)",
    )
    capsys.readouterr()
    for wrong, words in (("tumor", "inside of itself"), ("lost.seg.nrrd", "lost.seg.nrrd"), ("", "one structure")):
        assert segment(tiny_model_folder, "--concept", "tumor", "--inside", wrong) == 2
        assert words in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_a_mask_on_other_voxels_is_refused_before_the_model_runs(
    tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = axial_grid(SHAPE, (2.0, 2.5, 3.0))
    write_label_map("liver.nii.gz", np.ones(SHAPE, np.uint8), other, {1: "liver"})
    assert segment(tiny_model_folder, "--concept", "tumor", "--inside", "liver.nii.gz") == 2
    assert "liver.nii.gz does not lie on the volume's voxels" in capsys.readouterr().err
    assert not Path("out.seg.nrrd").exists()


@pytest.mark.usefixtures("here")
def test_more_planes_run_from_the_shell_and_are_reported_as_one(
    tiny_model_folder: Path, requests: list[SegmentRequest]
) -> None:
    assert segment(tiny_model_folder, "--concept", "liver", "--also-plane", "coronal", "--report", "r.json") == 0
    assert mask_in().all()
    assert [request.more_planes for request in requests] == [(Plane.CORONAL,)]
    concept = json.loads(Path("r.json").read_text())["concepts"][0]
    assert list(concept["score_by_slice"]) == [str(n) for n in range(8)]


def two_instances() -> SegmentResult:
    """Two vertebrae, and a spleen that is not there."""
    volume = Volume(np.zeros(SHAPE, np.int16), GRID, "CT", "ct.nii.gz")
    large, small = block((0, 3), (2, 9), (2, 8)), block((4, 7), (2, 9), (2, 6))
    result = result_of(volume, {"vertebra": large | small, "spleen": np.zeros(SHAPE, bool)})
    vertebra = result.concepts[0]
    labels = (large * 1 + small * 2).astype(np.uint16)
    instances = tuple(
        Instance(n, int((labels == n).sum()), 12.0 * int((labels == n).sum()), first, first + 2, 0.9)
        for n, first in ((1, 0), (2, 4))
    )
    parts = dict(vars(vertebra)) | {"instance_map": labels, "instances": instances}
    return SegmentResult(result.stack, (ConceptResult(**parts), result.concepts[1]), result.provenance, {})


def test_one_segment_per_instance_each_with_its_own_name_and_provenance(tmp_path: Path) -> None:
    result = two_instances()
    write_result(tmp_path / "out.seg.nrrd", result, Grouping.INSTANCE)
    segments, _ = read_segmentation(tmp_path / "out.seg.nrrd")
    assert [found.name for found in segments] == ["vertebra 1", "vertebra 2"]
    for number, found in enumerate(segments, start=1):
        assert np.array_equal(found.mask, result.concepts[0].instance_map == number)
        provenance = json.loads(found.tags[PROVENANCE_TAG])
        assert (provenance["concept"], provenance["instance"]) == ("vertebra", number)
        assert provenance["model"]["name"] == "a model"
    assert segments[0].terminology == segments[1].terminology
    write_result(tmp_path / "one.seg.nrrd", result)
    assert [found.name for found in read_segmentation(tmp_path / "one.seg.nrrd")[0]] == ["vertebra"]


def test_a_label_map_counts_the_instances(tmp_path: Path) -> None:
    result = two_instances()
    write_result(tmp_path / "out.nii.gz", result, Grouping.INSTANCE)
    segments, _ = read_segmentation(tmp_path / "out.nii.gz")
    assert [found.name for found in segments] == ["vertebra 1", "vertebra 2"]
    stored = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out.nii.gz")))
    assert np.array_equal(stored, result.concepts[0].instance_map)


@pytest.mark.usefixtures("here")
def test_instances_and_clean_up_from_the_shell(tiny_model_folder: Path, requests: list[SegmentRequest]) -> None:
    words = ("--concept", "liver", "--segments-per", "instance", "--keep-largest", "--without", "gap-filling")
    assert segment(tiny_model_folder, *words) == 0
    assert [found.name for found in read_segmentation("out.seg.nrrd")[0]] == ["liver 1"]
    (request,) = requests
    assert request.grouping is Grouping.INSTANCE
    assert request.assembly == AssemblyOptions(fill_gaps=False, largest_only=True)


@pytest.mark.usefixtures("here")
def test_an_example_stands_for_words(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The volume itself with two labeled slices, by a tracker that copies the mask of the slice most alike."""
    monkeypatch.setattr("MedSAM3SegmentLib.models.tracker.Tracker", CopyingTracker)
    load = Segmenter.load

    def load_with_tracker(*words: object) -> Segmenter:
        segmenter = load(*words)  # type: ignore[arg-type]
        segmenter.model.tracker = object()  # type: ignore[assignment]
        return segmenter

    monkeypatch.setattr(Segmenter, "load", load_with_tracker)
    drawn = block((2, 5), (3, 8), (2, 7))
    write_mask("drawn.seg.nrrd", drawn)
    assert segment(tiny_model_folder, "--concept", "it", "--example", "drawn.seg.nrrd") == 0
    assert np.array_equal(mask_in()[2:5], drawn[2:5]), "labelled slices come back as they were"
    assert segment(tiny_model_folder, "--example", "ct.nii.gz=drawn.seg.nrrd") == 0
    (found,) = read_segmentation("out.seg.nrrd")[0]
    assert found.name == "object"
    assert "1 example (ct.nii.gz)" in found.tags[PROVENANCE_TAG]


@pytest.mark.usefixtures("here")
def test_an_example_without_a_tracker_or_with_two_concepts_is_refused(
    tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mask("drawn.seg.nrrd", block((2, 3), (3, 8), (2, 7)))
    assert segment(tiny_model_folder, "--concept", "it", "--example", "ct.nii.gz=drawn.seg.nrrd") == 3
    assert "no tracker" in capsys.readouterr().err
    assert segment(tiny_model_folder, "--concept", "a; b", "--example", "drawn.seg.nrrd") == 2
    assert segment(tiny_model_folder, "--concept", "a", "--example", "lost.seg.nrrd") == 2
    assert "lost.seg.nrrd does not exist" in capsys.readouterr().err
    assert not Path("out.seg.nrrd").exists()


def test_a_series_and_a_modality_are_chosen(
    here: Path, tiny_model_folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Volume] = []
    answer = Segmenter.segment

    def noted(self: Segmenter, volume: Volume, *more: object, **named: object) -> object:
        seen.append(volume)
        return answer(self, volume, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Segmenter, "segment", noted)
    for number, count in ((4, 5), (9, 6)):
        series_files(
            here / "study" / str(number), places(count), SeriesInstanceUID=f"1.2.{number}", SeriesNumber=number
        )
    common = ["--model", str(tiny_model_folder), "--device", "cpu", "--concept", "liver", "--output", "out.seg.nrrd"]
    assert main(["segment", "study", *common]) == 2
    said = capfd.readouterr().err
    assert "2 image series" in said
    assert "--series" in said
    assert main(["segment", "study", *common, "--series", "3"]) == 2
    assert not Path("out.seg.nrrd").exists()
    assert main(["segment", "study", *common, "--series", "9", "--modality", "mr"]) == 0
    assert main(["segment", "ct.nii.gz", *common, "--modality", "CT"]) == 0
    assert main(["segment", "ct.nii.gz", *common, "--modality", "liver"]) == 2
    assert main(["segment", "ct.nii.gz", *common, "--series", "1"]) == 2
    assert [(volume.modality, volume.array.shape[0]) for volume in seen] == [("MR", 6), ("CT", SHAPE[0])]
    assert "it was taken for MR" in seen[0].messages[0]
