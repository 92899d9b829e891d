"""What is drawn, from the shell: positions and files to prompts, and what the shell says when they cannot be used."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.cli.options.prompt import adaptation_of, add_prompt_options, concepts_of, prompts_of
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.io.segmentation import read_segmentation, write_segmentation
from MedSAM3SegmentLib.prompts.prompts import BoxReading, TargetPrompts
from MedSAM3SegmentLib.synthetic.phantom import make_phantom
from support.cli_runs import Shell, files_in, write_phantom
from support.external_data import SHARED, needs_shared
from support.images import image_on_grid
from support.results import axial_grid
from support.tiny_model import TINY_SCORE

GRID = axial_grid((6, 20, 24), (2.0, 2.0, 5.0))


def parsed(*words: str, named: tuple[str, ...] = ()) -> dict[str, TargetPrompts]:
    parser = argparse.ArgumentParser()
    add_prompt_options(parser)
    return dict(prompts_of(parser.parse_args(words), named, GRID))


def test_what_is_drawn_without_a_name_is_an_object_without_words() -> None:
    prompts = parsed("--point=-12,30.5,4", "--not-point=1,2,3", "--box=-20,0,0/-4,-10,0")
    assert list(prompts) == ["object"]
    (prompt,) = prompts.values()
    assert [(point.position, point.positive) for point in prompt.points] == [
        ((-12.0, 30.5, 4.0), True),
        ((1.0, 2.0, 3.0), False),
    ]
    assert prompt.boxes[0].corners == ((-20.0, 0.0, 0.0), (-4.0, -10.0, 0.0))
    assert prompt.reading is BoxReading.ONLY_THIS_ONE
    assert not prompt.is_phrase


def test_marks_go_to_the_concept_that_stands_before_them() -> None:
    named = ("left kidney", "liver")
    prompts = parsed("--point=left kidney:1,2,3", "--box=liver:0,0,0/9,9,9", "--like-this", named=named)
    assert len(prompts["left kidney"].points) == 1
    assert len(prompts["liver"].boxes) == 1
    assert prompts["liver"].reading is BoxReading.THINGS_LIKE_THIS
    assert prompts["liver"].is_phrase


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--adapt-name=mine",), "give --adapt too"),
        (("--adapt", "--adapt-name=mine"), "give them with --mask"),
        (("--adapt", "--adapt-name=a/b", "--mask=m.nrrd"), "cannot be a folder's"),
    ],
)
def test_a_name_for_what_is_learnt_is_checked_first(words: tuple[str, ...], said: str) -> None:
    parser = argparse.ArgumentParser()
    add_prompt_options(parser)
    parser.add_argument("--model", default="demo")
    with pytest.raises(InputError, match=said):
        adaptation_of(parser.parse_args(words))


def test_no_words_leaves_the_name_a_name() -> None:
    prompts = parsed("--point=1,2,3", "--no-words", named=("liver",))
    assert not prompts["liver"].is_phrase


def test_nothing_drawn_is_no_prompt() -> None:
    assert parsed(named=("liver",)) == {}
    parser = argparse.ArgumentParser()
    add_prompt_options(parser)
    assert concepts_of(parser.parse_args([]), ()) == ()


@pytest.mark.parametrize(
    ("word", "named", "said"),
    [
        ("--point=1,2", (), "three numbers"),
        ("--point=1,2,x", (), "three numbers"),
        ("--box=1,2,3", (), "two corners"),
        ("--point=1,2,3", ("liver", "spleen"), "which concept"),
    ],
)
def test_what_cannot_be_understood_is_refused_in_words(word: str, named: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        parsed(word, named=named)


def test_a_mask_is_put_on_the_volumes_voxels_or_refused(tmp_path: Path) -> None:
    mask = np.zeros(GRID.shape, bool)
    mask[2, 4:9, 5:11] = True
    write_segmentation(tmp_path / "drawn.seg.nrrd", [Segment("liver", mask, (1, 2, 3))], GRID, {})
    (prompt,) = parsed(f"--mask={tmp_path / 'drawn.seg.nrrd'}").values()
    assert np.array_equal(prompt.masks[0].mask, mask)
    both = [Segment("liver", mask, (1, 2, 3)), Segment("Spleen", np.roll(mask, 9, 2), (3, 2, 1))]
    write_segmentation(tmp_path / "both.seg.nrrd", both, GRID, {})
    words = (f"--mask=spleen:{tmp_path / 'both.seg.nrrd'}", f"--mask=tumor:{tmp_path / 'both.seg.nrrd'}")
    prompts = parsed(*words, named=("spleen", "tumor"))
    assert np.array_equal(prompts["spleen"].masks[0].mask, both[1].mask), "the segment of its name"
    assert np.array_equal(prompts["tumor"].masks[0].mask, both[0].mask | both[1].mask), "or all there is"
    other = axial_grid((6, 20, 24), (1.0, 2.0, 5.0))
    write_segmentation(tmp_path / "other.seg.nrrd", [Segment("liver", mask, (1, 2, 3))], other, {})
    with pytest.raises(InputError, match="resample"):
        parsed(f"--mask={tmp_path / 'other.seg.nrrd'}")


# --- the whole command ------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """``medsam3 segment`` in an empty folder."""
    image = write_phantom(tmp_path / "in" / "ct.nii.gz", seed=31)
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def segment(*words: str) -> int:
        options = ["--model", str(tiny_model_folder), "--output", "out.seg.nrrd", "--threshold", str(TINY_SCORE)]
        return main(["segment", str(image), *options, *words])

    segment.image = image  # type: ignore[attr-defined]
    return segment


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--mode", "propagate", "--concept", "liver"), 3, "no tracker"),
        (("--mode", "from prompts", "--point=0,0,0"), 3, "no tracker"),
        (("--mode", "from prompts", "--concept", "liver"), 2, "Nothing was drawn"),
        (("--mode", "from prompts"), 2, "No concept"),
        (("--concept", "liver", "--point=0,0,0"), 2, "from prompts"),
        (("--mode", "from prompts", "--box=900,0,0/950,9,9", "--like-this"), 2, "outside of the volume"),
        (("--mode", "from prompts", "--mask", "missing.seg.nrrd"), 2, "missing.seg.nrrd"),
        # A value that begins with a minus is a value, joined to its option or not.
        (("--mode", "from prompts", "--point", "-12,30,4"), 3, "no tracker"),
        (("--mode", "from prompts", "--not-point", "-.5,30,4", "--point", "-12,30,4"), 3, "no tracker"),
        (("--mode", "from prompts", "--box", "-900,0,0/-950,9,9", "--like-this"), 2, "outside of the volume"),
        (("--mode", "from prompts", "--not-box", "-900,0,0/-950,9,9"), 2, "outside of the volume"),
        (("--concept", "liver", "--region", "-900,0,0/-950,9,9"), 2, "outside"),
        (("--concept", "liver", "--resolution", "-2"), 2, "-2"),
        (("--concept", "liver", "--keep-largest", "-2"), 2, "-2"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_writes_nothing(
    run,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    said: str,  # type: ignore[no-untyped-def]
) -> None:
    assert run(*words) == code
    assert said in capsys.readouterr().err
    assert files_in(Path.cwd()) == []


def test_an_exemplar_without_words_is_found_around_its_slice(run) -> None:  # type: ignore[no-untyped-def]
    grid = read_volume(run.image).grid
    corners = (grid.to_ras(np.array(ijk, float)) for ijk in ((2, 2, 5), (12, 12, 5)))
    text = "/".join(",".join(f"{value:.4f}" for value in corner) for corner in corners)
    assert run("--mode", "from prompts", f"--box={text}", "--like-this", "--report", "r.json") == 0
    (found,) = read_segmentation("out.seg.nrrd")[0]
    assert found.name == "object"
    assert "1 box (things like this), without words" in Path("r.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("plane", ["sagittal", "coronal"])
@pytest.mark.parametrize("mode", [("--mode", "from prompts"), ("--mode", "propagate", "--concept", "liver")])
def test_a_mask_drawn_in_another_plane_is_refused(
    tmp_path: Path, here: Path, capsys: pytest.CaptureFixture[str], plane: str, mode: tuple[str, ...]
) -> None:
    volume = write_phantom(tmp_path / "in" / "ct.nii.gz", seed=31)
    grid = read_volume(volume).grid
    mask = np.zeros(grid.shape, bool)
    mask[4, 5:16, 4:15] = True
    write_segmentation(tmp_path / "drawn.nii.gz", [Segment("liver", mask, (1, 2, 3))], grid, {})
    words = [*mode, "--plane", plane, "--mask", str(tmp_path / "drawn.nii.gz"), "--output", "o.seg.nrrd"]
    assert main(["segment", str(volume), *words]) == 2
    said = capsys.readouterr().err
    assert f"lies on axial slices (4) and is but a line on each {plane} one" in said
    assert files_in(here) == []


@needs_shared
def test_the_spleen_that_was_drawn_axially_is_not_read_as_sagittal(
    tmp_path: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import SimpleITK

    phantom = make_phantom(24)
    image = image_on_grid(phantom.volume.array, phantom.volume.grid)
    SimpleITK.WriteImage(image, str(tmp_path / "phantom.nii.gz"))
    drawn = SHARED / "cases" / "mask-drawn-in-another-plane" / "spleen-one-axial-slice.seg.nrrd"
    words = ["--mode", "from prompts", "--plane", "sagittal", "--mask", str(drawn), "--output", "o.seg.nrrd"]
    assert main(["segment", str(tmp_path / "phantom.nii.gz"), *words]) == 2
    assert "lies on axial slices (34)" in capsys.readouterr().err
    assert files_in(here) == []


def drawn_on_slices(image: Path, slices: list[int], name: str = "drawn.nii.gz") -> Path:
    """A mask file with a block on some slices of the first axis as it is stored."""
    volume = SimpleITK.ReadImage(str(image))
    mask = np.zeros(SimpleITK.GetArrayFromImage(volume).shape, np.uint8)
    mask[slices, 6:14, 5:12] = 1
    written = SimpleITK.GetImageFromArray(mask)
    written.CopyInformation(volume)
    SimpleITK.WriteImage(written, name)
    return Path(name)


def test_without_a_model_what_lies_between_drawn_slices_is_filled_and_that_is_said(
    segment: Shell, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = drawn_on_slices(image, [2, 6])
    options = ("--mode", "from prompts", "--mask", str(mask), "--plane", "axial", "--report", "r.json")
    assert segment("--model", "none", *options) == 0
    said = capsys.readouterr().err
    assert "No model was used" in said
    assert "What the slices rest on: drawn: 2, 6; interpolated" in said
    assert "would help most" in said
    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("out.seg.nrrd"))
    assert np.count_nonzero(found) == 5 * 8 * 7
    (concept,) = json.loads(Path("r.json").read_text())["concepts"]
    assert concept["source_by_slice"]["2"] == "drawn"
    assert concept["source_by_slice"]["4"].startswith("interpolated")
    assert concept["next_slice"] in (1, 7)


def test_without_a_model_words_alone_are_refused_and_nothing_is_written(
    segment: Shell, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("--model", "none", "--concept", "liver") == 2
    assert "draw 'liver' on two slices at least, or choose a model" in capsys.readouterr().err
    assert files_in(here) == []


def test_a_model_without_a_tracker_fills_between_drawn_slices_and_says_so(
    segment: Shell, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = drawn_on_slices(image, [2, 6])
    assert segment("--mode", "from prompts", "--mask", str(mask), "--plane", "axial") == 0
    assert "has no tracker" in capsys.readouterr().err
    assert np.count_nonzero(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("out.seg.nrrd"))) == 5 * 8 * 7


def test_a_model_without_a_tracker_refuses_a_single_drawn_slice(
    segment: Shell, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = drawn_on_slices(image, [4])
    assert segment("--mode", "from prompts", "--mask", str(mask), "--plane", "axial") == 3
    assert "has no tracker" in capsys.readouterr().err


def test_slices_of_the_image_as_an_example_are_filled_between_as_drawn_ones(
    segment: Shell, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a model that has no tracker and with none, whether the image is named or not."""
    mask = drawn_on_slices(image, [2, 6])
    for options, said in (
        (("--example", str(mask)), "has no tracker"),
        (("--example", f"{image}={mask}"), "has no tracker"),
        (("--example", str(mask), "--model", "none"), "No model was used"),
    ):
        Path("out.seg.nrrd").unlink(missing_ok=True)
        assert segment(*options, "--plane", "axial") == 0
        output = capsys.readouterr().err
        assert said in output
        assert "What the slices rest on: drawn: 2, 6; interpolated" in output
        assert np.count_nonzero(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("out.seg.nrrd"))) == 5 * 8 * 7


def test_one_slice_of_the_image_as_an_example_needs_a_tracker(
    segment: Shell, here: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = drawn_on_slices(image, [4])
    before = files_in(here)
    assert segment("--example", str(mask), "--plane", "axial") == 3
    assert "has no tracker" in capsys.readouterr().err
    assert segment("--example", str(mask), "--plane", "axial", "--model", "none") == 2
    assert "on two slices at least" in capsys.readouterr().err
    assert files_in(here) == before
