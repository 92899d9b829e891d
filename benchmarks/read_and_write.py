"""How long segmentations take to write and to read. Run with ``make bench``.

512 x 512 x 300 voxels, five organs. Figures stand in docs/performance.md; nothing is asserted.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from markdown_table import MarkdownTable
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.io.segmentation import read_segmentation, write_segmentation

SHAPE = (300, 512, 512)
#: Middle and radius of each organ in voxels.
BALLS = (
    ((150, 200, 200), 90),
    ((120, 300, 330), 70),
    ((200, 350, 150), 50),
    ((90, 150, 380), 45),
    ((220, 250, 300), 30),
)
REPEATS = 3


def least_seconds(work: Callable[[], object]) -> float:
    """Least processor time of a few calls."""
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def main() -> None:
    """Measure and print."""
    k, j, i = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    segments = []
    for number, ((z, y, x), radius) in enumerate(BALLS, start=1):
        mask = np.asarray((k - z) ** 2 + (j - y) ** 2 + (i - x) ** 2 < radius**2)
        segments.append(Segment(f"organ {number}", mask, (1.0, 0.5, 0.5)))
    grid = VoxelGrid(SHAPE, np.diag([-0.8, -0.8, 1.0, 1.0]))
    table = MarkdownTable("read_and_write", ("", "write", "read", "MB"), "CPU seconds")
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".seg.nrrd", ".nii.gz"):
            path = Path(folder) / f"segments{suffix}"
            write = least_seconds(lambda path=path: write_segmentation(path, segments, grid, {}))
            read = least_seconds(lambda path=path: read_segmentation(path))
            table.add_row(f"`{suffix}`", f"{write:.2f}", f"{read:.2f}", f"{path.stat().st_size / 1e6:.1f}")
    table.print()


if __name__ == "__main__":
    main()
