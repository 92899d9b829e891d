"""The loop that all training shares: losses in, a running average of the weights out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.progress import CancelCheck

#: A report comes after so many steps, or so much time.
_REPORT_EVERY = 20
_REPORT_AFTER_S = 2.0


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train.

    Attributes:
        steps: batches in all.
        learning_rate: its highest value, reached after ``warmup`` steps and brought to zero along a cosine.
        average: decay per step of the running average of the weights, which is what is kept.
        save_every: steps between snapshots of the model folder.
        restarts: steps at which the rate rises again, each with its highest value from there on (warm restarts,
            https://arxiv.org/abs/1608.03983).
    """

    steps: int
    learning_rate: float = 8e-4
    warmup: int = 60
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.998
    save_every: int = 300
    restarts: tuple[tuple[int, float], ...] = ()

    def rate(self, step: int) -> float:
        """Learning rate of ``step``."""
        first, highest, end = 0, self.learning_rate, self.steps
        for begin, value in self.restarts:
            if step < begin:
                end = min(begin, self.steps)
                break
            first, highest = begin, value
        if step - first < self.warmup:
            return highest * (step - first + 1) / self.warmup
        done = (step - first - self.warmup) / max(end - first - self.warmup, 1)
        return highest * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


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

#: Weighted losses by name, each a scalar.
Terms = Mapping[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class LoopState:
    """Where a training is, to go on from exactly.

    Attributes:
        step: steps that are done.
        trained: the weights that are trained, by name.
        average: their running average.
        optimiser: as ``torch.optim.Optimizer.state_dict`` gives it.
    """

    step: int
    trained: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    optimiser: dict[str, Any]


class StateKeeper(Protocol):
    """Keeps where a training is, with the state of the generator that its choices are drawn from."""

    def start(self, rng: np.random.Generator) -> LoopState | None:
        """Where to go on from, with ``rng`` brought to where it was; None for the first step."""
        ...

    def keep(self, state: LoopState, rng: np.random.Generator) -> None:
        """Keep a snapshot in place of the one before."""
        ...


@dataclass(frozen=True)
class LoopHooks:
    """What happens beside the steps.

    Attributes:
        report: every so many steps, for progress.
        cancel: asked before each step.
        each_step: after each step, with its number from 1, its learning rate and its losses by name.
        combine: before each step of the optimiser, for what several processes share: gets the parameters and the
            losses, and gives the losses of all.
        keep: with each snapshot, for a training that may be broken off.
    """

    report: Callable[[TrainingState], None] | None = None
    cancel: CancelCheck | None = None
    each_step: Callable[[int, float, Mapping[str, float]], None] = lambda _step, _rate, _losses: None
    combine: Callable[[Sequence[torch.nn.Parameter], Mapping[str, float]], Mapping[str, float]] = (
        lambda _parameters, losses: losses
    )
    keep: Callable[[LoopState], None] = lambda _state: None


@dataclass(eq=False)
class _Means:
    """Running means of losses since the last report."""

    sums: dict[str, float] = field(default_factory=dict)
    counted: int = 0

    def add(self, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.counted += 1

    def take(self) -> dict[str, float]:
        means = {name: value / self.counted for name, value in self.sums.items()}
        self.sums, self.counted = {}, 0
        return means


def run_schedule(
    module: torch.nn.Module,
    schedule: Schedule,
    draw_losses: Callable[[], Terms | Iterable[Terms]],
    save: Callable[[Weights], None],
    output: Path,
    *,
    report: Callable[[TrainingState], None] | None = None,
    cancel: CancelCheck | None = None,
    hooks: LoopHooks | None = None,
    rate_of: Callable[[str], float] = lambda _name: 1.0,
    start: LoopState | None = None,
) -> dict[str, torch.Tensor]:
    """Train ``module`` in place: those of its parameters that require gradients.

    Args:
        draw_losses: draws a batch and gives its weighted losses by name; their sum is minimised. Where it gives
            several of them, they are the parts of one batch, whose sum is minimised: each is gone back through before
            the next is asked for.
        save: keeps the weights with the running average; called every so often and at the end.
        output: where snapshots are, for those who stop early.
        hooks: what happens beside the steps, in place of ``report`` and ``cancel``.
        rate_of: factor of the learning rate, by the name of a parameter.
        start: where to go on from.

    Returns:
        The weights, those that are trained as their running average.

    Raises:
        Cancelled: the last snapshot stays.
    """
    hooks = hooks or LoopHooks(report, cancel)
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(_groups(named, schedule, rate_of), lr=schedule.learning_rate, betas=(0.9, 0.98))
    average = {name: value.detach().clone() for name, value in _averaged(module).items()}
    first = 0
    if start is not None:
        first = start.step
        with torch.no_grad():
            for name, parameter in named.items():
                parameter.copy_(start.trained[name])
            for name, value in average.items():
                value.copy_(start.average[name])
        optimiser.load_state_dict(start.optimiser)
    started, means = time.monotonic(), _Means()
    reported = started
    for step in range(first, schedule.steps):
        if hooks.cancel is not None and hooks.cancel():
            raise Cancelled(f"Training was stopped after {step} of {schedule.steps} steps; snapshots are in {output}.")
        rate = schedule.rate(step)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        optimiser.zero_grad(set_to_none=True)
        losses = hooks.combine(list(named.values()), _go_back(draw_losses()))
        torch.nn.utils.clip_grad_norm_(named.values(), schedule.clip)
        optimiser.step()
        # Early weights leave the average fast.
        _draw_near(average, _averaged(module), 1 - min(schedule.average, (step + 1) / (step + 10)))
        means.add(losses)
        hooks.each_step(step + 1, rate, losses)
        is_last = step + 1 == schedule.steps
        now = time.monotonic()
        is_due = (step + 1) % _REPORT_EVERY == 0 or is_last or now - reported > _REPORT_AFTER_S
        if hooks.report is not None and is_due:
            reported = now
            left = (now - started) / (step + 1 - first) * (schedule.steps - step - 1)
            hooks.report(TrainingState(step + 1, schedule.steps, means.take(), left))
        if (step + 1) % schedule.save_every == 0 or is_last:
            save({**module.state_dict(), **average})
            trained = {name: parameter.detach() for name, parameter in named.items()}
            hooks.keep(LoopState(step + 1, trained, average, optimiser.state_dict()))
    return {**module.state_dict(), **average}


def _go_back(parts: Terms | Iterable[Terms]) -> dict[str, float]:
    """Add up the gradients of a batch's parts, and their losses."""
    losses: dict[str, float] = {}
    for terms in [parts] if isinstance(parts, Mapping) else parts:
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        for name, term in terms.items():
            losses[name] = losses.get(name, 0.0) + term.item()
    return losses


def _averaged(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What training changes: parameters that require gradients, and buffers."""
    frozen = {name for name, p in module.named_parameters(remove_duplicate=False) if not p.requires_grad}
    return {name: value for name, value in module.state_dict().items() if name not in frozen}


def _groups(
    named: Mapping[str, torch.nn.Parameter], schedule: Schedule, rate_of: Callable[[str], float]
) -> list[dict[str, Any]]:
    """Parameters by whether they decay and how fast they learn."""
    groups: dict[tuple[bool, float], list[torch.nn.Parameter]] = {}
    for name, parameter in named.items():
        groups.setdefault((parameter.ndim <= 1, rate_of(name)), []).append(parameter)
    return [
        {"params": some, "weight_decay": 0.0 if is_vector else schedule.weight_decay, "factor": factor}
        for (is_vector, factor), some in sorted(groups.items(), key=lambda item: item[0])
    ]


@torch.no_grad()
def _draw_near(average: Weights, weights: Weights, share: float) -> None:
    """Move a running average a little towards the weights of now."""
    for name, value in weights.items():
        if value.is_floating_point():
            average[name].lerp_(value, share)
