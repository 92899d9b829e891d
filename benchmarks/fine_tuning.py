"""Dice of the slices of a volume that a model was not trained on, for each ``--tune`` of ``medsam3 train``.

    python benchmarks/fine_tuning.py IMAGE LABELS [--tune all,lora] [--seeds 1,2,3] [--leave-out third|block] ...

LABELS is a label map; a ``labels.json`` beside it names its labels. Further options are those of ``medsam3 train``.
Beside each figure stands what no training and what shape interpolation of the same slices give. Figures stand in
docs/training.md; nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.cli.main import main as medsam3
from MedSAM3SegmentLib.evaluation.metrics import dice
from MedSAM3SegmentLib.geometry.shape_interpolation import shape_between
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.volume import Volume

#: By the name in ``labels.json``, as the model is asked.
NAMES = {
    "liver": "liver",
    "spleen": "spleen",
    "kidney_left": "left kidney",
    "kidney_right": "right kidney",
    "aorta": "aorta",
    "stomach": "stomach",
    "colon": "colon",
}


def labelled_slices(depth: int, leave_out: str) -> list[int]:
    """The slices that are trained on: every third, or all but the middle third."""
    if leave_out == "third":
        return list(range(0, depth, 3))
    return [index for index in range(depth) if not depth // 3 <= index < depth - depth // 3]


def interpolated(truth: BoolMask, known: list[int]) -> BoolMask:
    """Shape interpolation between the known slices of ``[slice, row, column]``."""
    mask = np.zeros_like(truth)
    for one, other in pairwise(known):
        shape_at = shape_between(truth[one], truth[other])
        for index in range(one + 1, other):
            mask[index] = shape_at((index - one) / (other - one))
    return mask


def score(source: str, volume: Volume, truths: dict[str, BoolMask], left_out: list[int]) -> list[float]:
    """Dice of each organ over the slices that were left out."""
    result = Segmenter.load(source, "cpu").segment(volume, SegmentRequest(tuple(truths)))
    return [dice(one.mask[left_out], truths[one.concept][left_out]) for one in result.concepts]


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--tune", default="all,lora,detector,slice-adapter")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--leave-out", choices=("third", "block"), default="third")
    parser.add_argument("--steps", default="80")
    parser.add_argument("--baselines", action="store_true", help="no training and shape interpolation, too")
    options, more = parser.parse_known_args()
    volume, labels = read_volume(options.image), read_volume(options.labels)
    known = json.loads((options.labels.parent / "labels.json").read_text())
    values = {NAMES[entry["name"]]: int(value) for value, entry in known.items() if entry["name"] in NAMES}
    truths = {name: np.asarray(labels.array == value) for name, value in values.items()}
    shown = labelled_slices(volume.grid.shape[0], options.leave_out)
    left_out = sorted(set(range(volume.grid.shape[0])) - set(shown))

    def say(label: str, scores: list[float], more: str = "") -> None:
        organs = " ".join(f"{name} {value:.2f}" for name, value in zip(truths, scores, strict=True))
        print(f"{options.leave_out} | {label} | {np.mean(scores):.3f} | {more} | {organs}", flush=True)

    if options.baselines:
        say("no training", score("demo", volume, truths, left_out))
        between = {name: interpolated(truth, shown) for name, truth in truths.items()}
        say("shape interpolation", [dice(between[name][left_out], truths[name][left_out]) for name in truths])
    for seed in filter(None, options.seeds.split(",")):
        for tune in options.tune.split(","):
            with tempfile.TemporaryDirectory() as folder:
                manifest, output = Path(folder) / "cases.json", Path(folder) / "trained"
                case = {
                    "image": str(options.image.resolve()),
                    "labels": str(options.labels.resolve()),
                    "concepts": {name: [value] for name, value in values.items()},
                    "labelled_slices": shown,
                }
                manifest.write_text(json.dumps({"cases": [case]}))
                words = ["train", "--data", str(manifest), "--base", "demo", "--tune", tune, "--output", str(output)]
                started = time.process_time()
                if medsam3([*words, "--steps", options.steps, "--seed", seed, *more]) != 0:
                    raise SystemExit("The training failed.")
                seconds = time.process_time() - started
                weights = max(output.glob("*.safetensors"), key=lambda file: file.stat().st_size)
                size = weights.stat().st_size / 1e6
                say(
                    f"{tune}, seed {seed}",
                    score(str(output), volume, truths, left_out),
                    f"{seconds:.0f} CPU s, {size:.2f} MB",
                )


if __name__ == "__main__":
    main()
