"""Whether time and memory grow with the number of slices and no faster. Run with ``make bench``.

The same phantom in stacks of 75, 150 and 300 slices, three concepts on every slice, demo model. Nothing is asserted.
"""

from __future__ import annotations

import resource
import time

from markdown_table import MarkdownTable
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.phantom import make_phantom, tilted_grid

DEPTHS = (75, 150, 300)
CONCEPTS = ("liver", "spleen", "left kidney")


def main() -> None:
    """Measure and print."""
    segmenter = Segmenter.load("demo", "cpu")
    request = SegmentRequest(CONCEPTS, plane=Plane.ACQUIRED)
    segmenter.segment(make_phantom(24, tilted_grid((8, 96, 96), (4.0, 4.0, 8.0), (0, 0, 0))).volume, request)
    headings = ("slices", "CPU seconds", "a slice", "a slice, of the first row's", "process MB")
    table = MarkdownTable("growth", headings, "Three concepts on 96 x 96 pixels, demo model")
    first = 0.0
    for depth in DEPTHS:
        volume = make_phantom(24, tilted_grid((depth, 96, 96), (4.0, 4.0, 300.0 / depth), (0, 0, 0))).volume
        segmenter.cache.clear()
        started = time.process_time()
        segmenter.segment(volume, request)
        seconds = time.process_time() - started
        a_slice = seconds / depth
        first = first or a_slice
        process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        table.add_row(str(depth), f"{seconds:.1f}", f"{a_slice:.3f}", f"{a_slice / first:.2f}", f"{process:.0f}")
    table.print()


if __name__ == "__main__":
    main()
