"""Sentences for people: what is said and the facts in it are kept apart, so that it can be said in another language.

A ``Message`` is a str, its English sentence, and is used as one: shell, reports and logs know of nothing else. Where
Slicer shows it, the template is looked up among the translations and filled with the same facts.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from string import Formatter
from typing import Any

#: What a fact may be given as; numbers of NumPy become Python's, and paths become text.
Given = str | int | float | os.PathLike[str]

#: What a fact is; a str may be a ``Message`` itself.
Fact = str | int | float

#: What the placeholders of a template may look like. Neither attributes nor widths: templates come over the wire too.
_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_FORMAT = re.compile(r"(\.\d)?[fg]?", re.ASCII)

#: What is taken from the wire: characters of a template and of a whole sentence, facts of a message, and messages
#: within each other. A template may repeat a fact, and so may each of the messages that it is within.
_LONGEST_TEMPLATE = 2000
_LONGEST_SENTENCE = 20_000
_MOST_FACTS = 64
_DEEPEST = 4


class Message(str):
    """An English sentence that knows what it was made of.

    Args:
        template: the sentence with placeholders such as ``{name}`` and ``{score:.2f}``; other braces are doubled.
        facts: by the names of the placeholders.

    Raises:
        ValueError: the template has other placeholders, or a fact is missing.
    """

    __slots__ = ("facts", "template")

    template: str
    facts: Mapping[str, Fact]

    def __new__(cls, template: str, facts: Mapping[str, Fact]) -> Message:
        made = super().__new__(cls, filled(template, facts))
        made.template, made.facts = template, dict(facts)
        return made

    def __getnewargs__(self) -> tuple[str, Mapping[str, Fact]]:  # type: ignore[override]
        return self.template, self.facts

    def __str__(self) -> str:
        # Itself: what ``str`` makes of an error keeps the facts.
        return self

    def in_language(self, translate: Callable[[str], str]) -> str:
        """The sentence as a translator of templates has it, in English where its template cannot be filled.

        Args:
            translate: gives the template in another language, or as it is.
        """
        facts = {
            name: fact.in_language(translate) if isinstance(fact, Message) else fact
            for name, fact in self.facts.items()
        }
        template = translate(self.template)
        try:
            if _names_in(template) == _names_in(self.template):
                return filled(template, facts)
        except ValueError:
            pass
        return filled(self.template, facts)


def message(template: str, /, **facts: Given) -> Message:
    """A sentence for people.

    Args:
        template: a literal, so that it is found for translators; a whole sentence where possible.
        facts: what goes into its placeholders.
    """
    return Message(template, {name: _fact_of(given) for name, given in facts.items()})


def as_message(text: str) -> Message:
    """Text as a sentence without facts, which has a translation only where it is one of the known ones."""
    return text if isinstance(text, Message) else Message(_encodable(text).replace("{", "{{").replace("}", "}}"), {})


def joined(parts: Iterable[str], between: str = " ") -> Message:
    """Sentences after each other, or what is listed."""
    listed = list(parts)
    if len(listed) == 1:
        return as_message(listed[0])
    facts = {f"part{number}": part for number, part in enumerate(listed)}
    return Message(between.join(f"{{{name}}}" for name in facts), facts)


def filled(template: str, facts: Mapping[str, Fact]) -> str:
    """A template with its facts; nothing in it is looked up or evaluated.

    Raises:
        ValueError: it holds anything but names of facts, or a fact is not what its placeholder is for.
    """
    pieces = []
    for literal, name, form, conversion in Formatter().parse(template):
        pieces.append(literal)
        if name is None:
            continue
        if not _NAME.fullmatch(name) or conversion or not _FORMAT.fullmatch(form or "") or name not in facts:
            raise ValueError(f"A message cannot have the placeholder '{name}'.")
        try:
            pieces.append(format(facts[name], form or ""))
        except OverflowError:
            raise ValueError(f"A message cannot hold a number as large as '{name}'.") from None
    return "".join(pieces)


def to_plain(text: str) -> Any:
    """A sentence as JSON has it; one without facts is its text."""
    return _written(text) if isinstance(text, Message) and text.facts else str.__str__(text)


def from_plain(plain: Any) -> Message:
    """What ``to_plain`` gave; what does not fit together is taken as plain text.

    Raises:
        ValueError: there is no text.
    """
    text = plain.get("text") if isinstance(plain, dict) else plain
    if not isinstance(text, str):
        raise ValueError("A message has no text.")
    try:
        read = _read(plain, 0)
    except ValueError:
        return as_message(text)
    return read if read == text else as_message(text)


def _written(said: Message) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name, fact in said.facts.items():
        if isinstance(fact, Message):
            facts[name] = _written(fact)
        else:
            # JSON has no other numbers.
            facts[name] = str(fact) if isinstance(fact, float) and not math.isfinite(fact) else fact
    return {"text": str.__str__(said), "template": said.template, "facts": facts}


def _read(plain: Any, depth: int) -> Message:
    template, given = (plain.get(key) for key in ("template", "facts")) if isinstance(plain, dict) else (None, None)
    if not isinstance(template, str) or len(template) > _LONGEST_TEMPLATE:
        raise ValueError("A message has no template.")
    if not isinstance(given, dict) or len(given) > _MOST_FACTS or depth > _DEEPEST:
        raise ValueError("A message has no facts.")
    facts: dict[str, Fact] = {}
    for name, fact in given.items():
        if isinstance(fact, dict):
            facts[name] = _read(fact, depth + 1)
        elif type(fact) in (str, int, float):
            facts[name] = fact
        else:
            raise ValueError("A fact is neither text nor a number.")
    longest = max((len(fact) for fact in facts.values() if isinstance(fact, str)), default=0)
    read = Message(template, facts) if longest <= _LONGEST_SENTENCE else None
    if read is None or len(read) > _LONGEST_SENTENCE:
        raise ValueError("A message is too long.")
    return read


def _fact_of(given: Given) -> Fact:
    if isinstance(given, Integral) and not isinstance(given, bool):
        return int(given)
    if isinstance(given, Real) and not isinstance(given, bool):
        return float(given)
    return given if isinstance(given, Message) else _encodable(str(given))


def _encodable(text: str) -> str:
    """Text that any terminal and file takes; bytes of file names that are not UTF-8 become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _names_in(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}
