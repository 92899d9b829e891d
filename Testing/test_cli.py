"""The shell as people and scripts use it: real files in, real files out, one clear line and an exit code when not."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from MedSAM3SegmentLib.cli import main
from MedSAM3SegmentLib.commands import demo_command, train_command
from MedSAM3SegmentLib.commands.interruption import Interruption
from MedSAM3SegmentLib.commands.output_files import written_together
from MedSAM3SegmentLib.errors import InputError, ModelError
from MedSAM3SegmentLib.evaluation.metrics import dice
from MedSAM3SegmentLib.images import read_volume
from MedSAM3SegmentLib.itk_images import image_on_grid
from MedSAM3SegmentLib.models.model_card import ModelCard
from MedSAM3SegmentLib.resources import resource_path
from MedSAM3SegmentLib.segmentation_files import PROVENANCE_TAG, read_segmentation
from MedSAM3SegmentLib.training.phantom import make_phantom, tilted_grid
from shared_data import DATA, needs_shared
from tiny_model import TINY_ARCHITECTURE, TINY_SCORE

LIBRARY = Path(__file__).resolve().parents[1] / "MedSAM3Segment"
GRID = tilted_grid((10, 24, 20), (14.0, 15.0, 18.0), (4.0, -3.0, 5.0))

Shell = Callable[..., int]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A small oblique CT-like volume in a folder of its own."""
    return write_phantom(tmp_path / "in" / "ct.nii.gz", seed=31)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the commands run in."""
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def segment(image: Path, here: Path, tiny_model_folder: Path) -> Shell:
    """``medsam3 segment`` on the small volume with the tiny model; further words may replace these."""
    assert Path.cwd() == here

    def run(*words: str, threshold: float = TINY_SCORE) -> int:
        options = ["--model", str(tiny_model_folder), "--threshold", str(threshold), "--output", "out.seg.nrrd"]
        return main(["segment", str(image), *options, *words])

    return run


def write_phantom(path: Path, seed: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    phantom = make_phantom(seed, GRID)
    SimpleITK.WriteImage(image_on_grid(phantom.volume.array, GRID), str(path))
    return path


def files_in(folder: Path) -> list[str]:
    """Everything in ``folder``, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def start(*words: str, cwd: Path, stdout: int = subprocess.PIPE, **variables: str) -> subprocess.Popen[str]:
    """``medsam3`` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY), "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, "-m", "MedSAM3SegmentLib", *words]
    return subprocess.Popen(command, cwd=cwd, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True)


# --- segment ----------------------------------------------------------------------------------------------------------


def test_a_segmentation_lies_exactly_on_its_volume(segment: Shell, image: Path) -> None:
    assert segment("--concept", "liver") == 0
    segments, grid = read_segmentation("out.seg.nrrd")
    assert grid.same_as(read_volume(image).grid)
    assert [found.name for found in segments] == ["liver"]
    assert segments[0].mask.all()  # the tiny model sees everything everywhere


def test_phrases_are_separated_by_semicolons_lines_and_options(segment: Shell) -> None:
    assert segment("--concept", "liver; left kidney\nspleen", "--concept", "tumor", "--concept", "liver") == 0
    assert [found.name for found in read_segmentation("out.seg.nrrd")[0]] == ["liver", "left kidney", "spleen", "tumor"]


def test_the_demo_label_is_in_log_report_and_provenance(segment: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment("--concept", "liver", "--report", "r.json") == 0
    assert "DEMO" in capsys.readouterr().err
    assert json.loads(Path("r.json").read_text())["model"]["demo"] is True
    found = read_segmentation("out.seg.nrrd")[0][0]
    provenance = json.loads(found.tags[PROVENANCE_TAG])
    assert provenance["model"]["demo"] is True
    assert provenance["prompt"] == "liver"


def test_report_and_preview_are_written_with_the_segmentation(segment: Shell, here: Path, image: Path) -> None:
    assert segment("--concept", "liver; spleen", "--report", "r.json", "--preview", "p.png") == 0
    assert files_in(here) == ["out.seg.nrrd", "p.png", "r.json"]
    report = json.loads(Path("r.json").read_text())
    assert report["input"]["name"] == image.name
    assert set(report["seconds"]) >= {"reading", "loading", "segmenting", "assembling", "writing"}
    assert report["concepts"][0]["voxels"] == np.prod(GRID.shape)
    assert len(report["concepts"][0]["score_by_slice"]) == GRID.shape[0]
    Image.open("p.png").load()


def test_options_reach_the_engine(segment: Shell) -> None:
    options = ("--plane", "coronal", "--slices", "3:9", "--window", "-100,150", "--report", "r.json")
    assert segment("--concept", "liver", *options) == 0
    report = json.loads(Path("r.json").read_text())
    assert report["plane"] == "coronal"
    assert report["window"] == {"name": "custom", "low": -100.0, "high": 150.0}
    assert sorted(map(int, report["concepts"][0]["score_by_slice"])) == list(range(3, 9))
    assert report["threshold"] == TINY_SCORE


def test_nothing_found_is_a_result(segment: Shell, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment("--concept", "liver; spleen", "--report", "r.json", "--preview", "p.png", threshold=0.9) == 0
    assert "Nothing was found" in capsys.readouterr().out
    segments, grid = read_segmentation("out.seg.nrrd")
    assert segments == []
    assert grid.same_as(read_volume(image).grid)
    assert [concept["found"] for concept in json.loads(Path("r.json").read_text())["concepts"]] == [False, False]


def test_label_values_do_not_depend_on_what_is_found(segment: Shell) -> None:
    assert segment("--concept", "liver; spleen", "--output", "all.nii.gz") == 0
    assert segment("--concept", "liver; spleen", "--output", "none.nii.gz", threshold=0.9) == 0
    names = [json.loads(Path(f"{name}.labels.json").read_text())["labels"] for name in ("all", "none")]
    assert names[0] == names[1] == {"1": "liver", "2": "spleen"}
    assert set(np.unique(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("all.nii.gz")))) == {2}  # the later covers
    assert set(np.unique(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("none.nii.gz")))) == {0}


@pytest.mark.usefixtures("here")
def test_a_picture_can_be_segmented(tiny_model_folder: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save("skin.png")
    words = ["segment", "skin.png", "--concept", "melanoma", "--output", "o.nii.gz", "--preview", "p.png"]
    assert main([*words, "--model", str(tiny_model_folder)]) == 0
    assert read_segmentation("o.nii.gz")[0][0].mask.shape == (1, 40, 60)


def test_quiet_says_nothing(segment: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment("--concept", "liver", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_brackets_in_phrases_are_printed_as_typed(segment: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment("--concept", "[bold]lesion[/] ;[/x]", threshold=0.9) == 0
    assert "[bold]lesion[/]" in capsys.readouterr().out


def test_an_older_output_is_replaced_whole_or_kept(segment: Shell) -> None:
    Path("out.seg.nrrd").write_text("old")
    assert segment("--concept", "liver", "--model", "missing") == 3
    assert Path("out.seg.nrrd").read_text() == "old"
    assert segment("--concept", "liver") == 0
    assert read_segmentation("out.seg.nrrd")[0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "No concept"),
        (("--concept", " ; \n"), "No concept"),
        (("--window", "foggy"), "foggy"),
        (("--window", "10,-10"), "10,-10"),
        (("--window", "-10,x"), "-10,x"),
        (("--slices", "3"), "A:B"),
        (("--slices", "5:5"), "5:5"),
        (("--slices", "-2:5"), "-2:5"),
        (("--slices", "5:99"), "5:99"),
        (("--threshold", "1.5"), "1.5"),
        (("--threshold", "nan"), "nan"),
        (("--threshold", "half"), "half"),
        (("--plane", "oblique"), "oblique"),
        (("--device", "abacus"), "abacus"),
        (("--output", "out.png"), "out.png"),
        (("--output", "out"), "out"),
        (("--output", "absent/out.seg.nrrd"), "absent"),
        (("--report", "absent/r.json"), "absent"),
        (("--report", "."), "folder"),
        (("--preview", "p.jpg"), "p.jpg"),
        (("--preview", "x.png", "--report", "x.png"), "x.png"),
        (("--colour", "red"), "no option --colour; see 'medsam3 segment --help'"),
        (("--slice", "3:5"), "did you mean --slices?"),
        (("--region", "1,2,3"), "'1,2,3' is not R,A,S/R,A,S"),
        (("--region", "1", "2", "3"), "'2' is one word too many"),
    ],
)
def test_bad_options_end_with_one_line_and_no_file(
    segment: Shell, here: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    concept = () if "--concept" in words or not words else ("--concept", "liver")
    assert segment(*concept, *words) == 2
    out, err = capsys.readouterr()
    error = [line for line in err.splitlines() if line.startswith("medsam3: ")]
    assert len(error) == 1
    assert says in error[0]
    assert "Traceback" not in err
    assert out == ""
    assert files_in(here) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.nii.gz", None),
        ("empty.nrrd", b""),
        ("text.nii.gz", b"this is no image"),
        ("cut.png", b"\x89PNG\r\n\x1a\n"),
    ],
)
def test_bad_images_end_with_one_line_that_names_them(
    here: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None
) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    before = files_in(here)
    assert main(["segment", name, "--concept", "liver", "--output", "out.seg.nrrd"]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert name in err
    assert files_in(here) == before


def test_the_input_is_never_overwritten(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = image.read_bytes()
    same = image.parent / ".." / image.parent.name / image.name
    assert main(["segment", str(image), "--concept", "liver", "--output", str(same)]) == 2
    assert "overwritten" in capsys.readouterr().err
    assert image.read_bytes() == before


def test_a_broken_model_is_told_from_bad_input(
    segment: Shell, here: Path, tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model_folder, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert segment("--concept", "liver", "--model", str(broken)) == 3
    assert segment("--concept", "liver", "--model", "no-such-model") == 3
    err = capsys.readouterr().err
    assert "no-such-model" in err
    assert "Traceback" not in err
    assert files_in(here) == []


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--model", "no-such-model"), 3, "medsam3 models list"),
        (("--model", "./no-such-folder"), 3, "medsam3 models list"),
        (("--model", "facebook/sam3"), 3, "medsam3 models add facebook/sam3"),
        (("--device", "abacus"), 2, "auto, cuda, mps, cpu"),
        (("--dtype", "int8"), 2, "float32"),
    ],
)
def test_what_there_is_no_model_for_is_said_before_the_image_is_read(
    tmp_path: Path, here: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, says: str
) -> None:
    image = tmp_path / "unreadable.nii.gz"
    image.write_bytes(b"reading this would be another error")
    assert main(["segment", str(image), "--concept", "liver", "--output", "out.seg.nrrd", *words]) == code
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert says in err
    assert files_in(here) == []


def test_only_verbose_shows_where_an_error_came_from(segment: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment("--concept", "liver", "--model", "no-such-model", "--verbose") == 3
    assert "Traceback" in capsys.readouterr().err


def test_a_defect_is_one_line_too(
    segment: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("by\nzero" if arguments else "")

    monkeypatch.setattr("MedSAM3SegmentLib.images.read_volume", fail)
    assert segment("--concept", "liver") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "ZeroDivisionError: by zero" in last
    assert "--verbose" in last


@needs_shared
@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "path",
    [
        "ct_abdomen/ct.nii.gz",
        "mr_abdomen/mr.nii.gz",
        "ct_dicom/series",
        "ct_dicom_seg/series",
        "mr_spinal_cord/t2s.nii.gz",
        "mr_breast/mr.nrrd",
        "ct_vertebra/ct.nii.gz",
        "geometry/sheared_head_ct.nii.gz",
        "images_2d/06_CT_abdomen.png",
        "images_2d/20_ultrasound_breast.png",
        "images_2d/25_dermoscopy_skin.png",
    ],
)
def test_every_real_image_runs_and_keeps_its_grid(tiny_model_folder: Path, path: str) -> None:
    image = DATA / path
    words = ["--model", str(tiny_model_folder), "--output", "o.seg.nrrd", "--preview", "p.png", "--report", "r.json"]
    assert main(["segment", str(image), "--concept", "liver; tumor", *words]) == 0
    segments, grid = read_segmentation("o.seg.nrrd")
    assert grid.same_as(read_volume(image).grid)
    assert segments[0].mask.all()
    assert json.loads(Path("r.json").read_text())["model"]["demo"] is True


# --- stopping ---------------------------------------------------------------------------------------------------------


def interrupt_when(process: subprocess.Popen[str], line: str) -> tuple[int, str]:
    """Press Ctrl-C once a line like ``line`` is in the log; the exit code, and the rest of the log."""
    assert process.stderr is not None
    seen = ""
    for text in process.stderr:
        seen += text
        if re.search(line, text):
            break
    else:
        pytest.fail(f"The log ended without '{line}': {seen}")
    time.sleep(0.3)  # so that it is at work on what the line announced
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=120)
    return process.returncode, rest


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("line", ["voxels of", "Model: "], ids=["loading", "segmenting"])
def test_ctrl_c_leaves_nothing(tmp_path: Path, here: Path, tiny_model_folder: Path, line: str) -> None:
    long = tmp_path / "long.nrrd"
    array = np.random.default_rng(0).integers(-1000, 1000, (20000, 8, 8)).astype(np.int16)
    SimpleITK.WriteImage(image_on_grid(array, tilted_grid(array.shape, (1.0, 1.0, 2.0))), str(long))
    outputs = ("--output", "o.nii.gz", "--report", "r.json", "--preview", "p.png")
    process = start("segment", str(long), "--concept", "liver", "--model", str(tiny_model_folder), *outputs, cwd=here)
    code, log = interrupt_when(process, line)
    assert code == 130
    assert "Traceback" not in log
    assert len(log.splitlines()) == 1
    assert files_in(here) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_while_a_string_is_executed_keeps_the_exit_code(here: Path) -> None:
    """As where a library that is being imported makes its classes from strings (dataclasses, named tuples)."""
    lines = [
        "import sys",
        "from MedSAM3SegmentLib.commands.interruption import Interruption",
        "try:",
        "    with Interruption().handled():",
        "        exec('import os, signal; os.kill(os.getpid(), signal.SIGINT)')",
        "except KeyboardInterrupt:",
        "    sys.exit(130)",
    ]
    (here / "interrupted_import.py").write_text("\n".join(lines))
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY)}
    assert subprocess.run([sys.executable, "-m", "interrupted_import"], cwd=here, env=environment).returncode == 130


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_in_training_says_that_there_is_no_snapshot_yet(here: Path) -> None:
    code, log = interrupt_when(start("train", "--output", "model", "--phantoms", "400", cwd=here), "Training")
    assert code == 130
    assert len(log.splitlines()) == 1
    assert "nothing was written" in log
    assert files_in(here) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_in_training_keeps_the_last_snapshot(
    here: Path, architecture: Path, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from MedSAM3SegmentLib.training.schedule import Schedule

    monkeypatch.setattr(train_command, "_schedule", lambda *_: Schedule(100_000, save_every=2))

    def press_after_the_first_snapshot() -> None:
        while not Path("model/model.safetensors").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press_after_the_first_snapshot, daemon=True)
    finger.start()
    assert main(["train", "--output", "model", "--phantoms", "1", "--architecture", str(architecture)]) == 130
    assert "snapshot is in model" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["model"]
    assert main(["segment", str(image), "--concept", "liver", "--model", "model", "--output", "o.seg.nrrd"]) == 0


def test_files_that_belong_together_are_all_written_or_none(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "one.txt", tmp_path / "b" / "two.txt"
    for path in (first, second):
        path.parent.mkdir()
        path.write_text("old")
    both = [first, second]

    def fail_half_way() -> None:
        with written_together(both, Interruption()) as drafts:
            drafts[first].write_text("new")
            raise InputError(f"{drafts[second]} could not be written.")

    with pytest.raises(InputError, match=re.escape(str(second))):
        fail_half_way()
    assert files_in(tmp_path) == ["a", "a/one.txt", "b", "b/two.txt"]
    assert first.read_text() == second.read_text() == "old"
    with written_together(both, Interruption()) as drafts:
        drafts[first].write_text("new")
        drafts[second].write_text("new")
        assert first.read_text() == "old"
    assert files_in(tmp_path) == ["a", "a/one.txt", "b", "b/two.txt"]
    assert first.read_text() == second.read_text() == "new"


# --- other commands ---------------------------------------------------------------------------------------------------


def test_help_is_there_at_once() -> None:
    code = (
        "import sys; from MedSAM3SegmentLib.cli import main; assert main(['segment', '--help']) == 0; "
        "assert not {'torch', 'transformers', 'SimpleITK', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(LIBRARY)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "--concept" in done.stdout


@pytest.mark.parametrize("words", [[], ["segmentt"], ["segment"], ["--colour"]])
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "--help" in err


def test_info_says_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "torch" in out
    assert "cpu" in out
    assert "demo model" in out


def test_a_reader_that_goes_away_is_no_error(here: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = start("info", cwd=here, stdout=write_end)
    os.close(write_end)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert err == ""


def test_a_terminal_that_lacks_characters_gets_escapes_and_the_run_ends_well(
    here: Path, image: Path, tiny_model_folder: Path
) -> None:
    words = ("segment", str(image), "--model", str(tiny_model_folder), "--concept", "Öl", "--output", "größe.seg.nrrd")
    process = start(*words, cwd=here, PYTHONIOENCODING="ascii")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "gr\\xf6\\xdfe.seg.nrrd" in out
    assert files_in(here) == ["größe.seg.nrrd"]


def test_a_program_without_standard_streams_can_run_it() -> None:
    code = (
        "import sys; sys.stdout = sys.stderr = None; from MedSAM3SegmentLib.cli import main; "
        "sys.exit(main(['models', 'list']) + 10 * main(['segment', '--colour']))"
    )
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(LIBRARY)}).returncode == 20


def test_the_demo_measures_what_it_writes(here: Path, tiny_model_folder: Path) -> None:
    assert main(["demo", "--output", "demo", "--seed", "31", "--model", str(tiny_model_folder)]) == 0
    assert files_in(here / "demo") == sorted(demo_command.FILES)
    phantom = make_phantom(31)
    volume = read_volume("demo/phantom.nii.gz")
    assert np.array_equal(volume.array, phantom.volume.array)
    assert volume.grid.same_as(phantom.volume.grid, tolerance_mm=1e-2)
    truth = {segment.name: segment.mask for segment in read_segmentation("demo/truth.seg.nrrd")[0]}
    assert set(truth) == set(phantom.present)
    assert all(np.array_equal(mask, phantom.masks[name]) for name, mask in truth.items())
    found = {segment.name: segment.mask for segment in read_segmentation("demo/segmentation.seg.nrrd")[0]}
    for concept in json.loads(Path("demo/report.json").read_text())["concepts"]:
        if concept["prompt"] in truth:
            assert concept["dice"] == pytest.approx(dice(found[concept["concept"]], truth[concept["prompt"]]), abs=1e-4)
        else:
            assert concept["true_voxels"] == 0


def test_a_demo_that_fails_leaves_no_folder(here: Path) -> None:
    assert main(["demo", "--output", "demo", "--model", "no-such-model"]) == 3
    assert main(["demo", "--output", "demo", "--seed", "-1"]) == 2
    assert files_in(here) == []


@pytest.mark.usefixtures("here")
def test_the_demo_shows_a_model_that_works() -> None:
    try:
        resource_path("demo-model")
    except ModelError:
        pytest.skip("the demo model is not there yet")
    assert main(["demo", "--output", "demo"]) == 0
    concepts = json.loads(Path("demo/report.json").read_text())["concepts"]
    assert [concept["found"] for concept in concepts] == [concept["true_voxels"] > 0 for concept in concepts]
    assert np.mean([concept["dice"] for concept in concepts if concept["true_voxels"]]) > 0.8


# --- train ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two small labelled volumes; the liver, and something that is absent."""
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


@pytest.fixture
def architecture(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(TINY_ARCHITECTURE))
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
