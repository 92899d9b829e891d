"""Fixtures for tests of image files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def nothing_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever is read, ITK and its libraries print nothing."""
    capfd.readouterr()
    yield
    assert capfd.readouterr() == ("", "")
