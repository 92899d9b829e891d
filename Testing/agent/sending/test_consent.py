"""Nothing leaves without a yes, and of what leaves nothing tells who the patient is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from MedSAM3AgentLib.agent import Agent
from MedSAM3AgentLib.backends.server import ServerBackend
from MedSAM3AgentLib.sending.consent import Consent, Policy, dicom_tags, text_in_pictures
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import as_message
from MedSAM3SegmentLib.volume import Volume
from support.dicom_files import series_files
from support.language_server import Answer, language_server, said
from support.scripted_segmenter import ScriptedSegmenter, abdomen

VOLUME, MASKS = abdomen()
ALLOWED = ["llm.example.org"]


def noted(volume: Volume, tags: Mapping[str, str]) -> Consent:
    """Nothing agreed to yet, with what a volume's DICOM elements tell."""
    consent = Consent()
    consent.note_tags(volume, tags)
    return consent


def test_this_computer_is_free_and_any_other_host_needs_a_yes_by_name() -> None:
    Consent().check_shell("127.0.0.1", True, VOLUME, [])
    with pytest.raises(InputError, match=r"--allow-sending llm\.example\.org"):
        Consent().check_shell("llm.example.org", False, VOLUME, ["other.example.org"])
    consent = Consent()
    consent.check_shell("LLM.example.org", False, VOLUME, ALLOWED)
    assert consent.is_agreed("llm.example.org", VOLUME)
    assert not consent.is_agreed("llm.example.org", replace(VOLUME, array=VOLUME.array + 1))
    assert not consent.is_agreed("elsewhere.example.org", VOLUME)


def test_a_local_network_is_elsewhere() -> None:
    assert not ServerBackend("https://192.168.0.7/v1", "m").is_loopback
    assert ServerBackend("http://127.0.0.1:1/v1", "m").is_loopback
    assert ServerBackend("http://[::1]:1/v1", "m").is_loopback


def test_an_institutions_policy_outranks_a_users_yes(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"allowed_hosts": []}))
    with pytest.raises(InputError, match="does not allow"):
        Consent(Policy.read(path)).check_shell("llm.example.org", False, VOLUME, ALLOWED)
    path.write_text(json.dumps({"allowed_hosts": ["llm.example.org"]}))
    Consent(Policy.read(path)).check_shell("llm.example.org", False, VOLUME, ALLOWED)
    path.write_text(json.dumps({"allowed_hosts": ["llm.example.org"]}), encoding="utf-16")
    assert Policy.read(path).hosts == {"llm.example.org"}
    both = Policy.read(path).both(Policy(frozenset({"other"})))
    assert both.hosts == frozenset()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"allowed_hosts": "all"}', '{"allowed_hosts": [1]}', "\x00"])
def test_a_broken_policy_allows_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"policy\.json"):
        Policy.read(path)


@pytest.mark.parametrize(
    ("changes", "tags"),
    [
        ({}, {"BurnedInAnnotation": "YES "}),
        ({}, {"ImageType": "DERIVED\\SECONDARY"}),
        ({"modality": "US"}, {}),
        ({"modality": "", "array": np.zeros(VOLUME.grid.shape, np.uint8)}, {}),
        ({"array": np.zeros((*VOLUME.grid.shape, 3), np.uint8)}, {}),
        ({"is_sequence": True}, {}),
    ],
)
def test_pictures_that_may_have_text_in_them_need_a_second_yes(
    changes: dict[str, object], tags: dict[str, str]
) -> None:
    volume = replace(VOLUME, **changes)  # type: ignore[arg-type]
    assert text_in_pictures(volume, tags) is not None
    with pytest.raises(InputError, match="--allow-text-in-pictures"):
        noted(volume, tags).check_shell("llm.example.org", False, volume, ALLOWED)
    noted(volume, tags).check_shell("llm.example.org", False, volume, ALLOWED, text_is_allowed=True)
    assert text_in_pictures(VOLUME, {"ImageType": "ORIGINAL\\PRIMARY", "BurnedInAnnotation": "NO"}) is None


def test_no_name_id_uid_or_path_of_200_volumes_leaves() -> None:
    with language_server(lambda *_: Answer(said('{"verdict": "accept"}'))) as server:
        backend = ServerBackend(server.address, "a-model")
        for number in range(200):
            canaries = [
                f"DOE^JANE{number}",
                f"MRN{number:07d}",
                f"1.2.840.{number}.99",
                f"/home/u/patients/{number}.nii.gz",
            ]
            volume = replace(
                VOLUME, name=" ".join(canaries), messages=tuple(as_message(f"read {one}") for one in canaries)
            )
            before = len(server.raw)
            Agent(ScriptedSegmenter({"gadget": MASKS["spleen"]}), backend, draws_pages=False).ask(volume, "gadget")
            assert len(server.raw) > before
            for sent in server.raw[before:]:
                assert not [one for one in canaries if one.encode() in sent]
                assert b"tEXt" not in sent


@pytest.mark.parametrize("place", ["file", "folder", "archive"])
def test_burnt_in_text_is_known_from_the_dicom_files_themselves(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    (file, *_) = series_files(folder, [(0, 0, 0), (0, 0, 2)], BurnedInAnnotation="YES")
    given = {"file": file, "folder": folder, "archive": tmp_path / "series.zip"}[place]
    if place == "archive":
        shutil.make_archive(str(folder), "zip", folder)
    tags = dicom_tags(given)
    assert tags["BurnedInAnnotation"] == "YES"
    assert "burnt-in" in str(text_in_pictures(VOLUME, tags))
    assert dicom_tags(Path(__file__)) == {}
