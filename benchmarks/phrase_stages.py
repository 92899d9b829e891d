"""What a slice and a phrase cost full-size SAM 3 on a CPU, as transformers computes them and as they are computed here.

Random weights; the stages in alternation, as CPU seconds. Takes minutes. Run with ``make bench``; figures stand in
docs/performance.md, and nothing is asserted. ``full_size.py`` measures whole passes, the image encoder included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from transformers import Sam3Config, Sam3Model

from markdown_table import MarkdownTable, place_of
from MedSAM3SegmentLib.checkpoints.build import empty_network, fill_network
from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.models.detector import BoxPrompts, Sam3Detector, TextFeatures, VisionFeatures
from MedSAM3SegmentLib.models.network.detection_stages import detect_whole

TOKENS, CHANNELS, WIDTH, WORDS = 72 * 72, 1024, 256, 5
ROUNDS = 2


def full_size(dtype: torch.dtype, config: Sam3Config | None = None) -> Sam3Detector:
    """SAM 3 with random weights, of its own size or as ``config`` says."""
    network = empty_network(Sam3Model, config or Sam3Config())
    generator = torch.Generator().manual_seed(1)

    def weights() -> Iterator[tuple[str, torch.Tensor]]:
        for name, value in network.state_dict().items():
            if "norm" in name and name.endswith("weight"):
                yield name, torch.ones(value.shape)
            else:
                yield name, torch.empty(value.shape).normal_(std=0.02, generator=generator)

    fill_network(network, weights(), Path("random weights"), dtype=dtype)
    return Sam3Detector(network, None, ModelCard("random weights"))


@torch.inference_mode()
def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
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
    pixels = torch.randn(1, 3, model.image_size, model.image_size, generator=generator).to(dtype)
    whole_slice, whole_phrase = "image encoder as transformers computes it", "a phrase as transformers computes it"
    stages: dict[str, Callable[[], object]] = {
        whole_slice: lambda: model.network.vision_encoder.backbone(pixels),
        "image encoder": lambda: model.encode_images(pixels),
        "neck": lambda: model.build_pyramid(vision),
        whole_phrase: lambda: detect_whole(model.network, pyramid, phrase, boxes),
        "what is shared, once for a slice": lambda: model.share_stages(pyramid),
        "a phrase on what is shared": lambda: model.detect(shared, phrase),
    }
    seconds: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(ROUNDS):
        for name, work in stages.items():
            started = time.process_time()
            work()
            seconds[name].append(time.process_time() - started)
    headings = ("", "seconds", "share of what transformers takes for a slice", "for a phrase")
    about = f"CPU seconds, {options.dtype}, {torch.get_num_threads()} threads"
    table = MarkdownTable(place_of("phrase_stages", dtype), headings, about)
    of_slice, of_phrase = min(seconds[whole_slice]), min(seconds[whole_phrase])
    for name, times in seconds.items():
        shares = (f"{min(times) / whole:.2f}" for whole in (of_slice, of_phrase))
        table.add_row(name, ", ".join(f"{each:.2f}" for each in times), *shares)
    table.print()


if __name__ == "__main__":
    main()
