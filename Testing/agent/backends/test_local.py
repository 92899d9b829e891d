"""A language model in this process, on a tiny one of a real architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from MedSAM3AgentLib.backends.local import LocalBackend
from MedSAM3AgentLib.backends.protocol import BackendError, Question, QuestionKind
from MedSAM3AgentLib.backends.server import _red_square
from MedSAM3SegmentLib.errors import Cancelled, ModelError
from support.tiny_language_model import make_tiny_language_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("language") / "tiny"
    make_tiny_language_model(made)
    return made


QUESTION = Question(QuestionKind.VERDICT, "Be brief.", "Is it?", _red_square())


def test_a_picture_and_words_get_the_same_reply_each_time(folder: Path) -> None:
    backend = LocalBackend(folder, "cpu")
    first = backend.ask(QUESTION)
    backend.unload()
    assert backend.ask(QUESTION).text == first.text
    assert backend.ask(Question(QuestionKind.PLAN, "Be brief.", "No picture.")).model == "tiny"


def test_a_reply_ends_when_the_user_cancels(folder: Path) -> None:
    calls: list[int] = []

    def cancel() -> bool:
        calls.append(1)
        return len(calls) > 2

    with pytest.raises(Cancelled):
        LocalBackend(folder, "cpu").ask(QUESTION, cancel)
    assert len(calls) < 10


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        LocalBackend(tmp_path / "none")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match="safetensors"):
        LocalBackend(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(BackendError, match="cannot be loaded"):
        LocalBackend(tmp_path, "cpu").ask(QUESTION)
