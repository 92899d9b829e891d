"""What phrases cost on one slice of full-size SAM 3, beside the published loop of one whole forward pass per phrase.

Random weights, so only times and differences mean something. Takes some five minutes on two cores, with
``--passes 5 --agreement`` fifteen, and 10 GB of memory; run it where nothing else computes. Figures stand in
docs/performance.md, and nothing is asserted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import torch

from markdown_table import MarkdownTable, place_of
from MedSAM3SegmentLib.models.detector import BoxPrompts, DetectorOutput, Sam3Detector, TextFeatures, VisionFeatures
from MedSAM3SegmentLib.models.network.detection_stages import detect_whole
from MedSAM3SegmentLib.models.network.stage_types import DenseMasks, SharedStages
from MedSAM3SegmentLib.models.threads import count_usable_cores
from phrase_stages import full_size

PHRASES = 5
#: Queries of a slice whose masks are looked at; few score high enough.
MASKS = 10
#: Tokens that transformers' processor pads each phrase to, and what this project pads five short ones to.
PUBLISHED_WORDS, WORDS = 32, 6
#: Token numbers of CLIP's vocabulary: where a phrase begins and ends.
START, END = 49406, 49407


def wall_and_cpu(what: str, work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of one call; said at once, since the whole takes long."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what}: {wall:.1f} s, {cpu:.1f} CPU s", file=sys.stderr, flush=True)
    return wall, cpu


def phrases_as_numbers(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Five phrases of four words each, padded to ``length``: token numbers and mask."""
    ids, mask = torch.full((PHRASES, length), END), torch.zeros(PHRASES, length, dtype=torch.long)
    ids[:, 0] = START
    ids[:, 1:5] = torch.randint(1000, 40000, (PHRASES, 4), generator=torch.Generator().manual_seed(3))
    mask[:, :WORDS] = 1
    return ids, mask


def largest_difference(ours: DetectorOutput, other: DetectorOutput) -> float:
    """Over scores, boxes and masks."""
    names = ("pred_logits", "presence_logits", "pred_boxes", "pred_masks", "semantic_seg")
    return max(float((getattr(ours, name) - getattr(other, name)).abs().max()) for name in names)


def detect_phrase(model: Sam3Detector, shared: SharedStages, phrase: TextFeatures) -> DetectorOutput:
    """What a run asks of a slice and a phrase: all scores, and the masks of the queries that score high enough."""
    output = model.detect(shared, phrase)
    output.masks.of(0, range(MASKS))
    return output


def published_loop(model: Sam3Detector, pixels: torch.Tensor, passes: int) -> list[DetectorOutput]:
    """One whole forward pass per phrase, as the model's own example does it, for the first phrases."""
    ids, mask = phrases_as_numbers(PUBLISHED_WORDS)
    answers = []
    for phrase in range(passes):
        one = slice(phrase, phrase + 1)
        text = model.encode_tokens(ids[one], mask[one])
        pyramid = model.build_pyramid(model.encode_images(pixels))
        boxes = BoxPrompts.none(1)
        output = detect_whole(model.network, pyramid, text, BoxPrompts(boxes.boxes.to(pixels.dtype), boxes.labels))
        answers.append(DetectorOutput.of(output))
    return answers


