"""What following ten objects through 300 slices costs: memory, and vision passes. Run with ``make bench``.

Figures of one run stand in docs/performance.md. Nothing is asserted.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from markdown_table import MarkdownTable
from MedSAM3SegmentLib.models.tracking_session import TrackingSession
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, TargetPrompts
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.phantom import make_phantom, tilted_grid
from MedSAM3SegmentLib.volume import Volume

OBJECTS = 10
DEPTHS = (75, 150, 300)


@contextmanager
def watched_sessions(peaks: list[int]) -> Iterator[None]:
    """Append the bytes that a session remembers after every step."""
    original = TrackingSession.step

    def step(self: TrackingSession, *arguments: Any, **options: Any) -> Any:
        found = original(self, *arguments, **options)
        peaks.append(self.memory_bytes)
        return found

    TrackingSession.step = step  # type: ignore[method-assign]
    try:
        yield
    finally:
        TrackingSession.step = original  # type: ignore[method-assign]


def stack_and_prompts(depth: int) -> tuple[Volume, dict[str, TargetPrompts]]:
    """A volume of ``depth`` slices with ten discs through all of it, each drawn on the middle slice."""
    volume = make_phantom(24, tilted_grid((depth, 64, 64), (5.0, 5.0, 300.0 / depth), (0, 0, 0))).volume
    row, column = np.mgrid[:64, :64]
    prompts = {}
    array = volume.array.astype(np.float32)
    for number in range(OBJECTS):
        disc = (row - 20 - 12 * (number // 5)) ** 2 + (column - 12 - 10 * (number % 5)) ** 2 <= 9
        array[:, disc] = array.max()
        mask = np.zeros(array.shape, bool)
        mask[depth // 2] = disc
        prompts[f"disc {number + 1}"] = TargetPrompts(masks=(MaskPromptRAS(mask),), is_phrase=False)
    return Volume(array, volume.grid, volume.modality, f"{depth} slices"), prompts


def main() -> None:
    """Measure and print."""
    segmenter = Segmenter.load("demo", "cpu")
    encoded: list[int] = []
    encode = segmenter.model.encode_images

    def counted(pixels: torch.Tensor) -> Any:
        encoded.append(len(pixels))
        return encode(pixels)

    segmenter.model.encode_images = counted  # type: ignore[method-assign]
    headings = ("slices", "seconds", "vision passes", "slices kept per object", "tracker memory MB", "process MB")
    table = MarkdownTable("propagation", headings, f"{OBJECTS} objects followed from the middle slice, demo model")
    for depth in DEPTHS:
        volume, prompts = stack_and_prompts(depth)
        request = SegmentRequest(tuple(prompts), mode=Mode.FROM_PROMPTS, prompts=prompts)
        peaks: list[int] = []
        encoded.clear()
        started = time.perf_counter()
        with watched_sessions(peaks):
            result = segmenter.segment(volume, request)
        seconds = time.perf_counter() - started
        kept = np.mean([len(track.masks) for concept in result.concepts for track in concept.tracks])
        process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        table.add_row(
            str(depth), f"{seconds:.0f}", str(sum(encoded)), f"{kept:.0f}", f"{max(peaks) / 1e6:.1f}", f"{process:.0f}"
        )
    table.print()


if __name__ == "__main__":
    main()
