"""What a phrase costs on an encoded slice of full-size SAM 3, as transformers computes it and with what is shared.

Random weights; the stages in alternation, as CPU seconds. Takes minutes. Run with ``make bench``; figures stand in
docs/performance.md, and nothing is asserted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import torch
from rich.console import Console
from rich.table import Table
from transformers import Sam3Config, Sam3Model

from MedSAM3SegmentLib.checkpoints.build import empty_network
from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.models.detection_stages import detect_whole
from MedSAM3SegmentLib.models.detector import BoxPrompts, Sam3Detector, TextFeatures, VisionFeatures

TOKENS, CHANNELS, WIDTH, WORDS = 72 * 72, 1024, 256, 5
ROUNDS = 2


def full_size(dtype: torch.dtype) -> Sam3Detector:
    """SAM 3 with random weights."""
    network = empty_network(Sam3Model, Sam3Config()).to_empty(device="cpu").to(dtype)
    generator = torch.Generator().manual_seed(1)
    for name, value in network.named_parameters():
        if "norm" in name and name.endswith("weight"):
            value.data.fill_(1.0)
        else:
            value.data.normal_(std=0.02, generator=generator)
    return Sam3Detector(network.eval(), None, ModelCard("random weights"))


@torch.inference_mode()
def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--encoder", action="store_true", help="time the image encoder, too, which takes long")
    options = parser.parse_args(argv)
    dtype: torch.dtype = getattr(torch, options.dtype)
    model = full_size(dtype)
    generator = torch.Generator().manual_seed(2)
    vision = VisionFeatures(torch.randn(1, TOKENS, CHANNELS, generator=generator).to(dtype))
    words = torch.randn(1, WORDS, WIDTH, generator=generator).to(dtype)
    phrase = TextFeatures(words, torch.ones(1, WORDS, dtype=torch.bool))
    pyramid = model.build_pyramid(vision)
    shared = model.share_stages(pyramid)
    boxes = BoxPrompts(BoxPrompts.none(1).boxes.to(dtype), BoxPrompts.none(1).labels)
    stages: dict[str, Callable[[], object]] = {
        "neck": lambda: model.build_pyramid(vision),
        "a phrase as transformers computes it": lambda: detect_whole(model.network, pyramid, phrase, boxes),
        "what is shared, once for a slice": lambda: model.share_stages(pyramid),
        "a phrase on what is shared": lambda: model.detect(shared, phrase),
    }
    if options.encoder:
        pixels = torch.zeros(1, 3, model.image_size, model.image_size)
        stages["image encoder"] = lambda: model.encode_images(pixels)
    seconds: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(ROUNDS):
        for name, work in stages.items():
            started = time.process_time()
            work()
            seconds[name].append(time.process_time() - started)
    table = Table(title=f"full-size SAM 3, {options.dtype}, {torch.get_num_threads()} threads, CPU seconds")
    table.add_column("what")
    table.add_column("seconds", justify="right")
    table.add_column("share of a whole phrase", justify="right")
    whole = min(seconds["a phrase as transformers computes it"])
    for name, times in seconds.items():
        table.add_row(name, ", ".join(f"{each:.2f}" for each in times), f"{min(times) / whole:.2f}")
    if options.encoder:
        least = {name: min(times) for name, times in seconds.items()}
        loop = least["image encoder"] + least["neck"] + whole
        ours = least["image encoder"] + least["neck"] + least["what is shared, once for a slice"]
        five = 5 * loop / (ours + 5 * least["a phrase on what is shared"])
        table.add_row("five phrases, times as fast as five whole passes", f"{five:.2f}", "")
    Console().print(table)


if __name__ == "__main__":
    main()
