"""The summary of a training's pictures that its adapter carries, by which it is chosen for a volume later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from MedSAM3SegmentLib.adapters.image_summary import SUMMARY_FILE, Features, ImageSummary
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.features.pooled_features import features_name, pool_pictures
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.progress import CancelCheck
from MedSAM3SegmentLib.training.batches import BatchMaker, BatchPlan, ViewKey
from MedSAM3SegmentLib.training.dataset import LabelledStack

from .frozen_features import FrozenFeatures
from .training_files import TrainingFiles

#: Pictures that are summarized, moved and windowed as in training, each slice in at most so many ways.
_PICTURES = 96
_BATCH = 8
_VIEWS = 8


def summary_file(kept: TrainingFiles, is_resumed: bool, summarize: Callable[[], ImageSummary | None]) -> dict[str, str]:
    """What an adapter's folder gets of its pictures: text by the file's name; nothing where they are too few.

    Looking at pictures takes half an hour for a full-size model on a CPU, so a training that goes on after a break has
    what it found before.

    Args:
        kept: what the training keeps while it runs; it has begun.
    """
    text = kept.read_note(SUMMARY_FILE) if is_resumed else None
    if text is None:
        summary = summarize()
        text = "" if summary is None else summary.to_text()
        kept.write_note(SUMMARY_FILE, text)
    return {SUMMARY_FILE: text} if text else {}


@torch.no_grad()
def summarize_pictures(
    model: Sam3Detector,
    stacks: Sequence[LabelledStack],
    plan: BatchPlan,
    sizes: tuple[int, int],
    seed: int,
    frozen: FrozenFeatures | None = None,
    cancel: CancelCheck | None = None,
) -> ImageSummary | None:
    """Encode pictures of a training with the model as it is before, and summarize them.

    Args:
        plan: of the training.
        sizes: edges of the network's input and of its masks in pixels.
        frozen: keeps features of pictures that are always the same.

    Raises:
        Cancelled: ``cancel`` said so.
    """
    plan = replace(plan, slices=_BATCH, phrases=1, empty_probability=0.0, views=plan.views or _VIEWS)
    draws = BatchMaker(stacks, plan, *sizes, seed)
    pooled: dict[ViewKey, Features] = {}
    for _ in range(_PICTURES // _BATCH):
        if cancel is not None and cancel():
            raise Cancelled("Training was stopped before its first step; nothing was written.")
        batch = draws.draw()
        fresh = pool_pictures(model, batch.pixels) if frozen is None else frozen.pooled(batch).numpy()
        pooled.update(zip(batch.views, fresh, strict=True))
    slices = {
        place: number for number, place in enumerate(dict.fromkeys((key.stack, key.slice_index) for key in pooled))
    }
    groups = [slices[key.stack, key.slice_index] for key in pooled]
    return ImageSummary.of(np.stack(list(pooled.values())), features_name(model), groups)
