"""The training loop: batches in, a model folder out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import Cancelled, ModelError
from ..models.concept_model import BoxPrompts, ConceptModel, RawDetections
from ..models.conversion import save_model
from ..models.devices import training_dtype
from ..request import CancelCheck
from .batches import Batch, BatchMaker
from .losses import LossWeights, detection_loss


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train.

    Attributes:
        steps: batches in all.
        learning_rate: its highest value, reached after ``warmup`` steps and brought to zero along a cosine.
        average: decay per step of the running average of the weights, which is what is kept.
        save_every: steps between snapshots of the model folder.
    """

    steps: int
    learning_rate: float = 8e-4
    warmup: int = 60
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.998
    save_every: int = 300

    def rate(self, step: int) -> float:
        """Learning rate of ``step``."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


@dataclass(frozen=True)
class TrainingState:
    """How far training has come.

    Attributes:
        losses: running mean of each term since the last report.
    """

    step: int
    steps: int
    losses: dict[str, float]
    seconds_left: float


def predict(model: ConceptModel, batch: Batch) -> RawDetections:
    """The raw detections of a batch; each picture goes through the vision encoder once."""
    pyramid = model.build_pyramid(model.encode_images(batch.pixels))
    phrases = model.encode_phrases(batch.phrases)
    per_slice = len(batch.phrases) // len(batch.pixels)
    return model.detect(pyramid.repeat_each(per_slice), phrases, BoxPrompts(batch.boxes, batch.box_labels))


def train(
    model: ConceptModel,
    batches: BatchMaker,
    schedule: Schedule,
    output: Path,
    *,
    weights: LossWeights | None = None,
    report: Callable[[TrainingState], None] | None = None,
    cancel: CancelCheck | None = None,
) -> None:
    """Train ``model`` in place and leave the averaged weights in ``output``.

    Raises:
        Cancelled: ``cancel`` said so; the last snapshot stays.
    """
    network, dtype = model.network, training_dtype(model.device.type)
    network.train()
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": schedule.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=schedule.learning_rate,
        betas=(0.9, 0.98),
    )
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    started, sums, counted = time.monotonic(), dict[str, float](), 0
    for step in range(schedule.steps):
        if cancel is not None and cancel():
            raise Cancelled(f"Training was stopped after {step} of {schedule.steps} steps; snapshots are in {output}.")
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step)
        batch = batches.draw()
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            raw = predict(model, batch)
        terms = detection_loss(raw, batch.targets, weights or LossWeights())
        loss = torch.stack(list(terms.values())).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), schedule.clip)
        optimiser.step()
        decay = min(schedule.average, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, value in network.state_dict().items():
                if value.is_floating_point():
                    average[name].lerp_(value, 1 - decay)
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + term.item()
        counted += 1
        if report is not None and (step + 1) % 20 == 0:
            elapsed = time.monotonic() - started
            left = elapsed / (step + 1) * (schedule.steps - step - 1)
            report(TrainingState(step + 1, schedule.steps, {k: v / counted for k, v in sums.items()}, left))
            sums, counted = {}, 0
        if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
            save_snapshot(model, average, output)
    # What goes on from here is what was saved.
    network.load_state_dict({name: half_precision(value).to(value.dtype) for name, value in average.items()})
    network.eval()


def save_snapshot(model: ConceptModel, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
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
