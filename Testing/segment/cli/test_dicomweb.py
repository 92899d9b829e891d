"""``medsam3 segment`` and ``medsam3 cohort`` from a PACS and back to it, over a real socket."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.io.dicomweb.address import DicomwebAddress
from MedSAM3SegmentLib.io.dicomweb.server import DicomwebServer, RemoteSeries
from MedSAM3SegmentLib.io.segmentation import read_segmentation
from MedSAM3SegmentLib.segmenter import Segmenter
from support.cli_runs import Shell, files_in
from support.cohort_files import write_study
from support.cohort_process import StandIn
from support.dicomweb_server import Pacs, orthanc_pacs, orthanc_plugin, own_pacs
from support.tiny_model import TINY_SCORE


@pytest.fixture(params=["own", "orthanc"])
def pacs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    """A PACS with two studies, which lie in ``studies`` as files too."""
    if request.param == "orthanc" and orthanc_plugin() is None:
        pytest.skip("needs Orthanc with its DICOMweb plugin")
    made = own_pacs() if request.param == "own" else orthanc_pacs(tmp_path_factory.mktemp("orthanc"))
    with made as running:
        yield running


def fill(pacs: Pacs, root: Path) -> DicomwebServer:
    server = DicomwebServer(DicomwebAddress.parse(pacs.address))
    for seed in (3, 4):
        write_study(root / str(seed), seed, PatientID=f"P{seed}", PatientName=f"Doe{seed}^Jane")
        server.store(sorted((root / str(seed)).glob("*.dcm")))
    return server


def of_kind(server: DicomwebServer, modality: str) -> list[RemoteSeries]:
    return [one for one in server.find_series() if one.modality == modality]


@pytest.fixture
def segment(here: Path, tiny_model_folder: Path) -> Shell:
    assert Path.cwd() == here

    def run(*words: str) -> int:
        options = ["--model", str(tiny_model_folder), "--threshold", str(TINY_SCORE), "--concept", "liver"]
        return main(["segment", *words, *options])

    return run


def test_a_study_comes_from_a_pacs_and_its_segmentation_goes_back(
    pacs: Pacs, segment: Shell, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = fill(pacs, tmp_path / "studies")
    one = next(found for found in server.find_series(filters={"PatientID": "P3"}))
    address = f"{pacs.address}/studies/{one.study}"
    assert segment(address, "--output", "out.dcm", "--store", pacs.address) == 0
    assert "Stored out.dcm on 127.0.0.1." in capsys.readouterr().out
    assert files_in(here) == ["out.dcm"]

    (stored,) = of_kind(server, "SEG")
    assert stored.study == one.study
    got = tmp_path / "got"
    got.mkdir()
    server.fetch_series(stored.study, stored.series, got)
    (back,), (local,) = (read_segmentation(file)[0] for file in (next(got.iterdir()), Path("out.dcm")))
    assert np.array_equal(back.mask, local.mask)
    # As from the very files in a folder.
    assert segment(str(tmp_path / "studies" / "3"), "--output", "local.dcm") == 0
    (from_files,), grid = read_segmentation("local.dcm")
    assert np.array_equal(from_files.mask, local.mask)
    assert grid.same_as(read_segmentation("out.dcm")[1])
    references = pydicom.dcmread("out.dcm").ReferencedSeriesSequence[0]
    assert references.SeriesInstanceUID == one.series


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--output", "out.seg.nrrd", "--store", "{pacs}"), "A PACS takes DICOM objects only"),
        (("--output", "out.dcm", "--store", "http://127.0.0.1:9/dicom-web"), "cannot be reached"),
        (("--output", "out.dcm", "--store", "http://pacs.example/x"), "use an address with https"),
    ],
)
def test_what_cannot_be_stored_is_said_before_the_run(
    words: tuple[str, ...], said: str, segment: Shell, tmp_path: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with own_pacs() as pacs:
        server = fill(pacs, tmp_path / "studies")
        before = len(pacs.headers)
        address = f"{pacs.address}/studies/{server.find_series()[0].study}"
        before = len(pacs.headers)
        assert segment(address, *(word.format(pacs=pacs.address) for word in words)) == 2
        assert len(pacs.headers) == before
    assert said in capsys.readouterr().err
    assert files_in(here) == []


def test_nothing_is_stored_without_being_asked_for(segment: Shell, tmp_path: Path) -> None:
    with own_pacs() as pacs:
        server = fill(pacs, tmp_path / "studies")
        held = list(pacs.objects or [])
        assert segment(f"{pacs.address}/studies/{server.find_series()[0].study}", "--output", "out.dcm") == 0
        assert pacs.objects == held


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Is loaded in place of any model."""
    made = StandIn()
    monkeypatch.setattr(Segmenter, "load", classmethod(lambda *_: made))
    return made


