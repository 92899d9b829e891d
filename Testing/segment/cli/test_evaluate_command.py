"""``medsam3 evaluate`` on two folders: values counted by hand, every fault one sentence, and a run that goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.evaluation.run_folder import ROWS, locked
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.io.segmentation import write_segmentation
from support.evaluation_files import evaluate, read_cases, read_summary, square, write_picture, write_volume


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures: right, moved by 5 of 20 columns, and one without anything, where something was found."""
    monkeypatch.chdir(tmp_path)
    empty = np.zeros((40, 40), bool)
    for name, truth, found in (
        ("a", square(), square()),
        ("b", square(), square(moved=5)),
        ("c", empty, square(length=3)),
    ):
        write_picture(tmp_path / "truth" / f"{name}.png", truth)
        write_picture(tmp_path / "mine" / f"{name}.png", found)
    return tmp_path


COMMAND = ("--references", "truth", "--predictions", "mine", "--output", "out")


def one_line(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    text = capsys.readouterr().err.strip().splitlines()[-1]
    assert text.startswith("medsam3: ")
    assert text.endswith(".")
    for word in words:
        assert word in text
    return text


def test_pictures_by_hand(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(*COMMAND) == 0
    rows = read_cases(folders / "out")
    moved = rows["b", "mask"]
    assert [int(moved[name]) for name in ("tp", "fp", "fn")] == [300, 100, 100]
    assert float(moved["dice"]) == 0.75
    assert float(moved["iou"]) == 0.6
    assert float(moved["hd95"]) == pytest.approx(5.0)
    assert (moved["distance_unit"], moved["volume_unit"]) == ("px", "px")
    assert (rows["c", "mask"]["presence"], rows["c", "mask"]["dice"]) == ("false found", "")
    (entry,) = read_summary(folders / "out")["results"]
    assert entry["dice"]["mean"] == pytest.approx(0.875)
    assert (entry["with_reference"], entry["false_found"], entry["false_found_rate"]) == (2, 1, 1.0)
    assert entry["dice_pooled"] == pytest.approx(2 * 700 / (2 * 700 + 109 + 100))
    printed = capsys.readouterr().out
    assert "0.875" in printed
    assert "0.875" in (folders / "out" / "tables.md").read_text()
    assert "0.875" in (folders / "out" / "tables.html").read_text()
    assert sorted(path.name for path in (folders / "out" / "pictures").iterdir()) == ["01-best.png", "01-worst.png"]


def test_the_other_rule_for_cases_without_reference(folders: Path) -> None:
    write_picture(folders / "truth" / "d.png", np.zeros((40, 40), bool))
    write_picture(folders / "mine" / "d.png", np.zeros((40, 40), bool))
    assert evaluate(*COMMAND, "--empty-rule", "as-one") == 0
    (entry,) = read_summary(folders / "out")["results"]
    assert entry["dice"]["mean"] == pytest.approx((1 + 0.75 + 0 + 1) / 4)


def test_volumes_in_millimetres_with_labels(tmp_path: Path) -> None:
    truth = np.zeros((8, 20, 20), np.uint8)
    truth[2:6, 4:10, 4:10] = 1
    truth[2:6, 12:16, 12:16] = 2
    found = np.roll(truth, 1, axis=0)
    write_volume(tmp_path / "truth" / "x.nii.gz", truth, (0.5, 0.5, 3.0))
    write_volume(tmp_path / "mine" / "x.nii.gz", found, (0.5, 0.5, 3.0))
    words = ("--references", tmp_path / "truth", "--predictions", tmp_path / "mine", "--output", tmp_path / "out")
    assert evaluate(*words, "--label", "organ=1,2", "--label", "lesion=2") == 0
    rows = read_cases(tmp_path / "out")
    organ, lesion = rows["x", "organ"], rows["x", "lesion"]
    assert float(organ["dice"]) == 0.75
    assert float(organ["hd95"]) == pytest.approx(3.0)
    assert organ["volume_unit"] == "mm3"
    assert float(organ["reference_volume"]) == pytest.approx(208 * 0.75)
    assert int(lesion["tp"]) == 48
    assert evaluate(*words[:-1], tmp_path / "out2") == 0
    assert {concept for _, concept in read_cases(tmp_path / "out2")} == {"Label 1", "Label 2"}


def test_numbered_objects(folders: Path) -> None:
    cells = np.zeros((40, 40), np.uint8)
    cells[2:10, 2:10], cells[20:30, 20:30] = 3, 9
    found = np.zeros((40, 40), np.uint8)
    found[2:10, 2:10], found[20:24, 20:30] = 1, 2
    for name in "abc":
        write_picture(folders / "truth" / f"{name}.png", cells)
        write_picture(folders / "mine" / f"{name}.png", found)
    assert evaluate(*COMMAND, "--objects") == 0
    row = read_cases(folders / "out")["a", "mask"]
    assert [int(row[name]) for name in ("objects_reference", "objects_predicted", "objects_matched")] == [2, 2, 1]
    assert float(row["pq"]) == 0.5
    assert float(row["ap50"]) == pytest.approx(1 / 3)


def test_masks_of_other_conventions_agree(folders: Path) -> None:
    """0 and 1 against 0 and 255, colors, JPEG: one mask each."""
    write_picture(folders / "mine" / "a.png", square().astype(np.uint8))
    color = np.repeat(square(moved=5)[..., None], 3, axis=2).astype(np.uint8) * 255
    (folders / "mine" / "b.png").unlink()
    write_picture(folders / "mine" / "b.bmp", color)
    (folders / "mine" / "c.png").unlink()
    write_picture(folders / "mine" / "c.jpg", square(length=8))
    assert evaluate(*COMMAND) == 0
    rows = read_cases(folders / "out")
    assert [float(rows[name, "mask"]["dice"]) for name in "ab"] == [1.0, 0.75]
    assert abs(int(rows["c", "mask"]["fp"]) - 64) <= 4


def test_axes_in_another_order_are_the_same_voxels(tmp_path: Path) -> None:
    import nibabel

    truth = np.zeros((6, 7, 8), np.uint8)
    truth[1:4, 2:5, 3:7] = 1
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    for folder in ("truth", "mine"):
        (tmp_path / folder).mkdir()
    image = nibabel.Nifti1Image(truth, affine)
    nibabel.save(image, tmp_path / "truth" / "x.nii.gz")
    nibabel.save(nibabel.as_closest_canonical(image), tmp_path / "mine" / "x.nii.gz")
    words = ("--references", tmp_path / "truth", "--predictions", tmp_path / "mine", "--output", tmp_path / "out")
    assert evaluate(*words) == 0
    assert float(read_cases(tmp_path / "out")["x", "mask"]["dice"]) == 1.0


def test_a_run_that_was_ended_gives_the_same_files(folders: Path) -> None:
    assert evaluate(*COMMAND) == 0
    names = ("cases.csv", "summary.json", "tables.md", "tables.html", ROWS, "pictures/01-worst.png")
    whole = {name: (folders / "out" / name).read_bytes() for name in names}
    lines = whole[ROWS].splitlines(keepends=True)
    for name in names:
        (folders / "out" / name).unlink()
    # As a process leaves it that is killed while it writes the second case.
    (folders / "out" / ROWS).write_bytes(lines[0] + lines[1][:40])
    assert evaluate(*COMMAND) == 0
    assert {name: (folders / "out" / name).read_bytes() for name in names} == whole


def test_what_is_done_is_not_done_again(folders: Path) -> None:
    write_picture(folders / "mine" / "c.png", square(30, length=5))
    assert evaluate(*COMMAND) == 2
    done = (folders / "out" / ROWS).read_bytes()
    assert done.count(b"\n") == 2
    assert evaluate(*COMMAND) == 2
    assert (folders / "out" / ROWS).read_bytes() == done


def test_processes_give_the_same_files_and_the_same_sentence(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = write_picture(folders / "mine" / "c.png", square(30, length=5))
    assert evaluate(*COMMAND) == 2
    said = one_line(capsys)
    assert evaluate(*COMMAND[:-1], "beside", "--jobs", "2") == 2
    assert one_line(capsys) == said
    assert (folders / "beside" / ROWS).read_bytes() == (folders / "out" / ROWS).read_bytes()
    # Another file would be another run.
    kept = [(folders / run / "run.json").read_bytes() for run in ("out", "beside")]
    assert kept[0] == kept[1]
    write_picture(bad, square(length=3))
    for run, jobs in (("one", ()), ("two", ("--jobs", "2"))):
        assert evaluate(*COMMAND[:-1], run, *jobs) == 0
    for name in ("cases.csv", "summary.json", "tables.md", "tables.html", ROWS, "pictures/01-worst.png"):
        assert (folders / "one" / name).read_bytes() == (folders / "two" / name).read_bytes(), name


def test_against_a_baseline(folders: Path) -> None:
    assert evaluate(*COMMAND) == 0
    for name in "ab":
        write_picture(folders / "mine" / f"{name}.png", square(moved=10))
    assert evaluate(*COMMAND[:-1], "worse", "--baseline", "out") == 0
    (entry,) = read_summary(folders / "worse")["against_baseline"]
    assert (entry["cases"], entry["dice"], entry["dice_of_other"]) == (2, 0.5, 0.875)
    assert entry["difference"]["mean"] == pytest.approx(-0.375)
    assert entry["non_inferior"] is False
    assert [third["baseline_dice"] for third in entry["gain_by_baseline"]] == [0.75, 1.0]
    assert "baseline" in (folders / "worse" / "tables.md").read_text()


@pytest.mark.parametrize(
    ("change", "words", "says"),
    [
        (lambda here: (here / "mine" / "b.png").unlink(), (), ("mine", "b", "--missing-as-empty")),
        (lambda here: write_picture(here / "mine" / "a.png", square(30)), (), ("a.png", "30 x 30", "40 x 40")),
        (lambda here: (here / "mine" / "a.png").write_bytes(b"no picture"), (), ("a.png",)),
        (lambda here: write_picture(here / "mine" / "a.bmp", square()), (), ("a.png", "a.bmp")),
        (lambda _: None, ("--label", "organ"), ("'organ'", "NAME=VALUE")),
        (lambda _: None, ("--label", "organ=7"), ("Label 255", "organ")),
        (lambda _: None, ("--label", "organ=0"), ("organ=0", "background")),
        (lambda _: None, ("--tolerance", "-1"), ("-1",)),
        (lambda _: None, ("--baseline", "mine"), ("mine", "no evaluation")),
        (lambda here: (here / "out").mkdir() or (here / "out" / "my.txt").touch(), (), ("out", "not empty")),
        (lambda here: (here / "out").touch(), (), ("out",)),
        (lambda here: [path.rename(path.with_name("x" + path.name)) for path in (here / "mine").iterdir()], (), ("a",)),
    ],
)
def test_faults_are_one_sentence(
    folders: Path, capsys: pytest.CaptureFixture[str], change: object, words: tuple[str, ...], says: tuple[str, ...]
) -> None:
    change(folders)  # type: ignore[operator]
    assert evaluate(*COMMAND, *words) == 2
    one_line(capsys, *says)
    assert not (folders / "out" / "summary.json").exists()


def test_other_voxels_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = np.zeros((6, 7, 8), np.uint8)
    truth[1:4, 2:5, 3:7] = 1
    words = ("--references", tmp_path / "truth", "--predictions", tmp_path / "mine", "--output", tmp_path / "out")
    write_volume(tmp_path / "truth" / "x.nii.gz", truth)
    for found, spacing in ((truth, (1.0, 1.0, 1.5)), (truth[:, :, :-1], (1.0, 1.0, 1.0))):
        write_volume(tmp_path / "mine" / "x.nii.gz", found, spacing)
        assert evaluate(*words) == 2
        one_line(capsys, "x.nii.gz", "resample")
        for file in (tmp_path / "out").iterdir():
            file.unlink()


def test_a_folder_of_another_run_is_not_mixed(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(*COMMAND) == 0
    before = (folders / "out" / "summary.json").read_bytes()
    assert evaluate(*COMMAND, "--tolerance", "3") == 2
    one_line(capsys, "out", "tolerance")
    write_picture(folders / "mine" / "a.png", square(moved=1))
    assert evaluate(*COMMAND) == 2
    one_line(capsys, "out", "predictor")
    assert (folders / "out" / "summary.json").read_bytes() == before


def test_missing_ones_can_count_as_nothing_found(folders: Path) -> None:
    (folders / "mine" / "b.png").unlink()
    assert evaluate(*COMMAND, "--missing-as-empty") == 0
    assert read_cases(folders / "out")["b", "mask"]["presence"] == "missed"
    assert any("b" in note and "Without a prediction" in note for note in read_summary(folders / "out")["notes"])


def cropped(mask: np.ndarray, grid: VoxelGrid) -> tuple[np.ndarray, VoxelGrid]:
    """A mask without the empty voxels around it, as Slicer saves it."""
    places = np.argwhere(mask)
    low, high = places.min(axis=0), places.max(axis=0) + 1
    moved = np.eye(4)
    moved[:3, 3] = low[::-1]
    part = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return part, VoxelGrid(part.shape, grid.ijk_to_ras @ moved)


def save(path: Path, mask: np.ndarray, grid: VoxelGrid, name: str = "Liver") -> None:
    path.parent.mkdir(exist_ok=True)
    write_segmentation(path, [Segment(name, mask, (1.0, 0.0, 0.0))], grid, {})


@pytest.mark.parametrize("crops", ["truth", "mine", "truth mine", ""])
def test_what_slicer_cropped_is_scored_where_it_lies(tmp_path: Path, crops: str) -> None:
    grid = VoxelGrid((10, 24, 24), np.diag([-2.0, -2.0, 3.0, 1.0]))
    truth = np.zeros(grid.shape, bool)
    truth[2:6, 4:12, 4:12] = True
    for folder, mask in (("truth", truth), ("mine", np.roll(truth, 6, axis=2))):
        is_cropped = folder in crops
        stored, own = cropped(mask, grid) if is_cropped else (mask, grid)
        save(tmp_path / folder / f"x.{'seg.nrrd' if is_cropped or folder == 'mine' else 'nii.gz'}", stored, own)
    words = ("--references", tmp_path / "truth", "--predictions", tmp_path / "mine", "--output", tmp_path / "out")
    assert evaluate(*words) == 0
    (row,) = read_cases(tmp_path / "out").values()
    assert [int(row[name]) for name in ("tp", "fp", "fn")] == [64, 192, 192]
    assert float(row["hd95"]) == pytest.approx(12.0)


def test_segments_are_matched_by_name_and_not_by_number(tmp_path: Path) -> None:
    grid = VoxelGrid((4, 20, 20), np.diag([-2.0, -2.0, 3.0, 1.0]))
    liver, spleen = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    liver[:, 2:8, 2:8], spleen[:, 12:16, 12:16] = True, True
    parts = {"Liver": liver, "Spleen": spleen}
    for folder, names in (("truth", ["Liver", "Spleen"]), ("mine", ["spleen", "LIVER", "stomach"])):
        (tmp_path / folder).mkdir()
        segments = [Segment(name, parts.get(name.title(), ~(liver | spleen)), (1.0, 0.0, 0.0)) for name in names]
        write_segmentation(tmp_path / folder / "x.nii.gz", segments, grid, {})
    words = ("--references", tmp_path / "truth", "--predictions", tmp_path / "mine", "--output", tmp_path / "out")
    assert evaluate(*words) == 0
    assert {key: float(row["dice"]) for key, row in read_cases(tmp_path / "out").items()} == {
        ("x", "Liver"): 1.0,
        ("x", "Spleen"): 1.0,
    }


def test_names_are_shown_as_they_are_and_run_nothing(folders: Path) -> None:
    assert evaluate(*COMMAND, "--label", "<script>|`&=255") == 0
    html, markdown = ((folders / "out" / name).read_text() for name in ("tables.html", "tables.md"))
    assert "<script>" not in html
    assert "&lt;script&gt;|`&amp;" in html
    assert "\\<script\\>\\|\\`&" in markdown
    assert ("a", "<script>|`&") in read_cases(folders / "out")


def test_two_runs_do_not_write_into_one_folder(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(folders / "out"):
        assert evaluate(*COMMAND) == 2
    one_line(capsys, "out", "Another evaluation")
    assert evaluate(*COMMAND) == 0


def test_a_damaged_run_is_one_sentence(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(*COMMAND) == 0
    (folders / "out" / ROWS).write_text('{"case": "a", "rows": [{}], "notes": []}\n')
    assert evaluate(*COMMAND) == 2
    one_line(capsys, "Line 1", ROWS)
    (folders / "out" / "run.json").write_text("[]")
    assert evaluate(*COMMAND) == 2
    one_line(capsys, "run.json")
