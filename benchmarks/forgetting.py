"""What learning a second task takes from the first: an adapter for each, or one that is continued.

Task 1 are phantoms, task 2 is a real volume with a label map, of which every third slice is learnt from:

    python benchmarks/forgetting.py FOLDER first
    python benchmarks/forgetting.py FOLDER apart|replay|alone ct.nii.gz labels.nii.gz --label liver=5 --label spleen=1

``first`` learns the phantoms into an adapter, in a store of its own in FOLDER. ``apart`` learns the volume into another
adapter; ``replay`` continues a copy of the first one with its replay buffer, ``alone`` without. Each says Dice on
phantoms and on slices of the volume that none of them learnt from. Figures stand in docs/learn.md; nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from MedSAM3SegmentLib.datasets.findings import Findings
from MedSAM3SegmentLib.datasets.label_files import values_by_concept
from MedSAM3SegmentLib.datasets.labelled_case import LabelledDataset
from MedSAM3SegmentLib.datasets.segmented_volumes import SegmentedFile, SegmentedVolume, segmented_dataset
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.model_store.store import STORE_VARIABLE
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.synthetic.phantom import make_phantom, tilted_grid
from MedSAM3SegmentLib.training.dataset import LabelledStack, read_stacks
from MedSAM3SegmentLib.training.fine_tuning.tuning import Tune
from MedSAM3SegmentLib.training.fine_tuning.validation import validate
from MedSAM3SegmentLib.training.learning.learn import LearnOptions, learn

LEARNT_PHANTOMS = range(8800, 8802)
TEST_PHANTOMS = range(8900, 8902)
GRID = tilted_grid((14, 112, 112), (3.4, 3.4, 14.0))
ORGANS = ("liver", "spleen", "left kidney", "right kidney", "aorta")


def phantoms() -> LabelledDataset:
    """Phantoms to learn from, all of whose slices are labelled."""
    return segmented_dataset([of_phantom(seed) for seed in LEARNT_PHANTOMS], Findings())


def of_phantom(seed: int) -> SegmentedVolume:
    """The organs of a phantom, all of whose slices are labelled."""
    phantom = make_phantom(seed, GRID)
    return SegmentedVolume(phantom.volume, {name: phantom.masks[name] for name in ORGANS}, "all", Plane.AXIAL)


def slices_of(options: argparse.Namespace, wanted: Sequence[int]) -> LabelledDataset:
    """Some slices of the real volume."""
    pair = SegmentedFile(options.image, options.labels)
    return segmented_dataset([pair], Findings(), values_by_concept(options.label), labelled_slices=frozenset(wanted))


def main(argv: Sequence[str] | None = None) -> None:
    """Learn and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=("first", "apart", "replay", "alone"))
    parser.add_argument("image", type=Path, nargs="?")
    parser.add_argument("labels", type=Path, nargs="?")
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--tune", choices=("lora", "detector"), default="lora")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    first, store = options.folder / "first", options.folder / options.what
    if options.what != "first":
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(first, store)
    os.environ[STORE_VARIABLE] = str(store)
    # Whatever comes out is looked at.
    usual = {
        "steps": options.steps,
        "seed": options.seed,
        "least_gain": -1.0,
        "margin": 1.0,
        "tune": Tune(options.tune),
    }
    started = time.process_time()
    tested: dict[str, list[LabelledStack]] = {
        "phantoms": list(read_stacks(segmented_dataset([of_phantom(seed) for seed in TEST_PHANTOMS], Findings())))
    }
    if options.what == "first":
        outcome = learn(phantoms(), LearnOptions("phantoms", "demo", **{**usual, "steps": options.steps // 8}))
        models = ["phantoms"]
    else:
        count = SliceStack.along(read_volume(options.image).grid).count
        learnt = range(0, count, 3)
        rest = [index for index in range(count) if index not in learnt]
        tested["volume"] = list(read_stacks(slices_of(options, rest)))
        how = LearnOptions("volume", "demo", **usual)
        if options.what != "apart":
            share = 0.5 if options.what == "replay" else 0.0
            how = LearnOptions("phantoms", continues=True, replay_share=share, **usual)
        outcome = learn(slices_of(options, learnt), how)
        models = ["phantoms", "volume"] if options.what == "apart" else ["phantoms"]
    print(f"{options.what}: {outcome.reason} ({time.process_time() - started:.0f} CPU s)")
    for task in outcome.tasks:
        print(f"  {task.name}: {task.before.figures} -> {task.after.figures} on {task.held_out} slices")
    for name in models:
        model = load_model(name, "cpu", dtype="float32")
        figures = {of: validate(model, stacks, model.card).figures for of, stacks in tested.items()}
        print(f"  with {name}: {figures}")
        if model.adapters is not None and model.adapters.active is not None and options.what == "apart":
            model.adapters.merge(None)
            print(f"  {name} off: {validate(model, tested['phantoms'], model.card).figures}")


if __name__ == "__main__":
    main()
