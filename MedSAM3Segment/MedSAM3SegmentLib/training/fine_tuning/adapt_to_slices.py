"""A detector that learns from a few drawn slices of one volume, beside the one that it is a copy of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.models.devices import training_dtype
from MedSAM3SegmentLib.models.plain_attention import plain_attention
from MedSAM3SegmentLib.training.batches import BatchMaker, BatchPlan
from MedSAM3SegmentLib.training.dataset import LabelledStack
from MedSAM3SegmentLib.training.loop import LoopHooks, Schedule, Terms, run_schedule
from MedSAM3SegmentLib.training.losses import LossWeights, detection_loss

from .frozen_features import FrozenFeatures
from .tuning import ENCODERS, Tune, default_rate

#: Small batches and few steps: with the demo model 80 CPU seconds.
_PLAN = BatchPlan(slices=6, phrases=3, box_probability=0.0, empty_probability=0.0, views=2)
_STEPS = 80
_WARMUP = 10
_SEED = 1

#: Room for the feature pyramids of a few hundred pictures of the demo model, or of four of a full-size one in bfloat16.
_PYRAMID_BYTES = 1 << 28


def describe_training() -> dict[str, Any]:
    """JSON that says how a copy is trained, for its card."""
    plan = {name: value for name, value in asdict(_PLAN).items() if name in ("slices", "phrases", "views")}
    return {"tune": Tune.DETECTOR.value, "steps": _STEPS, "warmup": _WARMUP, "seed": _SEED, "questions": plan}


def copy_detector(model: Sam3Detector) -> Sam3Detector:
    """The same model with a detector of its own; encoders, tracker and tokenizer are shared."""
    network = model.network
    shared = [getattr(network, name.removesuffix(".")) for name in ENCODERS]
    copied = copy.copy(model)
    copied.sees_neighbors = False  # Drawn slices are no neighbors.
    copied.graphs = None  # They read the weights of the model.
    copied.network = copy.deepcopy(network, {id(module): module for module in shared})
    return copied


def adapt_to_slices(
    model: Sam3Detector,
    stacks: Sequence[LabelledStack],
    *,
    steps: int = _STEPS,
    seed: int = _SEED,
    advance: Callable[[int, int], None] = lambda _done, _of: None,
) -> Sam3Detector:
    """Train a copy of a model's detector on drawn slices; the model itself is not touched.

    Args:
        stacks: the drawn slices alone.
        advance: told how many steps are done of how many, before each; raises to cancel.

    Returns:
        A model with the same encoders, whose image features are therefore the same.
    """
    # Gradients cannot be kept for what inference mode made.
    with torch.inference_mode(False), torch.enable_grad():
        adapted = copy_detector(model)
        _train(adapted, stacks, Schedule(steps, default_rate(Tune.DETECTOR, model.network), _WARMUP), seed, advance)
    return adapted


def _train(
    adapted: Sam3Detector,
    stacks: Sequence[LabelledStack],
    schedule: Schedule,
    seed: int,
    advance: Callable[[int, int], None],
) -> None:
    network, dtype = adapted.network, adapted.network.dtype
    trained = torch.nn.ModuleDict(
        {name: module for name, module in network.named_children() if not f"{name}.".startswith(ENCODERS)}
    )
    for parameter in trained.parameters():
        # New memory: the old may be a file, mapped.
        parameter.data = parameter.data.float().clone()
        parameter.requires_grad_(True)
    patch_size = int(network.config.vision_config.backbone_config.patch_size)
    batches = BatchMaker(stacks, _PLAN, adapted.image_size, 4 * adapted.image_size // patch_size, seed)
    frozen = FrozenFeatures(adapted, _PYRAMID_BYTES)
    mixed = dtype is not torch.float32 or training_dtype(adapted.device.type) is torch.bfloat16
    done = 0

    def draw_losses() -> Terms:
        nonlocal done
        advance(done, schedule.steps)
        done += 1
        batch = batches.draw()
        with torch.autocast(adapted.device.type, torch.bfloat16, enabled=mixed):
            # Where no box is drawn, all phrases on a slice share most of the work.
            shared = adapted.share_stages(frozen.pyramid(batch))
            raw = adapted.detect(shared.repeat_each(_PLAN.phrases), frozen.phrases(batch.phrases))
        return detection_loss(raw, batch.targets, LossWeights())

    once = replace(schedule, save_every=schedule.steps)
    with plain_attention(adapted, torch.bfloat16 if mixed else dtype):
        average = run_schedule(trained, once, draw_losses, lambda _weights: None, Path(), hooks=LoopHooks())
    trained.load_state_dict(average)
    trained.to(dtype)
    for parameter in trained.parameters():
        parameter.requires_grad_(False)
    advance(schedule.steps, schedule.steps)
