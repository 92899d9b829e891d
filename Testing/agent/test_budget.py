"""Pictures, seconds and money have an end; what is reached is named, and the best round stays."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAM3AgentLib.agent import Agent
from MedSAM3AgentLib.backends.protocol import Question, Reply
from MedSAM3AgentLib.backends.replay import ReplayBackend
from MedSAM3AgentLib.backends.server import ServerBackend
from MedSAM3AgentLib.session import AgentRequest, AgentResult, Stop
from MedSAM3AgentLib.transcript import Transcript, question_fields, read_transcript
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.progress import CancelCheck
from support.language_server import Answer, language_server, said
from support.scripted_segmenter import REJECT, ScriptedBackend, ScriptedSegmenter, abdomen

VOLUME, MASKS = abdomen()
ANSWERS = {"gadget": MASKS["spleen"], "widget": MASKS["liver"]}
ENDLESS: Sequence[object] = [
    REJECT,
    {"action": "segment", "phrases": ["widget"]},
    REJECT,
    {"action": "threshold", "value": 0.3},
    REJECT,
] * 3


class Priced(ScriptedBackend):
    """Reports tokens, or none."""

    def __init__(self, usage: tuple[int, int] | None) -> None:
        super().__init__(ENDLESS, sees_pictures=True)
        self.usage = usage

    def ask(self, question: Question, cancel: CancelCheck | None = None) -> Reply:
        reply = super().ask(question, cancel)
        return Reply(reply.text, reply.model, self.usage)


def asked(backend: ScriptedBackend, **caps: Any) -> AgentResult:
    result = Agent(ScriptedSegmenter(ANSWERS), backend).ask(VOLUME, AgentRequest("gadget", rounds=5, **caps))
    best = max((one for done in result.rounds for one in done.proposals.values()), key=lambda one: one.score)
    assert result.kept[0].score == best.score
    assert np.array_equal(result.kept[0].mask, best.mask)
    return result


@pytest.mark.parametrize("most", [0, 1, 2, 3])
def test_pictures_have_an_end(most: int) -> None:
    backend = Priced((100, 10))
    result = asked(backend, pictures=most)
    assert result.stop is Stop.PICTURES
    assert sum(bool(question.picture) for question in backend.questions) == most == result.spent.pictures
    assert f"All {most} pictures" in " ".join(result.messages)
    assert "pictures" in result.why


def test_money_is_counted_as_the_server_reports_and_never_overdrawn() -> None:
    backend = Priced((2000, 100))
    # 2 x 0.002 + 0.1 x 0.01 = 0.005 a question; the third could cost more than what is left.
    result = asked(backend, price=(0.002, 0.01), money=0.022)
    assert result.stop is Stop.MONEY
    assert len(backend.questions) == 2
    assert (result.spent.tokens_in, result.spent.tokens_out) == (4000, 200)
    assert result.spent.cost == pytest.approx(0.010)
    assert not result.spent.is_estimated
    assert "cost 0.0100" in " ".join(result.messages)
    assert "estimated" not in " ".join(result.messages)


def test_no_money_at_all_asks_nothing() -> None:
    backend = Priced((1, 1))
    result = asked(backend, price=(1.0, 1.0), money=0.0)
    assert (result.stop, backend.questions) == (Stop.MONEY, [])
    assert asked(Priced((1, 1)), price=(0.0, 0.0), money=0.0).stop is not Stop.MONEY


def test_tokens_that_are_not_reported_are_estimated_and_that_is_said() -> None:
    backend = Priced(None)
    result = asked(backend, price=(0.01, 0.03), money=100.0)
    assert result.spent.is_estimated
    pages = sum(bool(question.picture) for question in backend.questions)
    words = sum(len(question.instructions) + len(question.text) for question in backend.questions)
    assert result.spent.tokens_in == pytest.approx(1536 * pages + words / 4, abs=len(backend.questions))
    assert result.spent.tokens_out > 0
    assert "does not report tokens" in " ".join(result.messages)


def test_a_price_alone_tells_what_it_cost_and_none_says_nothing() -> None:
    assert "cost" in " ".join(asked(Priced((10, 10)), price=(1.0, 1.0)).messages)
    result = asked(Priced((10, 10)))
    assert result.spent.cost is None
    assert "tokens" not in " ".join(result.messages)
    assert "tokens in" in result.spent.words


class Slow(ScriptedBackend):
    """Answers the first question and never the second."""

    def ask(self, question: Question, cancel: CancelCheck | None = None) -> Reply:
        if self.questions:
            assert cancel is not None
            while not cancel():
                threading.Event().wait(0.01)
            raise Cancelled
        return super().ask(question)


def test_seconds_end_a_question_and_are_not_the_users_stop() -> None:
    result = asked(Slow(ENDLESS), seconds=0.5)
    assert result.stop is Stop.SECONDS
    assert "0.5 seconds" in " ".join(result.messages)
    assert "seconds" in result.why


def test_seconds_that_are_over_ask_nothing_and_the_rules_result_stays() -> None:
    backend = Priced((1, 1))
    result = asked(backend, seconds=1e-9)
    assert (result.stop, backend.questions, result.spent.calls) == (Stop.SECONDS, [], 0)


@pytest.mark.parametrize("caps", [{"seconds": 0.5}, {"pictures": 2}, {"price": (0.002, 0.01), "money": 0.022}])
def test_a_session_that_reached_a_cap_replays(tmp_path: Path, caps: dict[str, Any]) -> None:
    backend = Slow(ENDLESS) if "seconds" in caps else Priced((2000, 100))
    request = AgentRequest("gadget", rounds=5, **caps)
    first, again = Transcript(), Transcript()
    first.begin(request, VOLUME, backend)
    agent = Agent(ScriptedSegmenter(ANSWERS), backend)
    result = agent.ask(VOLUME, request, on_round=first.add_round, recorder=first.add_question)
    path = tmp_path / "t.jsonl"
    path.write_text(first.text(), encoding="utf-8")
    replay = ReplayBackend(read_transcript(path), question_fields)
    again.begin(request, VOLUME, replay)
    repeated = Agent(ScriptedSegmenter(ANSWERS), replay).ask(
        VOLUME, request, on_round=again.add_round, recorder=again.add_question
    )
    assert repeated.stop is result.stop
    assert repeated.spent == result.spent
    assert [_timeless(line) for line in again.lines] == [_timeless(line) for line in first.lines]


def _timeless(line: str) -> dict[str, Any]:
    import json

    return {key: value for key, value in json.loads(line).items() if key not in ("time", "previous")}


def test_all_replies_that_a_server_was_paid_for_count() -> None:
    def behave(_: dict[str, Any], number: int) -> Answer:
        return Answer(said("", "length") if number == 0 else said('{"verdict": "accept"}'))

    with language_server(behave) as server:
        result = asked(ServerBackend(server.address, "m", votes=1))  # type: ignore[arg-type]
    assert (result.spent.tokens_in, result.spent.tokens_out) == (20, 10)


def test_a_server_that_reports_once_and_then_no_more_is_estimated() -> None:
    def behave(_: dict[str, Any], number: int) -> Answer:
        reply = said("", "length") if number == 0 else said('{"verdict": "accept"}')
        if number:
            del reply["usage"]
        return Answer(reply)

    with language_server(behave) as server:
        result = asked(ServerBackend(server.address, "m", votes=1))  # type: ignore[arg-type]
    assert result.spent.is_estimated
    assert result.spent.tokens_in > 2 * 1536


@pytest.mark.parametrize(
    "caps",
    [{"pictures": -1}, {"pictures": 101}, {"seconds": 0}, {"seconds": -1}, {"seconds": float("nan")}, {"money": 1.0},
     {"money": -1.0, "price": (1.0, 1.0)}, {"price": (float("nan"), 1.0)}, {"price": (-1.0, 1.0)}],
)  # fmt: skip
def test_caps_that_are_none_are_refused(caps: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        AgentRequest("liver", **caps)
