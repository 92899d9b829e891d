"""Load a model in a process of its own, once, and say what it took; optionally detect on one slice.

``python -m support.measure_load SMALL_MODEL MODEL DTYPE [detect] [window bytes]`` prints one line of JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path


def resident() -> tuple[int, int]:
    """Bytes resident now and at the highest, mapped files included."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(lines["VmRSS"].split()[0]) * 1024, int(lines["VmHWM"].split()[0]) * 1024


def main(small: str, source: str, dtype: str, *options: str) -> None:
    import torch

    from MedSAM3SegmentLib.checkpoints import weight_files
    from MedSAM3SegmentLib.models.load_model import load_model
    from MedSAM3SegmentLib.models.memory import estimate_memory

    for window in (option for option in options if option.isdigit()):
        weight_files.WINDOW_BYTES = weight_files.PICKLE_WINDOW_BYTES = int(window)
    load_model(small, "cpu")  # All that is imported lazily is there from now on.
    Path("/proc/self/clear_refs").write_text("5")  # Forget the peak so far.
    before, _ = resident()
    started = time.perf_counter()
    model = load_model(source, "cpu", dtype=dtype)
    facts: dict[str, object] = {"load_seconds": round(time.perf_counter() - started, 2)}
    networks = [model.network, *((model.tracker.model, model.tracker.neck) if model.tracker else ())]
    facts["weights"] = sum(value.nbytes for network in networks for value in network.parameters())
    facts["parameters"] = sum(value.numel() for value in model.network.parameters())
    facts["peak"] = resident()[1] - before
    facts["estimate"] = estimate_memory(model, 1).working
    if "detect" in options:
        loaded, _ = resident()
        generator = torch.Generator().manual_seed(5)
        pixels = torch.randn(1, 3, model.image_size, model.image_size, generator=generator)
        with torch.inference_mode():
            started = time.perf_counter()
            features = model.encode_images(pixels)
            facts["encode_seconds"] = round(time.perf_counter() - started, 2)
            started = time.perf_counter()
            raw = model.detect(model.build_pyramid(features), model.encode_phrases(["a photo of a cat"]))
            facts["detect_seconds"] = round(time.perf_counter() - started, 2)
        facts["working"] = resident()[1] - loaded
        facts["finite"] = bool(torch.isfinite(raw.pred_masks).all())
        facts["shape"] = list(raw.pred_masks.shape)
        facts["answer"] = hashlib.sha256(raw.pred_masks.numpy().tobytes()).hexdigest()
    print(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
