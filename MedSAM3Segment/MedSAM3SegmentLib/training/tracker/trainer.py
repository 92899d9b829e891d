"""Training a tracker on a frozen detector's image features: clips in, a model folder out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import interpolate

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.checkpoints.networks import TrackerNetworks
from MedSAM3SegmentLib.models.detector import Sam3Detector, VisionFeatures
from MedSAM3SegmentLib.models.memory_bank import MemoryBank
from MedSAM3SegmentLib.models.threads import threads_for
from MedSAM3SegmentLib.models.tracker import Tracker
from MedSAM3SegmentLib.models.tracker_types import (
    MaskPrompt,
    PointPrompt,
    TrackerFeatures,
    TrackerOutput,
)
from MedSAM3SegmentLib.progress import CancelCheck
from MedSAM3SegmentLib.training.detector_trainer import save_snapshot
from MedSAM3SegmentLib.training.loop import (
    LoopHooks,
    Schedule,
    StateKeeper,
    Terms,
    TrainingState,
    Weights,
    run_schedule,
)
from MedSAM3SegmentLib.training.processes import ALONE, Processes

from .clips import Clip, ClipMaker, ClipPlan
from .losses import SliceAnswer, TrackerCounts, TrackerLossWeights, tracker_loss
from .simulated_prompts import correcting_click, seed_prompt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from MedSAM3SegmentLib.checkpoints.model_card import ModelCard


def train_tracker(
    model: Sam3Detector,
    networks: TrackerNetworks,
    card: ModelCard,
    clips: ClipMaker,
    schedule: Schedule,
    output: Path,
    *,
    weights: TrackerLossWeights | None = None,
    report: Callable[[TrainingState], None] | None = None,
    cancel: CancelCheck | None = None,
    state: StateKeeper | None = None,
    processes: Processes = ALONE,
) -> Sam3Detector:
    """Train a tracker and leave ``model``, whose own weights stay as they are, with it in ``output``.

    Args:
        networks: the tracker; its weights are changed.
        card: of the model with its tracker.
        state: keeps where it is, for a training that may be broken off.
        processes: that train together, each on its part of a clip's objects; the first alone reports and writes.

    Returns:
        The model as it was saved; ``model`` itself where this process does not write.

    Raises:
        Cancelled: ``cancel`` said so; the last snapshot stays.
    """
    tracker = Tracker(TrackerNetworks(networks.model.to(model.device), networks.neck.to(model.device)))
    modules = torch.nn.ModuleDict({"model": networks.model, "neck": networks.neck})
    weights = weights or TrackerLossWeights()
    trained = model

    def draw_losses() -> list[Terms]:
        answers = list(unroll(tracker, clips.draw(), clips, processes))
        counts = TrackerCounts.total(processes.gather(TrackerCounts.of(answers, weights)))
        return [tracker_loss(answers, weights, counts)] if answers else []

    def save(average: Weights) -> None:
        nonlocal trained
        if not processes.is_first:
            return
        halves = copy.deepcopy(modules)
        halves.load_state_dict(average)
        trained = _save(model, halves.half(), card, output)

    start = state.start(clips.rng) if state is not None else None
    hooks = LoopHooks(report if processes.is_first else None, cancel, combine=processes.combine)
    if state is not None and processes.is_first:
        hooks = replace(hooks, keep=lambda kept: state.keep(kept, clips.rng))
    with threads_for(model):
        average = run_schedule(modules, schedule, draw_losses, save, output, hooks=hooks, start=start)
    if start is not None and start.step >= schedule.steps:
        save(average)  # It was broken off behind its last step.
    return trained


def unroll(tracker: Tracker, clip: Clip, clips: ClipMaker, processes: Processes = ALONE) -> Iterator[SliceAnswer]:
    """Go through a clip by the very steps of ``TrackingSession`` and yield each answer with what was right.

    Args:
        clips: whose plan and random numbers decide prompts and corrections.
        processes: of which this one goes through its part of the objects.
    """
    tokens = clip.tokens.to(tracker.network.device, tracker.network.dtype)
    # Each object has its own random numbers, so that it does not matter which process it falls to.
    seeds = [int(seed) for seed in clips.rng.integers(2**63, size=len(clip.masks))]
    own = range(processes.rank, len(clip.masks), processes.count)
    if not own:
        return
    slices = [tracker.build_features(VisionFeatures(tokens[n : n + 1])) for n in range(len(tokens))]
    for number in own:
        rng = np.random.default_rng(seeds[number])
        yield from _unroll_object(tracker, clip, slices, clip.masks[number], clips.plan, rng)


def _unroll_object(
    tracker: Tracker,
    clip: Clip,
    slices: list[TrackerFeatures],
    masks: BoolMask,
    plan: ClipPlan,
    rng: np.random.Generator,
) -> Iterator[SliceAnswer]:
    memory, dtype = MemoryBank(), tracker.network.dtype
    present = [bool(mask.any()) for mask in masks]
    mask_size = 4 * slices[0].vision_features.shape[-1]
    given = range(1, 1 + clip.given)
    corrected = -1
    if rng.random() < plan.correction_probability:
        corrected = int(rng.integers(1 + clip.given, len(masks)))

    def answered(number: int, readings: tuple[TrackerOutput, ...]) -> SliceAnswer:
        neighbours = present[max(number - 1, 1) : number + 2]
        at_end = any(there != present[number] for there in neighbours)
        return SliceAnswer(readings, _soft(masks[number], mask_size), present[number], at_end)

    def prompt(number: int, shown: MaskPrompt | PointPrompt) -> tuple[TrackerOutput, ...]:
        """Remember what a prompt shows; the readings of it that can be taught."""
        features = slices[number]
        readings: tuple[TrackerOutput, ...] = ()
        if isinstance(shown, PointPrompt) and len(shown.points) == 1 and shown.box is None:
            readings = tracker.candidates(features, shown)
            best = readings[int(torch.stack([reading.iou_score for reading in readings]).argmax())]
        else:
            best = tracker.answer(features, shown)
            if isinstance(shown, PointPrompt):
                readings = (best,)
        position = clip.positions[number]
        memory.cond_slices[position] = tracker.encode_memory(features, best, prompted=True, dtype=dtype)
        memory.non_cond_slices.pop(position, None)
        return readings

    readings = prompt(0, seed_prompt(masks[0], plan.seeds, rng))
    if readings:
        yield answered(0, readings)
    for number in range(1, len(masks)):
        position, features = clip.positions[number], slices[number]
        if number in given:
            tracked = tracker.answer(features, MaskPrompt(torch.from_numpy(masks[number])))
        else:
            tracked = tracker.track(features, position, clip.depth, memory, reverse=clip.reverse)
            yield answered(number, (tracked,))
        memory.non_cond_slices[position] = tracker.encode_memory(features, tracked, prompted=False, dtype=dtype)
        if number == corrected:
            correction = _correction(tracked, masks[number], rng)
            if correction is not None:
                readings = prompt(number, correction)
                if readings:
                    yield answered(number, readings)


def _correction(tracked: TrackerOutput, wanted: BoolMask, rng: np.random.Generator) -> MaskPrompt | PointPrompt | None:
    """What a person may do about a mask: draw it anew, or click on its worst error."""
    if rng.random() < 0.4:
        return MaskPrompt(torch.from_numpy(wanted))
    logits = tracked.pred_masks.detach()
    shown = interpolate(logits[None, None], size=wanted.shape, mode="bilinear", align_corners=False)[0, 0] > 0
    click = correcting_click(shown.cpu().numpy(), wanted)
    if click is None or not wanted.any():
        return None
    point, label = click
    return PointPrompt((point,), (label,), refines=logits)


def _soft(mask: BoolMask, size: int) -> torch.Tensor:
    """``[row, column]`` at the decoder's size, each place the share of it that is covered."""
    whole = torch.from_numpy(mask)[None, None].float()
    resized: torch.Tensor = interpolate(whole, size=(size, size), mode="area")[0, 0]
    return resized


def _save(model: Sam3Detector, halves: torch.nn.ModuleDict, card: ModelCard, output: Path) -> Sam3Detector:
    """Write the model folder with a tracker in half precision; the model as it was written."""
    network = model.network
    tracker = TrackerNetworks(halves["model"], halves["neck"])
    written = Sam3Detector(network, model.tokenizer, card, str(model.device), tracker=tracker)
    save_snapshot(written, network.state_dict(), output)
    # What goes on from here is what was saved.
    halves.to(network.dtype)
    identity = replace(model.identity, name=card.name, sha256="")
    return Sam3Detector(network, model.tokenizer, card, str(model.device), identity, tracker)
