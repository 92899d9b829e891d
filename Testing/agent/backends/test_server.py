"""Servers and their traps, each on a real socket that behaves so."""

from __future__ import annotations

import threading

import pytest

from MedSAM3AgentLib.backends.protocol import BackendError, Question, QuestionKind
from MedSAM3AgentLib.backends.server import ServerBackend
from MedSAM3SegmentLib.errors import Cancelled, EngineError, InputError
from support.language_server import Answer, LanguageServer, language_server, said

SCHEMA = {"type": "object", "properties": {"verdict": {"type": "string"}}}
QUESTION = Question(QuestionKind.VERDICT, "be brief", "is it?", b"\x89PNG", SCHEMA)


def backend(server: LanguageServer, **more: object) -> ServerBackend:
    return ServerBackend(server.address, "a-model", key="secret-key", **more)  # type: ignore[arg-type]


def test_a_question_is_one_system_and_one_user_message_with_one_picture_and_a_schema() -> None:
    with language_server(lambda *_: Answer(said('{"verdict": "accept"}'))) as server:
        reply = backend(server).ask(QUESTION)

    body = server.requests[0]
    assert [one["role"] for one in body["messages"]] == ["system", "user"]
    text, picture = body["messages"][1]["content"]
    assert text == {"type": "text", "text": "is it?"}
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")
    assert body["max_tokens"] > 0
    assert "max_completion_tokens" not in body
    assert body["temperature"] == 0
    assert "tools" not in body
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert server.headers[0]["Authorization"] == "Bearer secret-key"
    assert (reply.text, reply.model, reply.usage) == ('{"verdict": "accept"}', "a model", (10, 5))


@pytest.mark.parametrize("field", ["max_tokens", "temperature", "seed", "response_format"])
def test_a_field_that_a_server_refuses_is_renamed_or_left_out_once_and_for_all(field: str) -> None:
    def behave(body: dict[str, object], _: int) -> Answer:
        if field in body:
            return Answer({"error": {"message": f"Unsupported parameter: '{field}' is not supported"}}, 400)
        return Answer(said('{"verdict": "accept"}'))

    with language_server(behave) as server:
        asked = backend(server)
        assert asked.ask(QUESTION).text
        assert asked.ask(QUESTION).text

    assert len(server.requests) == 3
    if field == "max_tokens":
        assert server.requests[1]["max_completion_tokens"] == server.requests[0]["max_tokens"]


def test_thoughts_that_eat_the_cap_get_a_higher_one_then_no_schema() -> None:
    def behave(body: dict[str, object], _: int) -> Answer:
        if "response_format" in body:
            return Answer(said("", "length", reasoning="thinking " * 500))
        return Answer(said('{"verdict": "reject"}'))

    with language_server(behave) as server:
        assert "reject" in backend(server).ask(QUESTION).text

    caps = [body["max_tokens"] for body in server.requests]
    assert caps[1] > caps[0]
    assert "response_format" not in server.requests[-1]


def test_a_schema_that_silences_a_model_is_left_out() -> None:
    def behave(body: dict[str, object], _: int) -> Answer:
        return Answer(said("" if "response_format" in body else "accept", reasoning_content="hm"))

    with language_server(behave) as server:
        assert backend(server).ask(QUESTION).text == "accept"


def test_an_answer_that_stays_empty_is_empty_and_no_error() -> None:
    with language_server(lambda *_: Answer(said(None))) as server:
        assert backend(server).ask(QUESTION).text == ""


def test_content_in_parts_and_refusals_are_text() -> None:
    with language_server(lambda *_: Answer(said([{"type": "text", "text": "a"}, {"text": "b"}]))) as server:  # type: ignore[arg-type]
        assert backend(server).ask(QUESTION).text == "ab"
    with language_server(lambda *_: Answer(said(None, refusal="no anatomy"))) as server:
        assert "no anatomy" in backend(server).ask(QUESTION).text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(b"<html>login</html>"), "JSON"),
        (Answer({"hello": 1}), "check the address"),
        (Answer([1, 2]), "JSON"),
        (Answer({"choices": []}), ""),
        (Answer({"error": "boom"}, 500), "500"),
        (Answer({"error": "who are you"}, 401), "MEDSAM3_LANGUAGE_KEY"),
        (Answer({"error": "no such model"}, 404), "a-model"),
        (Answer({"error": {"message": "this model has no vision, image input refused"}}, 400), "pictures"),
        (Answer({"error": {"message": "image not supported"}}, 200), "pictures"),
        (Answer(b"x" * 5_000_000), "MB"),
        (Answer(b"", 302, {"Location": "http://127.0.0.1:1/"}), "redirect"),
        (Answer(drop=True), "does not answer"),
        (Answer(b"\xff\xfe\x00"), "JSON"),
    ],
)
def test_what_is_no_answer_is_one_sentence(answer: Answer, words: str) -> None:
    with language_server(lambda *_: answer) as server:
        if not words:
            assert backend(server).ask(QUESTION).text == ""
            return
        with pytest.raises(BackendError, match=words):
            backend(server).ask(QUESTION)


def test_too_many_requests_are_tried_again_as_the_server_asks() -> None:
    def behave(_: dict[str, object], number: int) -> Answer:
        return Answer({"error": "busy"}, 429, {"Retry-After": "0"}) if number < 2 else Answer(said("accept"))

    with language_server(behave) as server:
        assert backend(server).ask(QUESTION).text == "accept"
    assert len(server.requests) == 3


def test_nobody_there_is_one_sentence_at_once() -> None:
    with language_server(lambda *_: Answer()) as server:
        address = server.address
    with pytest.raises(EngineError, match="does not answer"):
        ServerBackend(address, "a-model").probe()


def test_a_user_who_cancels_does_not_wait_for_the_server() -> None:
    free, asked = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        free.wait(30)

    with language_server(lambda *_: Answer(said("late"), before=hold)) as server:
        with pytest.raises(Cancelled):
            backend(server).ask(QUESTION, asked.is_set)
        assert not free.is_set()
        free.set()


def test_a_model_that_sees_no_pictures_is_found_out_at_the_start() -> None:
    def blind(*_: object) -> Answer:
        return Answer({"error": {"message": "image input is not supported - mmproj is missing"}}, 400)

    with language_server(blind) as server:
        asked = backend(server)
        asked.probe()
    assert not asked.sees_pictures
    assert asked.votes == 0


@pytest.mark.parametrize(
    "address",
    [
        "http://llm.example.org/v1",
        "ftp://127.0.0.1/v1",
        "https://user:pw@llm.example.org/v1",
        "https://h/v1?key=1",
        "x",
    ],
)
def test_an_address_that_would_leak_or_is_none_is_refused(address: str) -> None:
    with pytest.raises(InputError) as caught:
        ServerBackend(address, "m")
    assert "pw" not in str(caught.value)


def test_neither_proxies_nor_saved_logins_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_saved")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    with language_server(lambda *_: Answer(said("accept"))) as server:
        assert ServerBackend(server.address, "a-model").ask(QUESTION).text == "accept"
    assert b"hf_saved" not in server.raw[0]
    assert b"sk-other" not in server.raw[0]
    assert "Authorization" not in server.headers[0]