def table() -> list[dict[str, str]]:
    with Path("out/table.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("stand_in")
def test_a_cohort_comes_from_a_pacs_and_goes_back(
    pacs: Pacs, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = fill(pacs, tmp_path / "studies")
    options = ["--concept", "liver; spleen", "--format", "dicom-seg", "--output", "out", "--store", pacs.address]
    assert main(["cohort", pacs.address, "--only-modality", "CT", *options]) == 0
    assert "2 of 2 cases done" in capsys.readouterr().out
    assert {one.study for one in of_kind(server, "SEG")} == {one.study for one in of_kind(server, "CT")}
    from_pacs = {row["case"]: row["volume_ml"] for row in table()}
    assert not [name for name in files_in(here) if "Doe" in name]
    # The same cases have the same names and results wherever they are read from.
    assert main(["cohort", str(tmp_path / "studies"), "--concept", "liver; spleen", "--output", "local"]) == 0
    with Path("local/table.csv").open(encoding="utf-8", newline="") as file:
        assert {row["case"]: row["volume_ml"] for row in csv.DictReader(file)} == from_pacs
    # What is done is not fetched, done or stored again.
    stored = len(of_kind(server, "SEG"))
    assert main(["cohort", pacs.address, "--only-modality", "CT", *options, "--resume"]) == 0
    assert len(of_kind(server, "SEG")) == stored


@pytest.mark.usefixtures("stand_in", "here")
@pytest.mark.parametrize("written", ["dicom-seg", "rtstruct"])
def test_a_case_that_is_done_again_is_stored_as_the_same_objects(tmp_path: Path, written: str) -> None:
    def done() -> set[str]:
        options = ["--concept", "liver", "--format", written, "--output", "out", "--store", pacs.address]
        assert main(["cohort", f"{tmp_path / 'studies'}", *options, "--resume"]) == 0
        return {str(pydicom.dcmread(file).SOPInstanceUID) for file in Path("out").rglob("*.dcm")}

    with own_pacs() as pacs:
        fill(pacs, tmp_path / "studies")
        first = done()
        assert len(first) == (4 if written == "dicom-seg" else 2)
        # As after a worker that was lost before it could write down that the case is done.
        for record in Path("out/records").iterdir():
            record.unlink()
        assert done() == first


@pytest.mark.usefixtures("stand_in", "here")
def test_cases_are_chosen_by_what_the_server_knows(
    pacs: Pacs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(pacs, tmp_path / "studies")
    assert main(["cohort", pacs.address, "--query", "PatientID=P4", "--dry-run"]) == 0
    assert "1 case; nothing was written." in capsys.readouterr().out
    for words, said in (
        (("--query", "PatientID"), "is no query"),
        (("--query", "Name=P4"), "is no query"),
        (("--query", "PatientID=P9"), "There is no image to segment"),
        (("--only-plane", "axial"), "is not known before they are fetched"),
        (("--at-least", "11"), "There is no image to segment"),
    ):
        assert main(["cohort", pacs.address, *words, "--dry-run"]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.usefixtures("stand_in", "here")
def test_one_series_that_cannot_be_fetched_stops_no_other(tmp_path: Path) -> None:
    with own_pacs() as pacs:
        server = fill(pacs, tmp_path / "studies")
        broken = server.find_series(filters={"PatientID": "P3"})[0]
        pacs.misbehave = lambda _, path: (500, {}, b"") if path.endswith(f"series/{broken.series}") else None
        assert main(["cohort", pacs.address, "--concept", "liver", "--output", "out"]) == 0
    by_status = {row["status"]: row for row in table()}
    assert by_status["failed"]["messages"] == "127.0.0.1 answers with the HTTP status 500; ask who runs it."
    assert by_status["done"]["concept"] == "liver"


@pytest.mark.usefixtures("stand_in", "here")
def test_a_case_that_is_not_stored_is_not_done(tmp_path: Path) -> None:
    with own_pacs() as pacs:
        fill(pacs, tmp_path / "studies")
        refused = iter([(507, {}, b""), None])
        pacs.misbehave = lambda method, _: next(refused) if method == "POST" else None
        options = ["--concept", "liver", "--format", "dicom-seg", "--output", "out", "--store", pacs.address]
        assert main(["cohort", pacs.address, *options]) == 0
        assert sorted(row["status"] for row in table()) == ["done", "failed"]
        assert len(list(Path("out/segmentations").iterdir())) == 1
        pacs.misbehave = lambda *_: None
        assert main(["cohort", pacs.address, "--only-modality", "CT", *options, "--resume"]) == 0
        assert len(list(Path("out/segmentations").iterdir())) == 2
