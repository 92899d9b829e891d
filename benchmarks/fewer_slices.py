"""What is lost and what is saved where not every slice is looked at. Run with ``make bench``.

Phantoms of 2 mm slices, skimmed, and of 1 mm slices, of which one in three is looked at; each compared with looking at
all of them. The organs fill at most 40 % of each stack. Figures stand in docs/performance.md; nothing is asserted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table

from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.slice_saving import SliceSaving
from MedSAM3SegmentLib.synthetic.phantom import Phantom, make_phantom

ORGANS = ("liver", "spleen", "left kidney", "right kidney")
LARGEST_SHARE = 0.4
CASES = {
    "2 mm, skimmed by 8": (2.0, SliceSaving(skim=8)),
    "1 mm, every 3 mm": (1.0, SliceSaving(least_distance_mm=3.0)),
}


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


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many phantoms (default: 20)")
    options = parser.parse_args(argv)
    segmenter = Segmenter.load("demo", "cpu")
    encoded = [0]
    segmenter.model.network.vision_encoder.backbone.register_forward_hook(
        lambda _module, inputs, _output: encoded.__setitem__(0, encoded[0] + inputs[0].shape[0])
    )
    table = Table(title=f"{options.seeds} phantoms")
    for heading in ("what", "encoded, mean and most", "Dice of all slices", "difference, mean and worst", "lost"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for name, (thickness, saving) in CASES.items():
        shares, whole, differences, lost = [], [], [], 0
        for seed in range(7000, 7000 + options.seeds):
            phantom = phantom_of(seed, thickness)
            organs = chosen_organs(phantom)
            if not organs:
                continue
            request = SegmentRequest(organs, plane=Plane.AXIAL)
            segmenter.cache.clear()
            of_all = dice_of(segmenter.segment(phantom.volume, request), phantom)
            segmenter.cache.clear()
            encoded[0] = 0
            of_some = dice_of(segmenter.segment(phantom.volume, replace(request, saving=saving)), phantom)
            shares.append(encoded[0] / phantom.volume.grid.shape[0])
            whole += of_all.values()
            differences += [of_some[organ] - of_all[organ] for organ in organs]
            lost += sum(of_all[organ] > 0 and of_some[organ] == 0 for organ in organs)
        table.add_row(
            name,
            f"{np.mean(shares):.0%}, {max(shares):.0%}",
            f"{np.mean(whole):.3f}",
            f"{np.mean(differences):+.4f}, {min(differences):+.4f}",
            str(lost),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
