"""Fixtures of the fake Slicer, for the folders whose tests open panels or effects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A Slicer for panels and effects; see ``fake_slicer``. Fails a test that leaves an error nobody was told of."""
    from fake_slicer import open_bench

    with open_bench(monkeypatch, tmp_path) as opened:
        yield opened
        left, log_lines = list(opened.slot_errors), list(opened.log_lines)
    if left:
        raise left[0]
    assert log_lines == [], "Slicer's error log stays empty"


@pytest.fixture
def letters() -> Iterator[None]:
    """Letters of the size that Slicer has; the bench's own are smaller."""
    from PySide6.QtGui import QFont
    from PySide6.QtWidgets import QApplication

    before = QApplication.font()
    QApplication.setFont(QFont(before.family(), 10))
    yield
    QApplication.setFont(before)
