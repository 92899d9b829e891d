"""DICOMweb over a real socket, with a server of our own and with Orthanc: what is found, fetched, stored, refused."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.io.dicomweb.address import DicomwebAddress
from MedSAM3SegmentLib.io.dicomweb.choose_series import choose_series
from MedSAM3SegmentLib.io.dicomweb.server import DicomwebServer
from MedSAM3SegmentLib.io.read_volume import read_volume
from support.cohort_files import write_study
from support.dicomweb_server import Pacs, orthanc_pacs, orthanc_plugin, own_pacs
from support.engine_server import tls_binding


@pytest.fixture(params=["own", "orthanc"])
def pacs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    """An empty PACS."""
    if request.param == "orthanc" and orthanc_plugin() is None:
        pytest.skip("needs Orthanc with its DICOMweb plugin")
    made = own_pacs() if request.param == "own" else orthanc_pacs(tmp_path_factory.mktemp("orthanc"))
    with made as running:
        yield running


def connect(pacs: Pacs, **options: object) -> DicomwebServer:
    return DicomwebServer(DicomwebAddress.parse(pacs.address), **options)  # type: ignore[arg-type]


def study(folder: Path, seed: int, **tags: object) -> list[Path]:
    write_study(folder, seed, PatientID=f"P{seed}", **tags)
    return sorted(folder.glob("*.dcm"))


def test_what_is_stored_is_found_and_fetched_to_the_voxel(pacs: Pacs, tmp_path: Path) -> None:
    server = connect(pacs)
    server.check()
    assert server.find_series() == []
    server.store(study(tmp_path / "a", 3))
    server.store(study(tmp_path / "b", 4, SeriesDescription="Lung", SeriesNumber=2))
    found = {one.description: one for one in server.find_series()}
    assert set(found) == {"Abdomen venous", "Lung"}
    one = found["Lung"]
    assert (one.modality, one.number, one.images) == ("CT", "2", 10)
    (tmp_path / "got").mkdir()
    assert server.fetch_series(one.study, one.series, tmp_path / "got") == 10
    back, true = read_volume(tmp_path / "got"), read_volume(tmp_path / "b")
    assert np.array_equal(back.array, true.array)
    assert back.grid.same_as(true.grid)


def test_series_are_looked_for_by_what_patients_studies_and_series_say(pacs: Pacs, tmp_path: Path) -> None:
    server = connect(pacs)
    server.store(study(tmp_path / "a", 3))
    server.store(study(tmp_path / "b", 4, SeriesDescription="Lung", StudyDate="20250101"))
    (lung,) = server.find_series(filters={"SeriesDescription": "Lung"})
    assert server.find_series(filters={"PatientID": "P4"}) == [lung]
    assert server.find_series(filters={"StudyDate": "20250101", "Modality": "CT"}) == [lung]
    assert server.find_series(filters={"PatientID": "P4", "Modality": "MR"}) == []
    assert server.find_series(lung.study) == [lung]


def test_one_series_of_a_study_is_chosen_as_in_a_folder(pacs: Pacs, tmp_path: Path) -> None:
    server = connect(pacs)
    one = study(tmp_path / "a", 3, SeriesNumber=1)
    uid = str(pydicom.dcmread(one[0]).StudyInstanceUID)
    server.store(one)
    address = DicomwebAddress.parse(f"{pacs.address}/studies/{uid}")
    chosen = choose_series(server, address, None)
    assert chosen.images == 10
    server.store(study(tmp_path / "b", 4, StudyInstanceUID=uid, SeriesNumber=2, SeriesDescription="Lung"))
    server.store(study(tmp_path / "c", 5, StudyInstanceUID=uid, SeriesNumber=3, Modality="SR"))
    with pytest.raises(InputError, match="2 series of images"):
        choose_series(server, address, None)
    assert choose_series(server, address, "1") == chosen
    assert choose_series(server, address, "lung").number == "2"
    with pytest.raises(InputError, match="no such series"):
        choose_series(server, address, "neck")
    with pytest.raises(InputError, match="names no study"):
        choose_series(server, DicomwebAddress.parse(pacs.address), None)


def test_what_is_not_there_is_said(pacs: Pacs, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not have it|has no images"):
        connect(pacs).fetch_series("1.2", "1.3", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_fetching_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    with own_pacs() as pacs:
        server = connect(pacs)
        server.store(study(tmp_path / "a", 3))
        (one,) = server.find_series()
        folder = tmp_path / "got"
        folder.mkdir()
        with pytest.raises(Cancelled):
            server.fetch_series(one.study, one.series, folder, lambda: len(list(folder.iterdir())) == 3)
        assert len(list(folder.iterdir())) == 3


def test_more_series_than_a_page_holds_are_all_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("MedSAM3SegmentLib.io.dicomweb.server._PAGE", 2)
    with own_pacs() as pacs:
        server = connect(pacs)
        for seed in range(5):
            server.store(study(tmp_path / str(seed), seed)[:1])
        assert len(server.find_series()) == 5
        everything = (200, {"Content-Type": "application/json"}, _all_series(pacs))
        pacs.misbehave = lambda method, _: everything if method == "GET" else None
        assert len(server.find_series()) == 5, "a server that knows no pages answers all of it each time"


def _all_series(pacs: Pacs) -> bytes:
    import requests

    return requests.get(f"{pacs.address}/series", timeout=30).content


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, {}, b""), "refuses the login; put a token into MEDSAM3_DICOMWEB_TOKEN"),
        ((403, {}, b""), "refuses the login"),
        ((404, {}, b""), "does not have it"),
        ((500, {}, b"trace: Doe^Jane"), "HTTP status 500"),
        ((302, {"Location": "http://127.0.0.1:9/x"}, b""), "redirects elsewhere"),
        ((200, {"Content-Type": "text/html"}, b"<html>Login</html>"), "no DICOMweb"),
        ((200, {"Content-Type": "application/json"}, b"[1, 2]"), "no DICOMweb"),
        ((200, {"Content-Type": "application/json"}, b"[" * 100000), "no DICOMweb"),
        ((200, {"Content-Length": "999"}, b"[{"), "cannot be reached, or broke off"),
    ],
)
def test_a_server_that_says_no_or_nonsense_is_told_of_in_one_sentence(
    answer: tuple[int, dict[str, str], bytes], words: str
) -> None:
    # What other tests left open must not be closed while brackets are read as deep as Python goes.
    gc.collect()
    with own_pacs() as pacs:
        pacs.misbehave = lambda *_: answer
        with pytest.raises(InputError, match=words) as raised:
            connect(pacs).find_series()
    assert "Doe" not in str(raised.value)


@pytest.mark.parametrize("body", [b"", b"--x\r\n\r\nno dicom\r\n--x--", b"\x00" * 50])
def test_images_that_are_none_are_no_series(body: bytes, tmp_path: Path) -> None:
    with own_pacs() as pacs:
        kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}
        pacs.misbehave = lambda *_: (200, kind, body)
        with pytest.raises(InputError, match=r"no DICOMweb|no images"):
            connect(pacs).fetch_series("1.2", "1.3", tmp_path)


def test_an_object_that_is_not_taken_is_told_of(tmp_path: Path) -> None:
    with own_pacs() as pacs:
        refused = b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]}}'
        pacs.misbehave = lambda *_: (202, {"Content-Type": "application/dicom+json"}, refused)
        with pytest.raises(InputError, match=r"did not take 1 of 1 objects \(reason 272\)"):
            connect(pacs).store(study(tmp_path / "a", 3)[:1])


def test_nobody_at_the_address() -> None:
    with own_pacs() as pacs:
        pass
    with pytest.raises(InputError, match="cannot be reached"):
        connect(pacs).check()


def test_a_token_or_login_goes_along_and_nothing_that_is_saved_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login saved password saved\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with own_pacs() as pacs:
        connect(pacs).check()
        assert "Authorization" not in pacs.headers[-1]
        monkeypatch.setenv("MEDSAM3_DICOMWEB_LOGIN", "me:secret")
        connect(pacs).check()
        assert pacs.headers[-1]["Authorization"] == "Basic bWU6c2VjcmV0"
        monkeypatch.setenv("MEDSAM3_DICOMWEB_TOKEN", "abc")
        connect(pacs).check()
        assert pacs.headers[-1]["Authorization"] == "Bearer abc"
        connect(pacs, is_for_storing=True).check()
        assert "Authorization" not in pacs.headers[-1], "another server is not told the first one's token"
        monkeypatch.setenv("MEDSAM3_DICOMWEB_STORE_TOKEN", "store-secret")
        connect(pacs, is_for_storing=True).check()
        assert pacs.headers[-1]["Authorization"] == "Bearer store-secret"
        # As to a worker, which has an environment of its own.
        sent = pickle.dumps(connect(pacs, is_for_storing=True))
        assert b"store-secret" not in sent.replace(b"default", b"")
        monkeypatch.setenv("MEDSAM3_DICOMWEB_STORE_TOKEN", "of-worker")
        pickle.loads(sent).check()
        assert pacs.headers[-1]["Authorization"] == "Bearer of-worker"


def test_a_certificate_is_checked(tmp_path: Path) -> None:
    binding = tls_binding(tmp_path)
    certificate = Path(str(binding.certificate))
    with own_pacs((certificate, Path(str(binding.key)))) as pacs:
        with pytest.raises(InputError, match="not trusted; give that of its authority"):
            connect(pacs).check()
        connect(pacs, certificate=certificate).check()
    with pytest.raises(InputError, match="does not exist"):
        connect(pacs, certificate=tmp_path / "missing.pem")


@pytest.mark.parametrize(
    ("text", "service", "study_uid", "series"),
    [
        ("https://pacs.example/dicom-web", "https://pacs.example/dicom-web", "", ""),
        ("https://pacs.example:8443/a/b/", "https://pacs.example:8443/a/b", "", ""),
        ("https://pacs.example/rs/studies/1.2.3", "https://pacs.example/rs", "1.2.3", ""),
        ("http://127.0.0.1:8042/dicom-web/studies/1.2/series/1.3/", "http://127.0.0.1:8042/dicom-web", "1.2", "1.3"),
        ("https://pacs.example/rs/studies", "https://pacs.example/rs", "", ""),
    ],
)
def test_addresses(text: str, service: str, study_uid: str, series: str) -> None:
    address = DicomwebAddress.parse(text)
    assert (address.service, address.study, address.series) == (service, study_uid, series)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://pacs.example/dicom-web", "use an address with https"),
        ("http://192.168.1.7/dicom-web", "use an address with https"),
        ("https://me:secret@pacs.example/dicom-web", "holds a login"),
        ("https://pacs.example/dicom-web?token=secret", "holds a login or a query"),
        ("https://", "no address"),
        ("https://pacs.example:port/x", "no address"),
        ("https://[::1/x", "no address"),
        ("https://pacs.example/rs/studies/1.2/instances/3", "no address"),
        ("https://pacs.example/rs/studies/..%2F", "no DICOM UID"),
    ],
)
def test_addresses_that_are_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        DicomwebAddress.parse(text)
    assert "secret" not in str(raised.value)
