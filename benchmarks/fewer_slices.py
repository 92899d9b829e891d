"""What is lost and what is saved where not every slice is looked at. Run with ``make bench``.

Phantoms of 2 mm slices, skimmed, and of 1 mm slices, of which one in three is looked at; each compared with looking at
all of them. The organs fill at most 40 % of each stack. Takes about a quarter of an hour of CPU time; with ``--record``
what is measured is kept phantom by phantom, and another call goes on where the last one ended. Figures stand in
docs/performance.md; nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from markdown_table import MarkdownTable
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.slice_saving import SliceSaving
from MedSAM3SegmentLib.synthetic.phantom import Phantom, make_phantom

ORGANS = ("liver", "spleen", "left kidney", "right kidney")
LARGEST_SHARE = 0.4
FIRST_SEED = 7000


@dataclass(frozen=True)
class Case:
    """One way to save slices, and on how many phantoms of which slices it is tried."""

    name: str
    thickness_mm: float
    saving: SliceSaving
    phantoms: int


CASES = (
    Case("2 mm, skimmed by 10", 2.0, SliceSaving(skim=10), 20),
    Case("1 mm, every 3 mm", 1.0, SliceSaving(least_distance_mm=3.0), 6),
)


@dataclass(frozen=True)
class Measurement:
    """One phantom: the share of its slices that were encoded, and Dice of all and of some slices by organ."""

    case: str
    seed: int
    encoded: float
    of_all: dict[str, float]
    of_some: dict[str, float]


def phantom_of(seed: int, thickness_mm: float) -> Phantom:
    """A phantom without tilt, 400 mm along the stack, 128 x 128 pixels of 3 mm."""
    count = round(400 / thickness_mm)
    ijk_to_ras = np.diag([-3.0, -3.0, thickness_mm, 1.0])
    ijk_to_ras[:3, 3] = 192.0, 192.0, -200.0
    return make_phantom(seed, VoxelGrid((count, 128, 128), ijk_to_ras))


def chosen_organs(phantom: Phantom) -> tuple[str, ...]:
    """As many of ``ORGANS`` as there are and as fit into ``LARGEST_SHARE`` of the stack together."""
    chosen: tuple[str, ...] = ()
    for organ in ORGANS:
        some = (*chosen, organ)
        filled = np.any([phantom.masks[name].any(axis=(1, 2)) for name in some], axis=0)
        if phantom.masks[organ].any() and filled.mean() <= LARGEST_SHARE:
            chosen = some
    return chosen


def dice_of(result: SegmentResult, phantom: Phantom) -> dict[str, float]:
    """Dice by concept."""
    found = {}
    for concept in result.concepts:
        truth = phantom.masks[concept.concept]
        both = np.count_nonzero(truth & concept.mask)
        found[concept.concept] = 2 * both / (np.count_nonzero(truth) + np.count_nonzero(concept.mask))
    return found


def measure(segmenter: Segmenter, encoded: list[int], case: Case, seed: int) -> Measurement:
    """Segment one phantom with and without the slices that are saved; features of the first serve the second."""
    phantom = phantom_of(seed, case.thickness_mm)
    organs = chosen_organs(phantom)
    if not organs:
        return Measurement(case.name, seed, 0.0, {}, {})
    request = SegmentRequest(organs, plane=Plane.AXIAL)
    segmenter.cache.clear()
    encoded[0] = 0
    of_some = dice_of(segmenter.segment(phantom.volume, replace(request, saving=case.saving)), phantom)
    share = encoded[0] / phantom.volume.grid.shape[0]
    of_all = dice_of(segmenter.segment(phantom.volume, request), phantom)
    return Measurement(case.name, seed, share, of_all, of_some)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, help="keep what is measured in this file and go on from there")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no phantom after so long")
    options = parser.parse_args(argv)
    done: list[Measurement] = []
    if options.record is not None and options.record.is_file():
        done = [Measurement(**json.loads(line)) for line in options.record.read_text().splitlines()]
    known = {(one.case, one.seed) for one in done}
    segmenter = Segmenter.load("demo", "cpu")
    encoded = [0]
    segmenter.model.network.vision_encoder.backbone.embeddings.register_forward_hook(
        lambda _module, inputs, _output: encoded.__setitem__(0, encoded[0] + inputs[0].shape[0])
    )
    end = time.monotonic() + 60 * options.minutes
    for case in CASES:
        for seed in range(FIRST_SEED, FIRST_SEED + case.phantoms):
            if (case.name, seed) in known or time.monotonic() > end:
                continue
            done.append(measure(segmenter, encoded, case, seed))
            if options.record is not None:
                with options.record.open("a") as file:
                    file.write(json.dumps(asdict(done[-1])) + "\n")
    print_table(done)


def print_table(done: Sequence[Measurement]) -> None:
    """One row for each case."""
    headings = ("", "phantoms", "encoded, mean and most", "Dice of all slices", "difference, mean and worst", "lost")
    table = MarkdownTable("fewer_slices", headings, "Demo model")
    for case in CASES:
        measured = [one for one in done if one.case == case.name and one.of_all]
        if not measured:
            continue
        shares = [one.encoded for one in measured]
        pairs = [(one.of_all[organ], one.of_some[organ]) for one in measured for organ in one.of_all]
        differences = [some - whole for whole, some in pairs]
        table.add_row(
            case.name,
            str(len(measured)),
            f"{np.mean(shares):.1%}, {max(shares):.1%}",
            f"{np.mean([whole for whole, _ in pairs]):.3f}",
            f"{np.mean(differences):+.4f}, {min(differences):+.4f}",
            str(sum(whole > 0 and some == 0 for whole, some in pairs)),
        )
    table.print()


if __name__ == "__main__":
    main()
