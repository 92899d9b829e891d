"""The agent's sentences in another language, those inside of others and those of the libraries below it too."""

from __future__ import annotations

import pytest

from MedSAM3AgentLib.backends.protocol import BackendError
from MedSAM3AgentLib.session import AgentRequest
from MedSAM3AgentSceneLib.translation.translate import CONTEXT, translated
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import message
from support.slicer_modules import install_base_classes
from support.translations import speak


def test_sentences_of_the_agent_and_of_what_it_stands_on_are_translated(
    monkeypatch: pytest.MonkeyPatch,
    scene: object,
) -> None:
    import slicer

    del scene
    install_base_classes(slicer)
    language = speak(
        monkeypatch,
        slicer.app,
        {
            "The language model '{name}' failed: {why} The best round was kept.": "'{name}' versagte: {why}",
            "The language model at {host} does not answer ({kind}).": "{host} antwortet nicht ({kind}).",
            "{rounds} rounds cannot be done; choose 1 to {most}.": "{rounds} Runden gehen nicht; 1 bis {most}.",
        },
    )
    why = BackendError("The language model at {host} does not answer ({kind}).", host="h", kind="Timeout")
    said = message("The language model '{name}' failed: {why} The best round was kept.", name="m", why=str(why))
    assert translated(said) == "'m' versagte: h antwortet nicht (Timeout)."
    with pytest.raises(InputError) as caught:
        AgentRequest("liver", rounds=9)
    assert translated(caught.value.message) == "9 Runden gehen nicht; 1 bis 5."
    assert {context for context, _ in language.asked} == {CONTEXT}

    translated(message("The folder {folder} does not exist; make it or choose another place.", folder="x"))
    assert language.asked[-1][0] in (CONTEXT, "MedSAM3SceneLib.translation")
    asked = len(language.asked)
    assert translated(message("Nobody says {what}.", what="this")) == "Nobody says this."
    assert len(language.asked) == asked
