"""How much time encoding once saves: ratios measured side by side on this machine. Run with ``make bench``.

Figures of one run stand in docs/performance.md. Nothing is asserted: speed is not what a test is for.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from markdown_table import MarkdownTable
from MedSAM3SegmentLib.assembly.assemble import with_threshold
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.phantom import make_phantom

PHRASES = ("liver", "spleen", "left kidney", "right kidney", "spine", "aorta", "stomach", "tumor")
REPEATS = 3


def median_seconds(work: Callable[[], object]) -> float:
    """Median wall time of a few calls, after one that is not counted."""
    work()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    segmenter = Segmenter.load("demo", "cpu")
    volume = make_phantom(24).volume
    volume.content_hash  # noqa: B018 - computed once, outside of what is measured

    def run(phrases: tuple[str, ...], keep: bool) -> None:
        if not keep:
            segmenter.cache.clear()
        segmenter.segment(volume, SegmentRequest(phrases, plane=Plane.AXIAL))

    def one_by_one() -> None:
        for phrase in PHRASES:
            run((phrase,), keep=False)

    result = segmenter.segment(volume, SegmentRequest(PHRASES, plane=Plane.AXIAL))
    baseline = median_seconds(one_by_one)
    cases: dict[str, Callable[[], object]] = {
        f"{len(PHRASES)} phrases in one request": lambda: run(PHRASES, keep=False),
        "1 phrase, nothing kept": lambda: run(PHRASES[:1], keep=False),
        "1 more phrase, features kept": lambda: run(PHRASES[:1], keep=True),
        f"threshold moved, {len(PHRASES)} concepts": lambda: with_threshold(result, 0.4),
    }
    headings = ("", "seconds", "share of the first row")
    table = MarkdownTable("encode_once", headings, f"{result.stack.count} slices of a phantom, demo model")
    table.add_row(f"{len(PHRASES)} requests of 1 phrase, nothing kept", f"{baseline:.2f}", "1")
    for name, work in cases.items():
        seconds = median_seconds(work)
        table.add_row(name, f"{seconds:.2f}", f"{seconds / baseline:.3f}")
    table.print()


if __name__ == "__main__":
    main()
