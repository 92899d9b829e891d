"""How often the right adapter is picked: of phantoms, of real CT, or none for other images.

    python benchmarks/pick_adapter.py --ct ct1.nii.gz ct2 --other mr.nii.gz picture.png ...

The adapter of CT has seen every second slice of the CT volumes given, that of phantoms twenty phantoms. Neither is
trained, since only their summaries are asked. Then twenty new phantoms, twenty slabs of the CT volumes, cropped,
scaled in intensity and with noise, and up to four slabs of each other image are looked at. Figures stand in
docs/learn.md; nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from MedSAM3SegmentLib.adapters.image_summary import SUMMARY_FILE
from MedSAM3SegmentLib.checkpoints.lora import PEFT_CONFIG
from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.features.pick_adapter import pick_adapter
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.model_store.store import STORE_VARIABLE
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.synthetic.phantom import make_phantom, random_grid
from MedSAM3SegmentLib.training.batches import BatchPlan
from MedSAM3SegmentLib.training.dataset import LabelledStack, stack_with_labels
from MedSAM3SegmentLib.training.fine_tuning.fine_tune import network_sizes
from MedSAM3SegmentLib.training.fine_tuning.summarize_pictures import summarize_pictures
from MedSAM3SegmentLib.volume import Volume

LEARNT_PHANTOMS = range(7700, 7720)
NEW_PHANTOMS = range(7800, 7820)
SLABS = 20
MOST_SLABS = 4


def phantom(seed: int) -> Volume:
    """A phantom with thick slices, on a grid of its own."""
    grid = random_grid(np.random.default_rng([seed, 3]), thickness_mm=(8.0, 12.0))
    return replace(make_phantom(seed, grid).volume, modality="")


def every_second_slice(volume: Volume) -> LabelledStack:
    slices = frozenset(range(0, volume.grid.shape[0], 2))
    return stack_with_labels(volume, {"liver": np.ones(volume.grid.shape, bool)}, labelled_slices=slices)


def slab(volume: Volume, rng: np.random.Generator, crop: float) -> Volume:
    """A part of a volume: 4 slices or more, and at least ``crop`` of both edges."""
    counts = [
        max(min(4, n), round(n * rng.uniform(low, 1)))
        for n, low in zip(volume.grid.shape, (0.2, crop, crop), strict=True)
    ]
    first = [int(rng.integers(0, n - count + 1)) for n, count in zip(volume.grid.shape, counts, strict=True)]
    part = tuple(slice(start, start + count) for start, count in zip(first, counts, strict=True))
    ijk_to_ras = volume.grid.ijk_to_ras.copy()
    ijk_to_ras[:3, 3] = volume.grid.to_ras(np.array([first[::-1]], np.float64))[0]
    array = np.ascontiguousarray(volume.array[part])
    return replace(volume, array=array, grid=VoxelGrid(array.shape[:3], ijk_to_ras), modality="")


def with_noise(volume: Volume, rng: np.random.Generator) -> Volume:
    array = volume.array * rng.uniform(0.95, 1.05) + rng.normal(0, rng.uniform(0, 15), volume.array.shape)
    return replace(volume, array=array.astype(np.int16))


def volumes(options: argparse.Namespace) -> Iterator[tuple[str, str, Volume]]:
    """What is right, a name, and the volume."""
    rng = np.random.default_rng(options.seed)
    for seed in NEW_PHANTOMS:
        yield "phantoms", str(seed), phantom(seed)
    scans = [read_volume(path) for path in options.ct]
    for number in range(SLABS):
        yield "ct", f"slab {number}", with_noise(slab(scans[number % len(scans)], rng, 0.85), rng)
    for path in options.other:
        image = read_volume(path)
        many = MOST_SLABS if image.grid.shape[0] > 1 else 1
        for number in range(many):
            yield "none", f"{path.name} {number}", slab(image, rng, 0.85) if many > 1 else replace(image, modality="")


def main(argv: Sequence[str] | None = None) -> None:
    """Pick and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ct", type=Path, nargs="+", required=True)
    parser.add_argument("--other", type=Path, nargs="*", default=[])
    parser.add_argument("--base", default="demo")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    model = load_model(options.base, "cpu")
    learnt = {
        "phantoms": [
            stack_with_labels(one, {"liver": np.ones(one.grid.shape, bool)}, Plane.AXIAL)
            for one in map(phantom, LEARNT_PHANTOMS)
        ],
        "ct": [every_second_slice(read_volume(path)) for path in options.ct],
    }
    with tempfile.TemporaryDirectory() as store:
        os.environ[STORE_VARIABLE] = store
        for name, stacks in learnt.items():
            folder = Path(store) / name
            folder.mkdir()
            (folder / PEFT_CONFIG).write_text(json.dumps({}))
            ModelCard(name, base=options.base, concepts=("liver",)).save(folder)
            summary = summarize_pictures(model, stacks, BatchPlan(), network_sizes(model), options.seed)
            assert summary is not None
            (folder / SUMMARY_FILE).write_text(summary.to_text())
        right, total = Counter[str](), Counter[str]()
        for wanted, name, volume in volumes(options):
            choice = pick_adapter(volume, ["liver"], "cpu", load=lambda _base, _device: model)
            found = choice.adapter or "none"
            right[wanted] += found == wanted
            total[wanted] += 1
            distances = ", ".join(f"{fit.name} {fit.distance:.2f}" for fit in choice.fits)
            print(f"{'' if found == wanted else 'WRONG '}{wanted} {name}: {found} ({distances})", flush=True)
    print(", ".join(f"{wanted}: {right[wanted]} of {total[wanted]} right" for wanted in total))


if __name__ == "__main__":
    main()
