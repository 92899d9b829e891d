"""Where the repository and its tests lie."""

from __future__ import annotations

from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
ROOT = TESTING.parent
