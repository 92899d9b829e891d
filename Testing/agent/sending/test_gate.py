"""A person is asked once, with the very picture, before anything of a volume leaves; no answer is a no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from MedSAM3AgentLib.agent import Agent
from MedSAM3AgentLib.backends.protocol import Question
from MedSAM3AgentLib.sending.consent import Consent, Policy
from MedSAM3AgentLib.sending.disclosure import Disclosure
from MedSAM3AgentLib.session import AgentResult, Stop
from MedSAM3SegmentLib.errors import InputError
from support.scripted_segmenter import ACCEPT, REJECT, ScriptedBackend, ScriptedSegmenter, abdomen

VOLUME, MASKS = abdomen()
ANSWERS = {"gadget": MASKS["spleen"], "widget": MASKS["liver"]}


class FarBackend(ScriptedBackend):
    """As one on another computer."""

    def __init__(self, replies: Sequence[object]) -> None:
        super().__init__(replies, sees_pictures=True)
        self.sends_to = "llm.example.org"


class Person:
    """Answers, and remembers what was shown."""

    def __init__(self, answer: object, backend: FarBackend) -> None:
        self.shown: list[Disclosure] = []
        self.sent_before: list[list[Question]] = []
        self._answer, self._backend = answer, backend

    def __call__(self, disclosure: Disclosure) -> bool:
        self.shown.append(disclosure)
        self.sent_before.append(list(self._backend.questions))
        return self._answer  # type: ignore[return-value]


def asked(answer: object, text: str = "gadget", **more: object) -> tuple[AgentResult, Person, FarBackend]:
    backend = FarBackend([REJECT, {"action": "segment", "phrases": ["widget"]}, ACCEPT])
    person = Person(answer, backend)
    agent = Agent(ScriptedSegmenter(ANSWERS), backend, on_consent=person, consent=Consent())
    return agent.ask(replace(VOLUME, **more), text), person, backend  # type: ignore[arg-type]


def test_a_yes_is_asked_for_once_with_the_picture_that_goes_first() -> None:
    result, person, backend = asked(True)
    (shown,) = person.shown
    assert person.sent_before == [[]]
    assert (shown.host, shown.picture) == ("llm.example.org", backend.questions[0].picture)
    assert shown.picture.startswith(b"\x89PNG")
    assert not shown.may_have_burnt_in_text
    assert "gadget" in shown.what
    assert "llm.example.org" in shown.what
    assert len(backend.questions) == 3
    assert result.stop is Stop.ACCEPTED


@pytest.mark.parametrize("answer", [False, None, 0, ""])
def test_without_a_yes_nothing_is_sent_and_the_rules_result_stays(answer: object) -> None:
    result, person, backend = asked(answer)
    assert len(person.shown) == 1
    assert backend.questions == []
    assert result.calls == 0
    assert result.stop is Stop.NOT_AGREED
    assert np.array_equal(result.kept[0].mask, MASKS["spleen"])
    assert any("Nobody agreed" in said for said in result.messages)


def test_nobody_to_ask_is_a_no() -> None:
    backend = FarBackend([ACCEPT])
    result = Agent(ScriptedSegmenter(ANSWERS), backend, consent=Consent()).ask(VOLUME, "gadget")
    assert (result.stop, backend.questions) == (Stop.NOT_AGREED, [])


def test_words_alone_need_a_yes_too_and_the_volume_is_shown_then() -> None:
    plan = {"targets": [{"phrase": "spleen"}], "rationale": "It may be torn."}
    backend = FarBackend([plan, {"answer": "x"}])
    person = Person(True, backend)
    agent = Agent(ScriptedSegmenter({"spleen": MASKS["spleen"]}), backend, on_consent=person, consent=Consent())
    agent.ask(VOLUME, "What explains the pain in the left flank?")
    (shown,) = person.shown
    assert person.sent_before == [[]]
    assert "pain in the left flank" in shown.what
    pixels = np.asarray(Image.open(BytesIO(shown.picture)).convert("L"))
    assert pixels.std() > 20  # the volume is drawn

    backend = FarBackend([plan])
    agent = Agent(ScriptedSegmenter({}), backend, on_consent=Person(False, backend), consent=Consent())
    with pytest.raises(InputError, match="Nobody agreed"):
        agent.ask(VOLUME, "what is wrong here?")
    assert backend.questions == []


def test_another_volume_or_another_agent_asks_again_and_a_kept_consent_does_not() -> None:
    consent, counts = Consent(), []
    for volume in (VOLUME, VOLUME, replace(VOLUME, array=VOLUME.array + 1)):
        backend = FarBackend([ACCEPT])
        person = Person(True, backend)
        Agent(ScriptedSegmenter(ANSWERS), backend, on_consent=person, consent=consent).ask(volume, "gadget")
        counts.append(len(person.shown))
    assert counts == [1, 0, 1]


@pytest.mark.parametrize(
    ("changes", "tags"), [({"modality": "US"}, {}), ({}, {"BurnedInAnnotation": "YES"}), ({"is_sequence": True}, {})]
)
def test_a_person_is_told_that_the_picture_may_have_text_in_it(
    changes: dict[str, object], tags: dict[str, str]
) -> None:
    volume = replace(VOLUME, **changes)  # type: ignore[arg-type]
    consent, backend = Consent(), FarBackend([ACCEPT])
    consent.note_tags(volume, tags)
    person = Person(False, backend)
    Agent(ScriptedSegmenter(ANSWERS), backend, on_consent=person, consent=consent).ask(volume, "gadget")
    assert person.shown[0].may_have_burnt_in_text


def test_a_policy_is_not_asked_about() -> None:
    backend = FarBackend([ACCEPT])
    person = Person(True, backend)
    consent = Consent(Policy(frozenset(), "policy.json"))
    with pytest.raises(InputError, match="does not allow"):
        Agent(ScriptedSegmenter(ANSWERS), backend, on_consent=person, consent=consent).ask(VOLUME, "gadget")
    assert person.shown == []


def test_rules_and_this_computer_ask_nobody() -> None:
    def nobody(_: Disclosure) -> bool:
        raise AssertionError("asked")

    for backend in (None, ScriptedBackend([ACCEPT])):
        Agent(ScriptedSegmenter(ANSWERS), backend, on_consent=nobody).ask(VOLUME, "gadget")
