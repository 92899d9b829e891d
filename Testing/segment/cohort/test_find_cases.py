"""Which images are cases: folders, DICOM of many patients, lists and BIDS data sets; and what cases are called."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid

from MedSAM3SegmentLib.cohort.case import Case, with_ids
from MedSAM3SegmentLib.cohort.find_cases import Selection, find_cases
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io import list_dicom
from MedSAM3SegmentLib.io.list_dicom import list_dicom_series
from MedSAM3SegmentLib.io.read_volume import read_volume
from support.cohort_files import BAD, write_studies
from support.dicom_files import AXIAL, enhanced_file, functional_group, picture, places, series_files, slice_file
from support.images import write_nifti

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def nifti(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, np.random.default_rng(seed).normal(size=(4, 5, 6)).astype(np.float32), np.eye(4))
    return path


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    return write_studies(tmp_path / "archive", good=3) and tmp_path / "archive"


def test_each_series_of_many_patients_is_a_case_and_reads_as_its_volume(studies: Path) -> None:
    flat = studies.parent / "flat"
    flat.mkdir()
    for n, file in enumerate(sorted(studies.rglob("*.dcm"))):
        file.rename(flat / f"IM{n:05d}")
    listing = find_cases([flat])
    assert [case.images for case in listing.cases] == [10, 10, 10]
    assert {case.kind for case in listing.cases} == {"CT"}
    assert {case.plane for case in listing.cases} == {"axial"}
    hashes = {read_volume(case.path, case.series, files=case.files).content_hash for case in listing.cases}
    assert len(hashes) == 3


def test_headers_read_in_processes_are_listed_as_by_one(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    BAD[1](sorted((studies / "study0").glob("*.dcm")))
    # Two stacks of one series, which several processes see parts of, and images that are listed as none.
    series_files(studies / "x", places(4), SeriesInstanceUID="1.9")
    for n in range(3):
        slice_file(studies / "x" / f"s{n}.dcm", (n * 4.0, 0, 0), SAGITTAL, SeriesInstanceUID="1.9")
    files = sorted(studies.rglob("*.dcm"))
    alone = list_dicom_series(files)
    monkeypatch.setattr(list_dicom, "_CHUNK", 2)
    told: list[tuple[int, int]] = []
    assert list_dicom_series(files, processes=2, report=lambda *how_far: told.append(how_far)) == alone
    assert len(alone.series) >= 4
    assert told[-1] == (len(files), len(files))
    assert told == sorted(told)


def test_series_are_chosen_by_modality_description_plane_and_size(tmp_path: Path) -> None:
    def series(uid: str, count: int, **tags: object) -> None:
        series_files(tmp_path / uid, places(count), SeriesInstanceUID=uid, **tags)

    series("1.1", 5, SeriesDescription="Abdomen venous")
    series("1.2", 4, SeriesDescription="Abdomen ARTERIAL")
    series("1.3", 3, modality="MR", SeriesDescription="T2")
    series("1.4", 3, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    for n in range(3):
        slice_file(tmp_path / "1.5" / f"{n}.dcm", (n * 4.0, 0, 0), SAGITTAL, SeriesInstanceUID="1.5")

    def found(**chosen: object) -> list[str]:
        listing = find_cases([tmp_path], Selection(**chosen))  # type: ignore[arg-type]
        return sorted(case.path.name for case in listing.cases)

    assert found() == ["1.1", "1.2", "1.3", "1.5"], "the localizer is none"
    assert found(modality="MR") == ["1.3"]
    assert found(description="arterial") == ["1.2"]
    assert found(plane="sagittal") == ["1.5"]
    assert found(at_least=4) == ["1.1", "1.2"]
    assert found(largest_per_study=True) == ["1.1"]
    said = " ".join(find_cases([tmp_path], Selection(modality="MR")).messages)
    assert "1 localizers were left out" in said
    assert "3 DICOM series were not chosen" in said
    with pytest.raises(InputError, match="no image to segment"):
        find_cases([tmp_path], Selection(modality="PT"))


def test_one_series_in_two_directions_is_two_cases_that_read(tmp_path: Path) -> None:
    for n in range(3):
        slice_file(tmp_path / f"a{n}.dcm", (0, 0, n * 4.0), AXIAL)
        slice_file(tmp_path / f"s{n}.dcm", (n * 4.0, 0, 0), SAGITTAL)
    cases = find_cases([tmp_path]).cases
    assert sorted(case.plane for case in cases) == ["axial", "sagittal"]
    assert all(read_volume(case.path, case.series, files=case.files).array.shape[0] == 3 for case in cases)
    assert len({case.id for case in cases}) == 2


def test_two_stacks_in_one_enhanced_file_are_two_cases_that_read(tmp_path: Path) -> None:
    positions = places(3)
    groups = [functional_group(position, stack="1") for position in positions]
    groups += [functional_group((n * 4.0, 0, 0), SAGITTAL, stack="2") for n in range(2)]
    pictures = [picture(position) for position in positions] + [picture((n * 4.0, 0, 0), SAGITTAL) for n in range(2)]
    enhanced_file(tmp_path / "e.dcm", groups, np.rint(np.array(pictures)))
    cases = find_cases([tmp_path]).cases
    shapes = [read_volume(case.path, case.series, files=case.files).array.shape[0] for case in cases]
    assert sorted(shapes) == [2, 3]


def test_what_is_bad_is_a_case_too(tmp_path: Path) -> None:
    write_studies(tmp_path / "in", good=2, bad=len(BAD))
    cases = find_cases([tmp_path / "in"]).cases
    assert len(cases) == 2 + len(BAD)


def test_a_folder_tree_gives_its_volumes_and_not_what_is_none(tmp_path: Path) -> None:
    nifti(tmp_path / "a" / "one.nii.gz", 1)
    nifti(tmp_path / "b" / "two.nii", 2)
    nifti(tmp_path / "b" / "labels.nii.gz", 3)
    (tmp_path / "b" / "labels.labels.json").write_text("{}")
    (tmp_path / "b" / "x.seg.nrrd").write_bytes(b"NRRD0004\n")
    (tmp_path / "b" / "preview.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    nifti(tmp_path / ".hidden" / "three.nii", 4)
    nifti(tmp_path / "out" / "old.nii.gz", 5)
    listing = find_cases([tmp_path], output=tmp_path / "out")
    assert [case.place for case in listing.cases] == ["a/one.nii.gz", "b/two.nii"]
    assert "1 pictures beside volumes were left out." in listing.messages
    assert "4 files that are no images were left out." in listing.messages
    assert [case.place for case in find_cases([tmp_path], Selection(files="*two*")).cases] == ["b/two.nii"]


def test_ids_say_nothing_of_names_and_stay_when_files_move_or_come(tmp_path: Path) -> None:
    first = nifti(tmp_path / "in" / "MUELLER_Anna.nii.gz", 1)
    (before,) = find_cases([tmp_path / "in"]).cases
    assert before.id.startswith("case-")
    assert "mueller" not in before.id.lower()
    nifti(tmp_path / "in" / "AAA.nii.gz", 2)
    moved = first.rename(tmp_path / "in" / "z.nii.gz")
    ids = {case.path: case.id for case in find_cases([tmp_path / "in"]).cases}
    assert ids[moved] == before.id
    assert len(set(ids.values())) == 2


def test_the_same_file_twice_has_two_ids(tmp_path: Path) -> None:
    content = nifti(tmp_path / "one.nii", 1).read_bytes()
    (tmp_path / "two.nii").write_bytes(content)
    ids = [case.id for case in find_cases([tmp_path]).cases]
    assert ids[1] == f"{ids[0]}-2"


def test_names_are_taken_where_the_user_says_so(tmp_path: Path) -> None:
    nifti(tmp_path / "a" / "scan 1.nii.gz", 1)
    nifti(tmp_path / "b" / "SCAN 1.nii.gz", 2)
    assert [case.id for case in find_cases([tmp_path], by_name=True).cases] == ["scan-1", "SCAN-1-2"]


def test_a_sentence_holds_nothing_of_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "Mueller Anna" / "CT"
    case = Case(folder, tmp_path / "in", "case-1", files=(folder / "Anna7.dcm",), description="Mueller follow-up")
    said = case.without_names(f"{folder / 'Anna7.dcm'} is bad, and {folder}; Mueller follow-up (Anna7) of Mueller Anna")
    assert said == "case-1 is bad, and case-1; ... (...) of ..."


@pytest.mark.parametrize(("encoding", "separator"), [("utf-8", ","), ("utf-8-sig", ";"), ("utf-16", "\t")])
def test_a_list_names_images_and_what_they_are_called(tmp_path: Path, encoding: str, separator: str) -> None:
    nifti(tmp_path / "data" / "ä one.nii.gz", 1)
    rows = [
        ["Image", "case", "modality"],
        ["data/ä one.nii.gz", "P1", "mri"],
        ["data/none.nii.gz", "P2", ""],
        ["", "", ""],
    ]
    (tmp_path / "list.csv").write_text("\n".join(separator.join(row) for row in rows), encoding=encoding)
    cases = find_cases([tmp_path / "list.csv"]).cases
    assert [(case.id, case.modality) for case in cases] == [("P1", "MR"), ("P2", None)]
    assert cases[0].path.exists()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no column 'image'"),
        ("file\na.nii", "no column 'image'"),
        ("image,case\na.nii,x/y", "cannot be the name"),
        ("image,case\na.nii,x\nb.nii,x", "called 'x'"),
        ("image,case\n,x", "row 2"),
        ("image,modality\na.nii,cat", "no modality"),
    ],
)
def test_a_list_that_is_not_understood_is_refused(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=word):
        find_cases([tmp_path / "list.csv"])


def test_a_bids_data_set_gives_its_anatomical_images(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    nifti(tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii.gz", 1)
    nifti(tmp_path / "sub-01" / "anat" / "sub-01_desc-brain_mask.nii.gz", 2)
    nifti(tmp_path / "sub-02" / "ses-a" / "anat" / "sub-02_ses-a_T1w.nii.gz", 3)
    nifti(tmp_path / "sub-02" / "ses-a" / "func" / "sub-02_ses-a_bold.nii.gz", 4)
    nifti(tmp_path / "derivatives" / "x" / "sub-01" / "anat" / "sub-01_T1w.nii.gz", 5)
    listing = find_cases([tmp_path], by_name=True)
    assert [case.id for case in listing.cases] == ["sub-01_T1w", "sub-02_ses-a_T1w"]
    assert "2 images of the BIDS data set" in listing.messages[0]


def test_given_ids_are_checked() -> None:
    with pytest.raises(InputError, match="cannot be the name"):
        with_ids([Case(Path("a"), Path(), id="../a")])


def test_a_damaged_file_of_a_series_is_said(tmp_path: Path) -> None:
    series_files(tmp_path, places(5))
    (tmp_path / "zzz.dcm").write_bytes(b"no")
    (case,) = find_cases([tmp_path]).cases
    volume = read_volume(case.path, case.series, files=case.files)
    assert "1 DICOM file could not be read and was left out." in volume.messages


def test_dicom_without_pixels_is_a_case_that_fails(tmp_path: Path) -> None:
    slice_file(tmp_path / "a" / "1.dcm", (0, 0, 0), PixelData=None)
    (case,) = find_cases([tmp_path]).cases
    with pytest.raises(InputError):
        read_volume(case.path, case.series, files=case.files)


def test_reports_and_segmentations_are_left_out_with_their_number(tmp_path: Path) -> None:
    series_files(tmp_path / "ct", places(3))
    slice_file(tmp_path / "sr.dcm", (0, 0, 0), Modality="SR", SOPInstanceUID=generate_uid())
    listing = find_cases([tmp_path])
    assert len(listing.cases) == 1
    assert "1 DICOM files that are no images were left out." in listing.messages
