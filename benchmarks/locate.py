"""How well template scans say where organs lie, on phantoms: ends, absent organs, slices that need not be encoded.

    python benchmarks/locate.py --volumes 20 --templates 2 --contrast CT

Volumes and templates are different patients with grids of their own. An organ counts as found when both its first and
its last slice, before any margin, are at most one slice from the truth. With ``--field-of-view`` each volume is cut to
a part of its slices and put elsewhere in the scanner, so that whole organs lie outside.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.localization.locate import locate_structures
from MedSAM3SegmentLib.prompts.examples import Example
from MedSAM3SegmentLib.synthetic.phantom import ORGANS, Contrast, Phantom, make_phantom
from MedSAM3SegmentLib.volume import Volume

#: A third of a volume, give or take.
_THIRD = (0.25, 0.42)


def main() -> None:
    """Print one line of the table of docs/examples.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=20)
    parser.add_argument("--templates", type=int, default=2)
    parser.add_argument("--contrast", choices=[contrast.value for contrast in Contrast], default="CT")
    parser.add_argument("--seed", type=int, default=940000)
    parser.add_argument("--field-of-view", action="store_true", help="cut each volume to a part of its slices")
    options = parser.parse_args()
    contrast = Contrast(options.contrast)
    ends: list[bool] = []
    contained: list[bool] = []
    absent: list[bool] = []
    shares: list[float] = []
    unknown = 0
    for number in range(options.volumes):
        target = make_phantom(options.seed + number, contrast=contrast)
        shown = [
            make_phantom(options.seed + 5000 + number + 1000 * n, contrast=contrast) for n in range(options.templates)
        ]
        templates = {
            name: [Example(one.volume, one.masks[name]) for one in shown if one.masks[name].any()] for name in ORGANS
        }
        volume, masks = _cut(target, number) if options.field_of_view else (target.volume, dict(target.masks))
        places = locate_structures(volume, {name: examples for name, examples in templates.items() if examples})
        for name, place in places.items():
            there = np.flatnonzero(masks[name].any(axis=(1, 2)))
            if not there.size:
                absent.append(not place.is_searched)
                continue
            unknown += place.is_searched and place.box is None
            box, tight = (None, None) if place.box is None or place.tight is None else (place.box[0], place.tight[0])
            ends.append(tight is not None and max(abs(tight[0] - there[0]), abs(tight[1] - 1 - there[-1])) <= 1)
            whole = place.is_searched and box is None
            contained.append(whole or (box is not None and box[0] <= there[0] and box[1] > there[-1]))
            if _THIRD[0] <= there.size / volume.grid.shape[0] <= _THIRD[1] and place.is_searched:
                shares.append(1.0 if box is None else (box[1] - box[0]) / volume.grid.shape[0])
    print(f"{options.contrast}, {options.templates} templates, {options.volumes} volumes from seed {options.seed}")
    print(f"both ends within one slice: {np.mean(ends):.2f} of {len(ends)}; contained: {np.mean(contained):.2f}")
    print(f"templates not believed, all searched: {unknown}")
    if absent:
        print(f"absent said to be absent: {np.mean(absent):.2f} of {len(absent)}")
    if shares:
        print(f"slices encoded of organs that span about a third: {np.mean(shares):.2f} of all ({len(shares)} organs)")


def _cut(phantom: Phantom, seed: int) -> tuple[Volume, dict[str, BoolMask]]:
    """A third to a half of a phantom's slices, at another place of the scanner."""
    rng = np.random.default_rng(seed)
    count = phantom.volume.grid.shape[0]
    first = int(count * rng.uniform(0, 0.5))
    end = first + int(count * rng.uniform(0.35, 0.5))
    matrix = phantom.volume.grid.ijk_to_ras.copy()
    matrix[:3, 3] = phantom.volume.grid.to_ras(np.array([0.0, 0.0, first])) + np.array([30.0, -20.0, 400.0])
    grid = VoxelGrid((end - first, *phantom.volume.grid.shape[1:]), matrix)
    volume = replace(phantom.volume, array=phantom.volume.array[first:end], grid=grid)
    return volume, {name: mask[first:end] for name, mask in phantom.masks.items()}


if __name__ == "__main__":
    main()
