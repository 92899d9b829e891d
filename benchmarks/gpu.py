"""What a GPU makes of full-size SAM 3: slices a second, what a phrase adds, a whole run, and memory.

Random weights in bfloat16, each part by itself and as ``--cuda-graphs`` has it. It was written without a GPU at hand;
``--model demo --device cpu`` tries the script. Prints a table, and asserts nothing.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from full_size import phrases_as_numbers
from markdown_table import MarkdownTable
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.models.detector import Sam3Detector, TextFeatures
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.models.network.graph_replay import GraphReplay
from MedSAM3SegmentLib.models.threads import threads_for
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.volume import Volume
from phrase_stages import full_size

BATCH, WORDS = 8, 6
PHRASES = ("liver", "spleen", "left kidney", "right kidney", "aorta")


def seconds_of(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    """By the clock for one call, after three that load and record."""
    for _ in range(3):
        work()
    synchronize(device)
    started = time.perf_counter()
    for _ in range(rounds):
        work()
    synchronize(device)
    return (time.perf_counter() - started) / rounds


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has computed what was queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def allocated(device: torch.device) -> int:
    """Bytes that tensors take on a GPU; 0 elsewhere."""
    gc.collect()
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def load(name: str, device: str) -> Sam3Detector:
    """A model by name, or full-size SAM 3 with random weights that reads any words as the same numbers."""
    if name != "full-size":
        return load_model(name, device)
    random = full_size(torch.bfloat16)
    model = Sam3Detector(random.network, None, random.card, device)

    def tokenize(phrases: Sequence[str]) -> dict[str, torch.Tensor]:
        ids, mask = phrases_as_numbers(WORDS)
        return {"input_ids": ids[: len(phrases)].to(device), "attention_mask": mask[: len(phrases)].to(device)}

    model.tokenize = tokenize  # type: ignore[method-assign]
    return model


def detect_all(model: Sam3Detector, pixels: torch.Tensor, texts: TextFeatures) -> None:
    """The bare network: every slice through the encoder once, every phrase on each."""
    for start in range(0, len(pixels), BATCH):
        batch = pixels[start : start + BATCH]
        shared = model.share_stages(model.build_pyramid(model.encode_images(batch)))
        for number in range(len(texts.attention_mask)):
            model.detect(shared, texts[number : number + 1].repeat(len(batch)))


def noise_volume(slices: int) -> Volume:
    """Noise of the size of an abdominal CT."""
    array = np.random.default_rng(0).integers(-200, 300, (slices, 512, 512), dtype=np.int16)
    return Volume(array, VoxelGrid(array.shape, np.diag([0.8, 0.8, 3.0, 1.0])), "CT", "noise")


def measure(model: Sam3Detector, rounds: int, slices: int) -> dict[str, str]:
    """What the model takes as it is set up, by what was measured."""
    device, size = model.device, model.image_size
    pixels = torch.rand(BATCH, 3, size, size, device=device).mul_(2).sub_(1).to(model.network.dtype)
    many = pixels.repeat(-(-slices // BATCH), 1, 1, 1)[:slices]
    texts = model.encode_phrases(PHRASES)
    shared = model.share_stages(model.build_pyramid(model.encode_images(pixels)))
    on_one = model.share_stages(model.build_pyramid(model.encode_images(pixels[:1]))).repeat_each(len(PHRASES))
    volume, request = noise_volume(slices), SegmentRequest(PHRASES, threshold=0.99, window=Window.preset("soft-tissue"))

    encoder = seconds_of(lambda: model.encode_images(pixels), device, rounds)
    phrase = seconds_of(lambda: model.detect(shared, texts[:1].repeat(BATCH)), device, rounds)
    phrases = seconds_of(lambda: model.detect(on_one, texts), device, rounds)
    bare = seconds_of(lambda: detect_all(model, many, texts), device, 1)
    # A new segmenter each time: one that keeps features has nothing left to do.
    whole = seconds_of(lambda: Segmenter(model).segment(volume, request), device, 1)
    given_up = model.graphs.given_up if model.graphs is not None else None
    return {
        "encoder, slices a second (goal: 60 on an H200, 45 on an H100)": f"{BATCH / encoder:.1f}",
        "a phrase on a batch, ms a slice": f"{1000 * phrase / BATCH:.2f}",
        f"{len(PHRASES)} phrases on one slice, ms": f"{1000 * phrases:.2f}",
        f"a run of {slices} slices, times the bare network (goal: 1.05)": f"{whole / bare:.3f}",
        "graphs given up": str(given_up or "no"),
    }


@torch.inference_mode()
def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="full-size")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--slices", type=int, default=64, help="of the whole run")
    options = parser.parse_args(argv)
    device = torch.device(options.device)
    before = allocated(device)
    model = load(options.model, options.device)
    about = f"{options.model}, {model.network.dtype}, batches of {BATCH}, {options.device}"
    loaded = allocated(device) - before
    with threads_for(model):
        queued = measure(model, options.rounds, options.slices)
    recorded: dict[str, str] = {}
    if device.type == "cuda":
        model.graphs = GraphReplay(model.network.parameters())
        recorded = measure(model, options.rounds, options.slices)
    table = MarkdownTable("gpu", ("", "each kernel queued", "CUDA graphs"), about)
    for name, figure in queued.items():
        table.add_row(name, figure, recorded.get(name, ""))
    del model
    table.add_row(
        "MB of the model, and what is left after it", f"{loaded / 1e6:.0f}", f"{(allocated(device) - before) / 1e6:.0f}"
    )
    table.print()


if __name__ == "__main__":
    main()
