"""Words from a reply or a request, made harmless: phrases that name something, and lines for people to read."""

from __future__ import annotations

import re

#: A phrase from a reply has at most so many words, and so many characters.
MOST_WORDS, MOST_CHARACTERS = 5, 60

#: Words that tell a program what to do and name no structure.
_ORDERS = frozenset(
    "ignore disregard forget system prompt instruction instructions assistant user delete remove execute run script "
    "upload send http https www file folder path password key token json html tool function accept reject approve "
    "previous override admin root sudo eval import".split()
)


def clean_phrase(text: object) -> str:
    """A phrase from a reply, or empty where it is none: letters, digits and hyphens, at most five words, no order."""
    if not isinstance(text, str) or len(text) > MOST_CHARACTERS:
        return ""
    phrase = " ".join(text.lower().split()).strip(" .,;:'\"")
    words = phrase.split()
    if not words or len(words) > MOST_WORDS or not _ORDERS.isdisjoint(re.split(r"[ -]", phrase)):
        return ""
    return phrase if re.fullmatch(r"[a-z][a-z0-9 -]*", phrase) else ""


def clean_text(text: object, most: int = 200) -> str:
    """Free text from a reply, for people to read: one line, cut to ``most`` characters, without control characters."""
    if not isinstance(text, str):
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 8 * most]).split())
    return line if len(line) <= most else line[: most - 1] + "…"
