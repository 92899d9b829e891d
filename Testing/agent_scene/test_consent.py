"""Nothing leaves the computer before a person agreed: counted on a real socket, of a host that counts as elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest

from MedSAM3AgentLib.session import Stop
from MedSAM3AgentSceneLib.languages.choose_language import LanguageChoice
from MedSAM3SegmentLib.errors import InputError
from support.agent_scene import MASKS, add_abdomen, make_logic, mask_of
from support.language_server import Answer, language_server, said
from support.scripted_segmenter import ScriptedBackend
from support.slicer_modules import load_module

pytestmark = pytest.mark.usefixtures("scene")

#: This computer by a name that nothing knows as loopback.
ELSEWHERE = "127.1"

ANSWERS = {"gadget tumor": MASKS["spleen"], "gadget": MASKS["spleen"]}


@pytest.fixture(autouse=True)
def nothing_agreed(monkeypatch, scene):
    """As in a Slicer that was just started."""
    del scene
    load_module("MedSAM3Agent")
    from MedSAM3AgentWidgetsLib import agent_runs

    monkeypatch.setattr(agent_runs, "_agreed", [])


@pytest.fixture
def certificate(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl to make a certificate")
    key, pem = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={ELSEWHERE}"]
    names = ["-addext", f"subjectAltName=DNS:{ELSEWHERE}"]
    subprocess.run([*command, *names, "-keyout", key, "-out", pem], check=True, capture_output=True)
    return str(pem), str(key)


def agreeable(_body, number):
    """Answers that the model sees red, then that masks are right."""
    return Answer(said("red" if number == 0 else '{"verdict": "accept"}'))


@pytest.fixture
def server(certificate):
    with language_server(agreeable, certificate, ELSEWHERE) as serving:
        yield serving


def ask(server, certificate, text="gadget tumor", volume=None, **options):
    return make_logic(ANSWERS).ask(
        volume or add_abdomen(), text, language=f"{server.address}#a-model", certificate=certificate[0], **options
    )


@pytest.mark.parametrize("answer", [None, False])
def test_without_a_yes_not_even_a_connection_is_made(server, certificate, answer):
    asked = []

    def refuse(disclosure):
        asked.append(disclosure)
        return answer

    run = ask(server, certificate, onConsent=None if answer is None else refuse)

    assert server.connections == 0
    assert run.stop is Stop.NOT_AGREED
    assert any("Nobody agreed" in str(words) for words in run.messages)
    assert np.array_equal(mask_of(run.rounds[-1].node, "gadget tumor"), MASKS["spleen"])
    assert len(asked) == (0 if answer is None else 1)


def test_with_a_yes_the_very_picture_that_was_shown_is_sent(server, certificate):
    import base64

    shown = []

    def agree(disclosure):
        shown.append((server.connections, disclosure))
        return True

    run = ask(server, certificate, onConsent=agree)

    assert run.stop is Stop.ACCEPTED
    ((connections, disclosure),) = shown
    assert connections == 0
    assert disclosure.host == ELSEWHERE
    assert disclosure.picture.startswith(b"\x89PNG")
    assert base64.b64encode(disclosure.picture) in server.raw[1]
    assert "measured numbers" in str(disclosure.what)


def test_a_yes_holds_for_the_host_and_the_volume_in_this_session_only(server, certificate):
    asked = []
    volume = add_abdomen()
    for _ in range(2):
        ask(server, certificate, volume=volume, onConsent=lambda one: not asked.append(one))
    assert len(asked) == 1
    other = add_abdomen(name="other")
    import slicer

    array = slicer.util.arrayFromVolume(other) if hasattr(slicer.util, "arrayFromVolume") else None
    changed = np.array(array) + 1
    slicer.updateVolumeFromArray(other, changed)
    ask(server, certificate, volume=other, onConsent=lambda one: not asked.append(one))
    assert len(asked) == 2


def test_words_alone_are_asked_for_as_well(server, certificate):
    asked = []
    with pytest.raises(InputError):
        ask(server, certificate, text="what explains Mr. Miller's pain?", onConsent=lambda one: asked.append(one))
    assert server.connections == 0
    (disclosure,) = asked
    assert disclosure.picture.startswith(b"\x89PNG"), "of the whole volume: pages may follow the words"
    assert "Miller" in str(disclosure.what)


def test_pictures_that_may_show_text_are_said_to(server, certificate):
    asked = []
    volume = add_abdomen()
    volume.SetAttribute("DICOM.Modality", "US")
    ask(server, certificate, volume=volume, onConsent=lambda one: asked.append(one))
    assert [one.may_have_burnt_in_text for one in asked] == [True]


def test_a_policy_that_does_not_allow_the_host_holds_whatever_is_agreed(server, certificate, tmp_path):
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"allowed_hosts": ["llm.hospital.example"]}))
    asked = []
    with pytest.raises(InputError, match="does not allow"):
        ask(server, certificate, policy=policy, onConsent=lambda one: not asked.append(one))
    assert server.connections == 0
    assert not asked


def test_a_server_on_this_computer_needs_no_yes():
    with language_server(agreeable) as serving:
        run = make_logic(ANSWERS).ask(add_abdomen(), "gadget tumor", language=f"{serving.address}#a-model")
    assert run.stop is Stop.ACCEPTED
    assert run.rounds[0].calls == 1


def test_a_model_without_eyes_is_sent_no_picture_of_the_volume():
    def blind(_body, number):
        return Answer(said("grey" if number == 0 else '{"action": "accept"}'))

    with language_server(blind) as serving:
        run = make_logic(ANSWERS).ask(add_abdomen(), "gadget tumor", language=f"{serving.address}#a-model")
        # The probe has a picture of a red square; no question has one.
        assert [b"image_url" in raw for raw in serving.raw[1:]] == [False] * len(serving.raw[1:])
    assert run.stop is not Stop.LANGUAGE_MODEL


@pytest.mark.parametrize(
    "given",
    [
        "gpt",
        "http://",
        "ftp://host/v1#m",
        "http://far.example/v1#m",
        "https://u:p@far.example/v1#m",
        {"replay": 1, "x": 2},
        7,
    ],
)
def test_a_choice_that_cannot_be_used_is_refused_without_its_secrets(given):
    with pytest.raises(InputError) as refused:
        LanguageChoice(given)
    assert "u:p" not in str(refused.value)


def test_a_key_is_in_no_scene_and_no_transcript(scene, tmp_path, monkeypatch):
    from support.agent_scene import save_and_load

    monkeypatch.setenv("MEDSAM3_LANGUAGE_KEY", "sesame-open-4711")
    with language_server(agreeable) as serving:
        run = make_logic(ANSWERS).ask(add_abdomen(), "gadget tumor", language=f"{serving.address}#a-model")
        assert any("sesame-open-4711" in header.get("Authorization", "") for header in serving.headers)
    assert not any("sesame" in line for line in run.rounds[0].transcript)
    save_and_load(scene, tmp_path)
    assert all(b"sesame" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_recorded_session_comes_again_without_a_network(tmp_path):
    volume = add_abdomen()
    replies = [{"verdict": "reject"}, {"action": "segment", "phrases": ["gadget"]}, {"verdict": "accept"}]
    logic = make_logic({"gadget tumor": MASKS["liver"], "gadget": MASKS["spleen"]})
    first = logic.ask(volume, "gadget tumor", language=ScriptedBackend(replies, sees_pictures=True))
    path = tmp_path / "ask.jsonl"
    path.write_text("".join(line + "\n" for line in first.rounds[-1].transcript), encoding="utf-8")

    again = logic.ask(volume, "gadget tumor", language={"replay": path})

    for one, other in zip(first.rounds, again.rounds, strict=True):
        assert one.verdicts == other.verdicts
        assert one.page == other.page
        assert np.array_equal(mask_of(one.node, "gadget tumor"), mask_of(other.node, "gadget tumor"))
    with pytest.raises(InputError, match="another request"):
        logic.ask(volume, "gadget", language={"replay": path})
