"""Text as people paste it, in the characters that a plain keyboard has: quotes, commas, dashes, nothing invisible."""

from __future__ import annotations

import unicodedata

#: Stands for what could not be read as a character, such as a byte of a command line that is no UTF-8.
UNREADABLE = "\ufffd"

_DOUBLE_QUOTES = (
    "\u201c\u201d\u201e\u201f\u2033\u2036\u00ab\u00bb\u300c\u300d\u300e\u300f\u300a\u300b\u301d\u301e\u301f"
)
_SINGLE_QUOTES = "\u2018\u2019\u201a\u201b\u2032\u2035\u2039\u203a\u3008\u3009\u00b4\u02bc\u02b9`"
# Arabic, reversed, Ethiopic, two medieval, Bamum, and the Greek ano teleia, which a Greek keyboard has for a semicolon.
# Compatibility forms (full width, small, vertical, the Greek question mark) become ";" by themselves.
_SEMICOLONS = "\u061b\u204f\u1364\u2e35\u2e4e\ua6f6\u0387"
# Ideographic, Arabic, Armenian, NKo, Ethiopic, Mongolian, Lisu, Vai, Bamum, and turned, raised, reversed and medieval.
_COMMAS = "\u3001\u060c\u055d\u07f8\u1363\u1802\u1808\ua4fe\ua60d\ua6f5\u2e32\u2e34\u2e41\u2e49\u2e4c\u2e41"
_OPENING, _CLOSING = "\u3010\u3014\u3016\u3018", "\u3011\u3015\u3017\u3019"
# No format characters by their category, but nothing that is seen: joiners, fillers, variation selectors.
_UNSEEN = (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x3164, 0xFFA0)
_SELECTORS = (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))

_TABLE: dict[int, str | None] = {
    **dict.fromkeys(map(ord, _DOUBLE_QUOTES), '"'),
    **dict.fromkeys(map(ord, _SINGLE_QUOTES), "'"),
    **dict.fromkeys(map(ord, _SEMICOLONS), ";"),
    **dict.fromkeys(map(ord, _COMMAS), ","),
    **dict.fromkeys(map(ord, _OPENING), "("),
    **dict.fromkeys(map(ord, _CLOSING), ")"),
    **dict.fromkeys((*_UNSEEN, *_SELECTORS)),
    0x2212: "-",
    0x2800: " ",
    0x2028: "\n",
    0x2029: "\n",
}

_LINE_ENDS = "\n\r\v\f\x85"


def plain_characters(text: str) -> str:
    """``text`` without what is not seen, and with one way to write each quote, comma, semicolon, dash and space.

    Full-width and other compatibility forms become plain ones (Unicode's NFKC), every line end a new line, and what is
    no character (a lone surrogate, as Python has for a byte that is no UTF-8) ``UNREADABLE``. Applying it again
    changes nothing.
    """
    # UTF-16 puts surrogates together that belong together, and tells those that do not.
    plain = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    while (simpler := _simplified(plain)) != plain:
        plain = simpler
    return plain


def _simplified(text: str) -> str:
    """Once: what is removed may let its neighbors become one character."""
    composed = unicodedata.normalize("NFKC", text.translate(_TABLE)).translate(_TABLE)
    return "".join(map(_plain, composed)) if not composed.isascii() or not composed.isprintable() else composed


def _plain(character: str) -> str:
    if character in _LINE_ENDS:
        return "\n"
    match unicodedata.category(character):
        case "Cf":
            return ""
        case "Cc" | "Zs":
            return " "
        case "Pd":
            return "-"
    return character
