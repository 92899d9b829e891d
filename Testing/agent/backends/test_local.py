"""A language model on this computer, in this process and in an engine's, on a tiny one of a real architecture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from MedSAM3AgentLib.backends import replies
from MedSAM3AgentLib.backends.local import LocalBackend
from MedSAM3AgentLib.backends.protocol import BackendError, Question, QuestionKind
from MedSAM3AgentLib.backends.questions import plan_question
from MedSAM3AgentLib.backends.server import _red_square
from MedSAM3AgentLib.targets import Plan
from MedSAM3SegmentLib.errors import Cancelled, ModelError
from MedSAM3SegmentLib.language import constrained
from support.engine_server import Engine
from support.tiny_language_model import make_tiny_language_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("language") / "tiny"
    make_tiny_language_model(made)
    return made


QUESTION = Question(QuestionKind.VERDICT, "Be brief.", "Is it?", _red_square())

SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"enum": ["accept", "reject", "unsure"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}


def test_a_picture_and_words_get_the_same_reply_each_time(folder: Path) -> None:
    backend = LocalBackend(folder, "cpu")
    first = backend.ask(QUESTION)
    backend.unload()
    second = backend.ask(QUESTION)
    assert (second.text, second.usage) == (first.text, first.usage)
    assert first.usage is not None
    assert first.usage[0] > 16  # the picture's tokens count
    assert backend.ask(Question(QuestionKind.PLAN, "Be brief.", "No picture.")).model == "tiny"


def test_an_engine_gives_the_same_reply(folder: Path, tmp_path: Path) -> None:
    here = LocalBackend(folder, "cpu").ask(QUESTION)
    engine = Engine(tmp_path)
    there = LocalBackend(folder, "cpu", engine=engine.client()).ask(QUESTION)
    assert engine.serving.stop()
    assert (there.text, there.usage) == (here.text, here.usage)


def test_a_reply_ends_when_the_user_cancels(folder: Path) -> None:
    backend = LocalBackend(folder, "cpu")
    backend.ask(QUESTION)
    calls: list[int] = []

    def cancel() -> bool:
        calls.append(1)
        return True

    with pytest.raises(Cancelled):
        backend.ask(QUESTION, cancel)
    assert len(calls) == 1
    backend.unload()


def test_replies_have_their_form_where_decoding_is_constrained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llguidance")
    backend = LocalBackend(folder, "cpu")
    for text in ("Is it?", "Is it a liver?", "1", "Left or right?"):
        reply = backend.ask(Question(QuestionKind.VERDICT, "Be brief.", text, _red_square(), SCHEMA))
        assert json.loads(reply.text)["verdict"] in ("accept", "reject", "unsure")
        assert reply.parameters["schema"] is True
    # Without the package the same question gets what a random model says.
    monkeypatch.setattr(constrained, "find_spec", lambda _: None)
    reply = backend.ask(Question(QuestionKind.VERDICT, "Be brief.", "Is it?", _red_square(), SCHEMA))
    assert reply.parameters["schema"] is False
    assert not backend.is_constrained


def test_the_agents_own_schemas_can_be_held_to(folder: Path) -> None:
    pytest.importorskip("llguidance")
    backend = LocalBackend(folder, "cpu")
    reply = backend.ask(plan_question("the mass in the right kidney"))
    assert reply.parameters["schema"] is True
    assert reply.text.lstrip().startswith('{"targets"')
    # A random model may never come to an end; what it wrote is a plan or a named fault all the same.
    assert isinstance(replies.plan_in(reply.text, "x"), Plan | replies.ReplyFault)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        LocalBackend(tmp_path / "none")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match="safetensors"):
        LocalBackend(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(BackendError, match="not a safetensors file"):
        LocalBackend(tmp_path, "cpu").ask(QUESTION)
