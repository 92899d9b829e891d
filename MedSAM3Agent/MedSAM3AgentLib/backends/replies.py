"""From a reply's text to what was asked for, whatever a language model puts around it.

Thoughts, code fences and prose are stripped, the first JSON object that can be read is taken, broken ends are closed.
What cannot be understood is None or a named error, never an exception of another kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from MedSAM3AgentLib.actions import Action, UnknownActionError, action_of
from MedSAM3AgentLib.reply_words import clean_phrase, clean_text
from MedSAM3AgentLib.targets import Pick, Plan, Side, Structure, Target

#: More of a reply than this is not read.
MOST_READ = 200_000

#: Characters of an object that is looked at, and objects tried.
_LONGEST_OBJECT, _MOST_OBJECTS = 20_000, 20

#: Levels of brackets that are read; more is no reply.
_DEEPEST = 12

_THOUGHTS = re.compile(
    r"<(think|thinking|thought|reasoning|analysis|reflection)\b[^>]*>.*?</\1\s*>", re.DOTALL | re.IGNORECASE
)
_OPEN_THOUGHT = re.compile(r"<(think|thinking|thought|reasoning|analysis)\b[^>]*>.*\Z", re.DOTALL | re.IGNORECASE)
_CHANNEL = re.compile(r"<\|[^|>]{1,40}\|>|\[/?INST\]|</?s>|<(?:start|end)_of_turn>")
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not able)|i (?:can(?:'t|not)|won't) (?:help|assist|provide|analy[sz]e|interpret)"
    r"|as an ai\b|cannot (?:provide|give) medical|against my (?:guidelines|policy))",
    re.IGNORECASE,
)


class ReplyFault(StrEnum):
    """Why a reply could not be used."""

    EMPTY = "empty"
    ONLY_THOUGHTS = "only thoughts"
    REFUSAL = "refused"
    NO_JSON = "no JSON object"
    UNKNOWN_ACTION = "no known action"


def json_in(text: str) -> dict[str, Any] | ReplyFault:
    """The first JSON object in a reply, or why there is none."""
    text = text[:MOST_READ]
    if not text.strip():
        return ReplyFault.EMPTY
    said = _CHANNEL.sub(" ", _OPEN_THOUGHT.sub("", _THOUGHTS.sub("", text)))
    if "</think>" in said:  # a template that begins within the thought
        said = said.rpartition("</think>")[2]
    if not said.strip():
        return ReplyFault.ONLY_THOUGHTS
    for piece in _objects_in(said):
        found = _read(piece)
        if found is not None:
            return found
    return ReplyFault.REFUSAL if _REFUSAL.search(said) else ReplyFault.NO_JSON


def action_in(text: str) -> Action | ReplyFault:
    """The action that a reply names, or why there is none."""
    data = json_in(text)
    if isinstance(data, ReplyFault):
        return data
    # Some put the object into one of a tool call.
    for inner in ("action", "tool", "parameters", "arguments", "function", "tool_call"):
        value = data.get(inner)
        if isinstance(value, str) and value.lstrip().startswith("{"):
            value = _read(value)
        if isinstance(value, dict):
            data = {**data, **value} if inner != "action" else value
    if not isinstance(data.get("action"), str):
        data = {**data, "action": data.get("name", data.get("tool", data.get("type")))}
    try:
        return action_of(data)
    except UnknownActionError:
        return ReplyFault.UNKNOWN_ACTION


def verdict_in(text: str) -> bool | None:
    """Whether a reply accepts (True) or rejects (False); None for unsure or nothing that can be understood."""
    data = json_in(text)
    if isinstance(data, ReplyFault):
        said = _OPEN_THOUGHT.sub("", _THOUGHTS.sub("", text[:MOST_READ])).strip().lower()
        found = re.fullmatch(r"\W*(accept(?:ed)?|yes|correct|reject(?:ed)?|no|incorrect|wrong)\W*", said[:40])
        return found[1] in ("accept", "accepted", "yes", "correct") if found else None
    value = next((data[key] for key in ("verdict", "accept", "answer", "decision") if key in data), None)
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("accept", "accepted", "yes", "correct", "true"):
        return True
    return False if word in ("reject", "rejected", "no", "wrong", "incorrect", "false") else None


def plan_in(text: str, name: str) -> Plan | ReplyFault:
    """The plan that a reply describes, or why there is none."""
    data = json_in(text)
    if isinstance(data, ReplyFault):
        return data
    listed = data.get("targets")
    targets: dict[str, Target] = {}
    for one in listed[:6] if isinstance(listed, list) else []:
        target = _target(one if isinstance(one, dict) else {"phrase": one})
        if target is not None:
            targets.setdefault(target.name, target)
    if not targets:
        return ReplyFault.UNKNOWN_ACTION
    return Plan(tuple(targets.values()), name, clean_text(data.get("rationale"), 1000))


def answer_in(text: str) -> str:
    """A written answer, one plain line of at most 1000 characters; empty where there is none."""
    data = json_in(text)
    if isinstance(data, ReplyFault):
        return ""
    return clean_text(data.get("answer", data.get("rationale")), 1000)


def _target(data: dict[str, Any]) -> Target | None:
    structure = _structure(data)
    if structure is None:
        return None
    inside = _structure({"phrase": data.get("inside"), "side": data.get("inside_side")})
    listed = data.get("without")
    without = [_structure({"phrase": one}) for one in (listed[:4] if isinstance(listed, list) else [])]
    picks = {pick.value: pick for pick in Pick}
    pick = picks.get(str(data.get("pick", "all")).lower(), Pick.ALL)
    return Target(structure, inside, tuple(one for one in without if one), pick)


def _structure(data: dict[str, Any]) -> Structure | None:
    """A structure from a reply; a side in its words is taken out of them, since sides are computed."""
    phrase = clean_phrase(data.get("phrase"))
    sides = {side.value: side for side in Side}
    side = sides.get(str(data.get("side", "")).strip().lower())
    words = phrase.split()
    named = [word for word in words if word in sides]
    if len(named) == 1 and len(words) > 1:
        side, phrase = side or sides[named[0]], " ".join(word for word in words if word not in sides)
    return Structure(phrase, side) if phrase else None


def _objects_in(text: str) -> Iterator[str]:
    """Pieces of the text from an opening brace to its closing one, or to the end where it is cut off."""
    start, tried = text.find("{"), 0
    while start >= 0 and tried < _MOST_OBJECTS:
        tried += 1
        end = _end_of(text, start)
        yield text[start : min(end, start + _LONGEST_OBJECT)]
        start = text.find("{", start + 1 if end >= len(text) else end)


def _unquoted(text: str) -> Iterator[tuple[int, str]]:
    """The characters outside of strings, by place; the quotes around strings are among them."""
    quoted = escaped = False
    for place, char in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
            yield place, char
        elif not quoted:
            yield place, char


def _end_of(text: str, start: int) -> int:
    depth = 0
    for place, char in _unquoted(text[start : start + _LONGEST_OBJECT]):
        depth += (char == "{") - (char == "}")
        if char == "}" and depth == 0:
            return start + place + 1
    return len(text)


def _read(piece: str) -> dict[str, Any] | None:
    """An object as JSON, mended where models commonly break it; None where it is none."""
    if _depth(piece) > _DEEPEST:
        return None
    for attempt in (piece, _mended(piece), _closed(_mended(piece))):
        try:
            data = json.loads(attempt, strict=False, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            continue
        return data if isinstance(data, dict) and data else None
    return None


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in text:
        if char in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "}]":
            depth -= 1
    return deepest


def _mended(piece: str) -> str:
    """Without comments and trailing commas, with double quotes and JSON's own words."""
    text = re.sub(r"(?m)(^|\s)//[^\n]*$", "", piece)
    text = text.replace("\u201c", '"').replace("\u201d", '"')
    if '"' not in text:
        text = text.replace("'", '"')
    text = re.sub(r"([{,]\s*)([A-Za-z_][A-Za-z0-9_]*)(\s*:)", r'\1"\2"\3', text)
    for python, plain in (("True", "true"), ("False", "false"), ("None", "null")):
        text = re.sub(rf"(:\s*){python}\b", rf"\1{plain}", text)
    return re.sub(r",(\s*[}\]])", r"\1", text)


def _closed(piece: str) -> str:
    """A cut-off object with its quotes and brackets closed."""
    stack: list[str] = []
    quotes = 0
    for _, char in _unquoted(piece):
        quotes += char == '"'
        if char in "{[":
            stack.append("}" if char == "{" else "]")
        elif char in "}]" and stack:
            stack.pop()
    text = piece + ('"' if quotes % 2 else "")
    text = re.sub(r"[,:]\s*$", "", text)
    return text + "".join(reversed(stack))
