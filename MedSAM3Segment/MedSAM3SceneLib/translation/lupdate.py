"""What Qt's lupdate has to see where sentences are listed."""

from __future__ import annotations


def QT_TRANSLATE_NOOP(_context: str, text: str) -> str:
    """Mark a text for Qt's lupdate, which knows the call by this name and reads literals only."""
    return text
