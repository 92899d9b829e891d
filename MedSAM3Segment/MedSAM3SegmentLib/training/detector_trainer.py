"""Training a detector: batches in, a model folder out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from MedSAM3SegmentLib.errors import ModelError
from MedSAM3SegmentLib.models.detector import BoxPrompts, DetectorOutput, Sam3Detector
from MedSAM3SegmentLib.models.devices import training_dtype
from MedSAM3SegmentLib.models.plain_attention import plain_attention
from MedSAM3SegmentLib.models.save_model import save_model
from MedSAM3SegmentLib.models.threads import threads_for
from MedSAM3SegmentLib.progress import CancelCheck

from .batches import Batch
from .loop import (
    LoopHooks,
    Schedule,
    StateKeeper,
    Terms,
    TrainingState,
    Weights,
    run_schedule,
)
from .losses import Counts, LossWeights, detection_loss
from .processes import ALONE, Processes

if TYPE_CHECKING:
    from .fine_tuning.frozen_features import FrozenFeatures


def predict(
    model: Sam3Detector, batch: Batch, frozen: FrozenFeatures | None = None, *, by_layers: bool = False
) -> DetectorOutput:
    """The raw detections of a batch; each picture goes through the vision encoder once.

    Args:
        frozen: the features of encoders that are not trained.
        by_layers: go through all of transformers' layers for each phrase, which is slower, in place of computing once
            what phrases share; for those that do something at each layer.
    """
    if frozen is None:
        pyramid = model.build_pyramid(model.encode_images(batch.pixels))
        phrases = model.encode_phrases(batch.phrases)
    else:
        pyramid, phrases = frozen.pyramid(batch), frozen.phrases(batch.phrases)
    per_slice = len(batch.phrases) // len(batch.pictures)
    boxes = BoxPrompts(batch.boxes, batch.box_labels)
    if by_layers:
        return model.detect(pyramid.repeat_each(per_slice), phrases, boxes)
    return model.detect(model.share_stages(pyramid).repeat_each(per_slice), phrases, boxes)


class BatchSource(Protocol):
    """Gives one batch after another, chosen by ``rng``."""

    rng: np.random.Generator

    def draw(self) -> Batch:
        """The next batch."""
        ...


def train(
    model: Sam3Detector,
    batches: BatchSource,
    schedule: Schedule,
    output: Path,
    *,
    weights: LossWeights | None = None,
    report: Callable[[TrainingState], None] | None = None,
    cancel: CancelCheck | None = None,
    state: StateKeeper | None = None,
    processes: Processes = ALONE,
) -> None:
    """Train ``model`` in place and leave the averaged weights in ``output``.

    Args:
        state: keeps where it is, for a training that may be broken off.
        processes: that train together, each on its part of every batch; the first alone reports and writes.

    Raises:
        Cancelled: ``cancel`` said so; the last snapshot stays.
    """
    network, dtype = model.network, training_dtype(model.device.type)
    queries = int(network.config.detr_decoder_config.num_queries)
    network.train()

    def draw_losses() -> Iterator[Terms]:
        batch = batches.draw()
        counts = Counts.of(batch.targets, queries)
        for part in processes.parts_of(batch):
            with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                raw = predict(model, part)
            yield detection_loss(raw, part.targets, weights or LossWeights(), counts)

    def save(average: Weights) -> None:
        if processes.is_first:
            save_snapshot(model, average, output)

    start = None
    hooks = LoopHooks(report if processes.is_first else None, cancel, combine=processes.combine)
    if state is not None:
        start = state.start(batches.rng)
        if processes.is_first:
            hooks = replace(hooks, keep=lambda kept: state.keep(kept, batches.rng))
    with threads_for(model), plain_attention(model, dtype):
        average = run_schedule(network, schedule, draw_losses, save, output, hooks=hooks, start=start)
    # What goes on from here is what was saved.
    network.load_state_dict({name: half_precision(value).to(value.dtype) for name, value in average.items()})
    network.eval()


def save_snapshot(model: Sam3Detector, weights: Weights, folder: Path) -> None:
    """Write a model folder with ``weights`` in half precision, whole or not at all.

    Raises:
        ModelError: the model was loaded without a tokenizer.
    """
    if model.tokenizer is None:
        raise ModelError(f"The model {model.card.name} has no tokenizer; train on a model that has one.")
    save_model(model, folder, detector={name: half_precision(value) for name, value in weights.items()}, replace=True)


def half_precision(value: torch.Tensor) -> torch.Tensor:
    """The number format that model folders are saved in; whole numbers stay as they are."""
    return value.half() if value.is_floating_point() else value
