"""Training a tracker on a frozen detector's image features: clips in, a model folder out."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from ..errors import Cancelled
from ..models.concept_model import ConceptModel, ImageFeatures
from ..models.network_loading import TrackerNetworks
from ..models.tracker import MaskPrompt, PointPrompt, TrackedMask, Tracker, TrackerFeatures
from ..models.tracker_memory import ObjectMemory
from ..request import CancelCheck
from .tracker_clips import Clip, ClipMaker, correcting_click, seed_prompt
from .tracker_losses import SliceAnswer, TrackerLossWeights, tracker_loss
from .trainer import Schedule, TrainingState, save_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..models.model_card import ModelCard

#: Steps between reports.
_REPORT_EVERY = 20


def train_tracker(
    model: ConceptModel,
    networks: TrackerNetworks,
    card: ModelCard,
    clips: ClipMaker,
    schedule: Schedule,
    output: Path,
    *,
    weights: TrackerLossWeights | None = None,
    report: Callable[[TrainingState], None] | None = None,
    cancel: CancelCheck | None = None,
) -> ConceptModel:
    """Train a tracker and leave ``model``, whose own weights stay as they are, with it in ``output``.

    Args:
        networks: the tracker; its weights are changed.
        card: of the model with its tracker.

    Returns:
        The model as it was saved.

    Raises:
        Cancelled: ``cancel`` said so; the last snapshot stays.
    """
    tracker = Tracker(TrackerNetworks(networks.model.to(model.device), networks.neck.to(model.device)))
    modules = torch.nn.ModuleDict({"model": networks.model, "neck": networks.neck})
    weights = weights or TrackerLossWeights()
    parameters = [p for p in modules.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=schedule.learning_rate,
        betas=(0.9, 0.98),
    )
    average = copy.deepcopy(modules)
    started, sums, counted = time.monotonic(), dict[str, float](), 0
    trained = model
    for step in range(schedule.steps):
        if cancel is not None and cancel():
            raise Cancelled(f"Training was stopped after {step} of {schedule.steps} steps; snapshots are in {output}.")
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step)
        terms = tracker_loss(list(follow(tracker, clips.draw(), clips)), weights)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, schedule.clip)
        optimiser.step()
        _draw_near(average, modules, 1 - min(schedule.average, (step + 1) / (step + 10)))
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + term.item()
        counted += 1
        if report is not None and ((step + 1) % _REPORT_EVERY == 0 or step + 1 == schedule.steps):
            left = (time.monotonic() - started) / (step + 1) * (schedule.steps - step - 1)
            report(TrainingState(step + 1, schedule.steps, {k: v / counted for k, v in sums.items()}, left))
            sums, counted = {}, 0
        if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
            trained = _save(model, average, card, output)
    return trained


def follow(tracker: Tracker, clip: Clip, clips: ClipMaker) -> Iterator[SliceAnswer]:
    """Go through a clip by the very steps of ``TrackingSession`` and yield each answer with what was right.

    Args:
        clips: whose plan and random numbers decide prompts and corrections.
    """
    tokens = clip.tokens.to(tracker.network.device, tracker.network.dtype)
    slices = [tracker.build_features(ImageFeatures(tokens[n : n + 1])) for n in range(len(tokens))]
    for masks in clip.masks:
        yield from _follow_object(tracker, clip, slices, masks, clips)


def _follow_object(
    tracker: Tracker,
    clip: Clip,
    slices: list[TrackerFeatures],
    masks: NDArray[np.bool_],
    clips: ClipMaker,
) -> Iterator[SliceAnswer]:
    rng, plan, memory, dtype = clips.rng, clips.plan, ObjectMemory(), tracker.network.dtype
    present = [bool(mask.any()) for mask in masks]
    mask_size = 4 * slices[0].coarse.shape[-1]
    given = range(1, 1 + clip.given)
    corrected = -1
    if rng.random() < plan.correction_probability:
        corrected = int(rng.integers(1 + clip.given, len(masks)))

    def answered(number: int, readings: tuple[TrackedMask, ...]) -> SliceAnswer:
        neighbours = present[max(number - 1, 1) : number + 2]
        at_end = any(there != present[number] for there in neighbours)
        return SliceAnswer(readings, _soft(masks[number], mask_size), present[number], at_end)

    def prompt(number: int, shown: MaskPrompt | PointPrompt) -> tuple[TrackedMask, ...]:
        """Remember what a prompt shows; the readings of it that can be taught."""
        features = slices[number]
        readings: tuple[TrackedMask, ...] = ()
        if isinstance(shown, PointPrompt) and len(shown.points) == 1 and shown.box is None:
            readings = tracker.candidates(features, shown)
            best = readings[int(torch.stack([reading.quality for reading in readings]).argmax())]
        else:
            best = tracker.answer(features, shown)
            if isinstance(shown, PointPrompt):
                readings = (best,)
        position = clip.positions[number]
        memory.prompted[position] = tracker.remember(features, best, prompted=True, dtype=dtype)
        memory.tracked.pop(position, None)
        return readings

    readings = prompt(0, seed_prompt(masks[0], plan, rng))
    if readings:
        yield answered(0, readings)
    for number in range(1, len(masks)):
        position, features = clip.positions[number], slices[number]
        if number in given:
            tracked = tracker.answer(features, MaskPrompt(torch.from_numpy(masks[number])))
        else:
            tracked = tracker.track(features, position, clip.depth, memory, reverse=clip.reverse)
            yield answered(number, (tracked,))
        memory.tracked[position] = tracker.remember(features, tracked, prompted=False, dtype=dtype)
        if number == corrected:
            correction = _correction(tracked, masks[number], rng)
            if correction is not None:
                readings = prompt(number, correction)
                if readings:
                    yield answered(number, readings)


def _correction(
    tracked: TrackedMask, wanted: NDArray[np.bool_], rng: np.random.Generator
) -> MaskPrompt | PointPrompt | None:
    """What a person may do about a mask: draw it anew, or click on its worst error."""
    if rng.random() < 0.4:
        return MaskPrompt(torch.from_numpy(wanted))
    logits = tracked.logits.detach()
    shown = interpolate(logits[None, None], size=wanted.shape, mode="bilinear", align_corners=False)[0, 0] > 0
    click = correcting_click(shown.cpu().numpy(), wanted)
    if click is None or not wanted.any():
        return None
    point, label = click
    return PointPrompt((point,), (label,), refines=logits)


def _soft(mask: NDArray[np.bool_], size: int) -> torch.Tensor:
    """``[row, column]`` at the decoder's size, each place the share of it that is covered."""
    whole = torch.from_numpy(mask)[None, None].float()
    resized: torch.Tensor = interpolate(whole, size=(size, size), mode="area")[0, 0]
    return resized


@torch.no_grad()
def _draw_near(average: torch.nn.Module, modules: torch.nn.Module, share: float) -> None:
    """Move a running average a little towards the weights of now."""
    for kept, now in zip(average.state_dict().values(), modules.state_dict().values(), strict=True):
        if now.is_floating_point():
            kept.lerp_(now, share)


def _save(model: ConceptModel, average: torch.nn.ModuleDict, card: ModelCard, output: Path) -> ConceptModel:
    """Write the model folder in half precision; the model as it was written."""
    network, halves = model.network, copy.deepcopy(average).half()
    tracker = TrackerNetworks(halves["model"], halves["neck"])
    written = ConceptModel(network, model.tokenizer, card, str(model.device), tracker=tracker)
    save_snapshot(written, network.state_dict(), output)
    # What goes on from here is what was saved.
    halves.to(network.dtype)
    identity = replace(model.identity, name=card.name, sha256="")
    return ConceptModel(network, model.tokenizer, card, str(model.device), identity, tracker)
