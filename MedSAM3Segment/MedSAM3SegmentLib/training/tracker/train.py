"""From a model and labeled stacks to the same model with a tracker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.models.threads import threads_for
from MedSAM3SegmentLib.progress import CancelCheck
from MedSAM3SegmentLib.training.dataset import LabelledStack
from MedSAM3SegmentLib.training.demo_recipe import TrackerStage
from MedSAM3SegmentLib.training.loop import Schedule, StateKeeper
from MedSAM3SegmentLib.training.processes import ALONE, Processes
from MedSAM3SegmentLib.training.train import until_cancelled

from .architecture import TrackerArchitecture, new_tracker
from .clips import ClipMaker, ClipPlan
from .objects import EncodedStack, encode_stack

if TYPE_CHECKING:
    from MedSAM3SegmentLib.models.detector import Sam3Detector
    from MedSAM3SegmentLib.training.loop import TrainingState


@dataclass(frozen=True)
class TrackerRecipe:
    """How a tracker is trained.

    Attributes:
        spoiled_share: of the stacks; slices of these are spoiled, so that objects are held through such.
        seed: of the first weights and of all choices.
    """

    schedule: Schedule
    plan: ClipPlan = field(default_factory=ClipPlan)
    architecture: TrackerArchitecture = field(default_factory=TrackerArchitecture)
    spoiled_share: float = 0.35
    seed: int = 1


def tracker_schedule(stage: TrackerStage) -> Schedule:
    """Of a tracker's short, small batches: a slower average than a detector's."""
    return Schedule(
        stage.steps + stage.refinement_steps,
        stage.learning_rate,
        warmup=40,
        average=0.997,
        save_every=200,
        restarts=((stage.steps, min(stage.refinement_rate, stage.learning_rate)),) if stage.refinement_steps else (),
    )


def add_tracker(
    model: Sam3Detector,
    stacks: Iterable[LabelledStack],
    recipe: TrackerRecipe,
    output: Path,
    *,
    data: dict[str, Any],
    on_synthetic: bool,
    report: Callable[[TrainingState], None] | None = None,
    cancel: CancelCheck | None = None,
    state: StateKeeper | None = None,
    processes: Processes = ALONE,
) -> Sam3Detector:
    """Train a tracker on a model's image features and write both into the folder ``output``.

    The model's own weights stay as they are; a tracker it had is replaced.

    Args:
        stacks: gone through once; kept are their image features, 0.1 MB a slice for the demo model. Where several
            processes train together, this one's part of them: every so many, from the one with its number.
        data: what the card shall say the tracker was trained on.
        on_synthetic: whether that is synthetic, so that the whole is a demo.
        state: keeps where it is, for a training that may be broken off.
        processes: that train together; the first alone reports and writes.

    Returns:
        The model with its tracker, as it was saved; ``model`` itself where this process does not write.

    Raises:
        InputError: nothing in the stacks can be followed.
        Cancelled: ``cancel`` said so; the last snapshot stays.
    """
    import numpy as np

    from .trainer import train_tracker

    own: list[list[EncodedStack]] = []
    with threads_for(model):
        for number, stack in enumerate(until_cancelled(stacks, cancel)):
            rng = np.random.default_rng([recipe.seed, 1, processes.rank + number * processes.count])
            own.append(list(encode_stack(model, stack, rng, spoiled_share=recipe.spoiled_share)))
    in_order = chain.from_iterable(zip_longest(*processes.gather(own), fillvalue=()))
    encoded = list(chain.from_iterable(in_order))
    if not encoded:
        raise InputError("Nothing in the training volumes goes on over three slices; a tracker needs labelled stacks.")
    card = replace(
        model.card,
        is_demo=model.card.is_demo or on_synthetic,
        training={**model.card.training, "tracker": {**data, "recipe": asdict(recipe)}},
    )
    networks = new_tracker(recipe.architecture, model.network, encoded[0].tokens, recipe.seed)
    clips = ClipMaker(encoded, recipe.plan, recipe.seed)
    return train_tracker(
        model,
        networks,
        card,
        clips,
        recipe.schedule,
        output,
        report=report,
        cancel=cancel,
        state=state,
        processes=processes,
    )
