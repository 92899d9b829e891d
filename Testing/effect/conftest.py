"""Fixtures for tests of the Segment Editor effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.slicer_fixtures import bench, letters

__all__ = ["bench", "letters"]


@pytest.fixture
def no_view_is_left(scene: Any) -> Iterator[None]:
    """Slice nodes are singletons, which survive when the scene is cleared."""
    from support.nodes import remove_slice_views

    yield
    remove_slice_views(scene)
