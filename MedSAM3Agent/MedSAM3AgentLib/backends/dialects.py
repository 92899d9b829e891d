"""How servers that speak /chat/completions differ: the request's body, and what is dropped when one refuses a field."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from .protocol import Question

#: Tokens that a reply may have at first, and once its thoughts ate all of them.
MOST_TOKENS, MORE_TOKENS = 1024, 4096

#: Names of the cap, and which host knows only the second (its reasoning models refuse the first).
_CAPS = ("max_tokens", "max_completion_tokens")
_NEW_CAP_HOSTS = ("api.openai.com", "openai.azure.com")

#: Fields that a server may refuse, in the order in which they are given up, by words that its refusal has.
_OPTIONAL = {
    "response_format": ("response_format", "json_schema", "structured output", "grammar", "schema"),
    "temperature": ("temperature",),
    "seed": ("seed",),
}


def chat_url(address: str) -> str:
    """Where questions go: the address with ``/chat/completions`` at its end, and ``/v1`` where it has no path."""
    base = address.rstrip("/")
    if base.endswith("/chat/completions"):
        return base
    return f"{base}/chat/completions" if urlsplit(base).path.strip("/") else f"{base}/v1/chat/completions"


def models_url(address: str) -> str:
    """Where a server lists its models."""
    return chat_url(address).removesuffix("/chat/completions") + "/models"


def body_of(question: Question, model: str, host: str) -> dict[str, Any]:
    """The request's body: one system and one user message, words first and one picture with its captions drawn in."""
    content: str | list[dict[str, Any]] = question.text
    if question.picture:
        picture = base64.b64encode(question.picture).decode()
        content = [
            {"type": "text", "text": question.text},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        ]
    cap = _CAPS[1] if host.endswith(_NEW_CAP_HOSTS) else _CAPS[0]
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": question.instructions}, {"role": "user", "content": content}],
        "stream": False,
        "temperature": 0.0 if not question.vote else 0.7,
        "seed": question.vote,
        cap: MOST_TOKENS,
    }
    if question.schema:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": question.kind.value, "schema": dict(question.schema)},
        }
    return body


def without_refused(body: Mapping[str, Any], refusal: str) -> dict[str, Any] | None:
    """The body without the field that a refusal names, or with its other name; None where it names none."""
    said = refusal.lower()
    for cap, other in (_CAPS, _CAPS[::-1]):
        if cap in body and cap in said:
            changed = {key: value for key, value in body.items() if key != cap}
            # Where the refusal proposes the other name, or says nothing of it, that is tried next.
            return {**changed, other: body[cap]}
    for field, words in _OPTIONAL.items():
        if field in body and any(word in said for word in words):
            return {key: value for key, value in body.items() if key != field}
    return None


def without_schema(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body without constrained decoding."""
    return {key: value for key, value in body.items() if key != "response_format"}


def with_more_tokens(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body with a higher cap."""
    return {key: MORE_TOKENS if key in _CAPS else value for key, value in body.items()}


def parameters_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a reply was asked with, for the transcript."""
    kept = {key: body[key] for key in ("temperature", "seed", *_CAPS) if key in body}
    return {**kept, "schema": "response_format" in body}


def content_of(answer: Mapping[str, Any]) -> tuple[str, str]:
    """The text of an answer and why it ended; both empty where it has none.

    A refusal is given as text. Thoughts that a server tells apart are not.
    """
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text", "") if isinstance(part, dict) else str(part) for part in content]
        content = "".join(part for part in parts if isinstance(part, str))
    text = content if isinstance(content, str) else ""
    refusal = message.get("refusal")
    if not text.strip() and isinstance(refusal, str):
        text = f"I'm sorry: {refusal}"
    return text, str(choice.get("finish_reason") or "")


def usage_of(answer: Mapping[str, Any]) -> tuple[int, int] | None:
    """Tokens in and out, None where they are missing or no numbers."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    counts = [usage.get(key) for key in ("prompt_tokens", "completion_tokens")]
    if not all(isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 10**9 for count in counts):
        return None
    return int(counts[0] or 0), int(counts[1] or 0)
