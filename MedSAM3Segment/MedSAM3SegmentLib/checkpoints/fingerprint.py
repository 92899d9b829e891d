"""Hashes that say which weights ran."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_sha256(hashes: Mapping[Path, str]) -> str:
    """The hash of one file, or of the hashes of several (shards) in order of their names."""
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256("".join(hashes[path] for path in sorted(hashes)).encode()).hexdigest()
