"""The loop that all training shares: losses in, a running average of the weights out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.progress import CancelCheck

#: Steps between reports.
_REPORT_EVERY = 20


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


#: Weights by name, as ``torch.nn.Module.state_dict`` names them.
Weights = Mapping[str, torch.Tensor]


def run_schedule(
    module: torch.nn.Module,
    schedule: Schedule,
    draw_losses: Callable[[], Mapping[str, torch.Tensor]],
    save: Callable[[Weights], None],
    output: Path,
    *,
    report: Callable[[TrainingState], None] | None = None,
    cancel: CancelCheck | None = None,
) -> dict[str, torch.Tensor]:
    """Train ``module`` in place.

    Args:
        draw_losses: draws a batch and gives its weighted losses by name, each a scalar; their sum is minimised.
        save: keeps the running average of the weights; called every so often and at the end.
        output: where snapshots are, for those who stop early.

    Returns:
        The running average of the weights.

    Raises:
        Cancelled: ``cancel`` said so; the last snapshot stays.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=schedule.learning_rate,
        betas=(0.9, 0.98),
    )
    average = {name: value.detach().clone() for name, value in module.state_dict().items()}
    started, sums, counted = time.monotonic(), dict[str, float](), 0
    for step in range(schedule.steps):
        if cancel is not None and cancel():
            raise Cancelled(f"Training was stopped after {step} of {schedule.steps} steps; snapshots are in {output}.")
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step)
        terms = draw_losses()
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, schedule.clip)
        optimiser.step()
        # Early weights leave the average fast.
        _draw_near(average, module.state_dict(), 1 - min(schedule.average, (step + 1) / (step + 10)))
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + term.item()
        counted += 1
        is_last = step + 1 == schedule.steps
        if report is not None and ((step + 1) % _REPORT_EVERY == 0 or is_last):
            left = (time.monotonic() - started) / (step + 1) * (schedule.steps - step - 1)
            report(TrainingState(step + 1, schedule.steps, {k: v / counted for k, v in sums.items()}, left))
            sums, counted = {}, 0
        if (step + 1) % schedule.save_every == 0 or is_last:
            save(average)
    return average


@torch.no_grad()
def _draw_near(average: Weights, weights: Weights, share: float) -> None:
    """Move a running average a little towards the weights of now."""
    for name, value in weights.items():
        if value.is_floating_point():
            average[name].lerp_(value, share)
