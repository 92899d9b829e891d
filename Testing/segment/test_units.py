"""Sizes as people read them."""

from __future__ import annotations

import pytest

from MedSAM3SegmentLib.units import format_bytes


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 MB"),
        (11_600_000, "12 MB"),
        (499_000_000, "499 MB"),
        (499_900_000, "0.5 GB"),
        (3_440_000_000, "3.4 GB"),
        (24 * 1024**3, "25.8 GB"),
    ],
)
def test_a_size_is_in_the_units_of_disks_and_downloads(count: int, words: str) -> None:
    assert format_bytes(count) == words