@torch.inference_mode()
def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=count_usable_cores())
    passes = "how many of the five whole passes are run; their mean counts five times (default: 2)"
    parser.add_argument("--passes", type=int, choices=range(1, PHRASES + 1), default=2, help=passes)
    parser.add_argument("--agreement", action="store_true", help="compare with a batch and other threads, too")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    dtype: torch.dtype = getattr(torch, options.dtype)
    model = full_size(dtype)
    pixels = torch.randn(1, 3, model.image_size, model.image_size, generator=torch.Generator().manual_seed(2))
    pixels = pixels.to(dtype)
    ids, mask = phrases_as_numbers(WORDS)
    # What is loaded and allocated at the first call counts for nobody.
    nothing = VisionFeatures(torch.zeros(1, 72 * 72, 1024, dtype=dtype))
    model.detect(model.build_pyramid(nothing), model.encode_tokens(ids, mask)[:1])

    vision: list[VisionFeatures] = []
    shared: list[SharedStages] = []
    ours: list[DetectorOutput] = []
    texts = [model.encode_tokens(ids, mask)]
    steps = {
        "phrases read": lambda: model.encode_tokens(ids, mask),
        "image encoder": lambda: vision.append(model.encode_images(pixels)),
        "neck, and what phrases share": lambda: shared.append(model.share_stages(model.build_pyramid(vision[0]))),
    }
    for number in range(PHRASES):
        steps[f"phrase {number + 1}"] = lambda n=number: ours.append(
            detect_phrase(model, shared[0], texts[0][n : n + 1])
        )
    seconds = {name: wall_and_cpu(name, work) for name, work in steps.items()}
    theirs: list[DetectorOutput] = []
    loop = wall_and_cpu("whole passes", lambda: theirs.extend(published_loop(model, pixels, options.passes)))

    whole = [PHRASES * times / options.passes for times in loop]
    ours_at_once = tuple(sum(times[clock] for times in seconds.values()) for clock in (0, 1))
    encoder, first_phrase = seconds["image encoder"], seconds["phrase 1"]
    stages = seconds["neck, and what phrases share"]
    added = [sum(seconds[f"phrase {n}"][clock] for n in range(2, PHRASES + 1)) / (PHRASES - 1) for clock in (0, 1)]
    first = [encoder[clock] + stages[clock] + first_phrase[clock] for clock in (0, 1)]
    differences = [largest_difference(one, other) for one, other in zip(ours, theirs, strict=False)]

    about = f"Full-size SAM 3, one slice, {PHRASES} phrases, {options.dtype}, {options.threads} threads"
    table = MarkdownTable(place_of("full_size", dtype), ("", "by the clock", "by CPU seconds"), about)
    table.add_row("one whole pass for each phrase, the published loop", *_seconds(whole))
    table.add_row("all of it here", *_seconds(ours_at_once))
    for name in ("phrases read", "image encoder", "neck, and what phrases share"):
        table.add_row(f"of that: {name}", *_seconds(seconds[name]))
    table.add_row("of that: a phrase, after the first", *_seconds(added))
    ratios = (
        ("times as fast as the loop (goal: 4)", whole, ours_at_once),
        ("an added phrase, share of the first (goal: 0.10)", added, first),
        ("an added phrase, share of the encoder (goal: 0.10)", added, encoder),
    )
    for name, some, other in ratios:
        table.add_row(name, *(f"{one / two:.3f}" for one, two in zip(some, other, strict=True)))
    table.add_row("largest difference of scores, boxes and masks from the loop", f"{max(differences):.0e}", "")
    if options.agreement:
        two = model.share_stages(model.build_pyramid(model.encode_images(torch.cat([pixels, pixels.flip(-1)]))))
        batch = model.detect(two, texts[0][:1].repeat(2))
        first_of_two = DetectorOutput(
            batch.pred_logits[:1],
            batch.presence_logits[:1],
            batch.pred_boxes[:1],
            DenseMasks(batch.pred_masks[:1]),
            batch.semantic_seg[:1],
        )
        table.add_row("of a batch of two from one by itself", f"{largest_difference(ours[0], first_of_two):.0e}", "")
        torch.set_num_threads(1 if options.threads > 1 else 2)
        pyramid = model.build_pyramid(model.encode_images(pixels))
        alone = model.detect(model.share_stages(pyramid), model.encode_tokens(ids, mask)[:1])
        table.add_row("of another number of threads", f"{largest_difference(ours[0], alone):.0e}", "")
    table.print()


def _seconds(times: Sequence[float]) -> tuple[str, str]:
    """Seconds by both clocks, as text."""
    return f"{times[0]:.1f} s", f"{times[1]:.1f} s"


if __name__ == "__main__":
    main()
