"""Bytes in words, the same in the shell, the panel and messages."""

from __future__ import annotations


def size_in_words(count: int) -> str:
    """Bytes as ``12 MB`` or ``1.5 GB``; of a thousand, as disks and downloads are labelled."""
    megabytes = round(count / 1e6)
    return f"{count / 1e9:.1f} GB" if megabytes >= 500 else f"{megabytes} MB"
