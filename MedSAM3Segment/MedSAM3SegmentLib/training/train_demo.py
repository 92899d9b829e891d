"""Making the demo model: one run from nothing to a detector and its tracker, which a break does not change."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MedSAM3SegmentLib.checkpoints.model_card import MaskRule, ModelCard
from MedSAM3SegmentLib.progress import CancelCheck
from MedSAM3SegmentLib.synthetic.phantom import CONCEPTS

from .demo_recipe import SYNONYMS, DemoRecipe, TrackerStage, phantom_lessons
from .processes import ALONE, Processes

if TYPE_CHECKING:
    from MedSAM3SegmentLib.models.detector import Sam3Detector

    from .architecture import Architecture
    from .batches import Batch, BatchMaker, BatchPlan
    from .dataset import LabelledStack
    from .fine_tuning.training_files import TrainingFiles
    from .loop import LoopState, StateKeeper, TrainingState

#: The lowest score that counts as found: on the phantoms for development it reports next to nothing that is not there
#: and loses few tumors (docs/demo-model.md).
_THRESHOLD = 0.8

#: How many phantoms give way to new ones at a time.
_CHANGED_AT_ONCE = 20


def train_demo(
    output: Path,
    recipe: DemoRecipe,
    *,
    resume: bool = False,
    report: Callable[[TrainingState], None] | None = None,
    cancel: CancelCheck | None = None,
    processes: Processes = ALONE,
) -> None:
    """Train the demo model from nothing into the folder ``output``.

    Args:
        resume: whether a training that was broken off goes on; the model is the same as without the break.
        processes: that train together; the first alone reports and writes.

    Raises:
        InputError: there is nothing to go on with, or something that would be lost.
        Cancelled: ``cancel`` said so; the last snapshot stays.
    """
    from .fine_tuning.training_files import TrainingFiles

    files = TrainingFiles(output)
    kept = _Kept(files, {"demo": asdict(recipe)}, resume, processes)
    model = _train_detector(output, recipe, kept, report, cancel, processes)
    if recipe.tracker is not None:
        tracker_files = TrainingFiles(output, files.folder / "tracker")
        state = _Kept(tracker_files, {"tracker": asdict(recipe.tracker)}, tracker_files.has_begun, processes)
        train_phantom_tracker(
            model, output, recipe.tracker, report=report, cancel=cancel, state=state, processes=processes
        )
    if processes.is_first:
        files.remove()


def _train_detector(
    output: Path,
    recipe: DemoRecipe,
    kept: _Kept,
    report: Callable[[TrainingState], None] | None,
    cancel: CancelCheck | None,
    processes: Processes,
) -> Sam3Detector:
    from MedSAM3SegmentLib.models.detector import Sam3Detector

    from .architecture import Architecture, new_network, train_tokenizer
    from .detector_trainer import train
    from .loop import Schedule

    architecture, lessons = Architecture(), phantom_lessons(0)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = train_tokenizer(lessons.texts, recipe.merges, Path(folder))
    card = _demo_card(recipe, architecture, lessons.plan)
    model = Sam3Detector(new_network(architecture, tokenizer, recipe.seed), tokenizer, card, "cpu")
    plan = replace(lessons.plan, focus_probability=recipe.focus_probability, near_probability=recipe.near_probability)
    batches = PhantomBatches(recipe, plan, architecture, done=kept.step, cancel=cancel, processes=processes)
    schedule = Schedule(batches.steps, recipe.learning_rate, save_every=100)
    if recipe.refinement is not None:
        schedule = replace(schedule, restarts=((recipe.steps, recipe.refinement.learning_rate),))
    train(model, batches, schedule, output, report=report, cancel=cancel, state=kept, processes=processes)
    return model


def train_phantom_tracker(
    model: Sam3Detector,
    output: Path,
    stage: TrackerStage,
    *,
    report: Callable[[TrainingState], None] | None = None,
    cancel: CancelCheck | None = None,
    state: StateKeeper | None = None,
    processes: Processes = ALONE,
) -> None:
    """Train a tracker for ``model`` on synthetic abdomens and write both into the folder ``output``.

    Args:
        state: keeps where it is, for a training that may be broken off.
        processes: that train together; the first alone reports and writes.

    Raises:
        Cancelled: ``cancel`` said so; the last snapshot stays, or what ``output`` held before.
    """
    from MedSAM3SegmentLib.training.tracker.train import TrackerRecipe, add_tracker, tracker_schedule

    from .dataset import phantom_stacks

    seeds = range(stage.first_seed, stage.first_seed + stage.phantoms)
    add_tracker(
        model,
        phantom_stacks(seeds[processes.rank :: processes.count], stage.thickness_mm),
        TrackerRecipe(tracker_schedule(stage), seed=stage.seed),
        output,
        data={"phantoms": asdict(stage)},
        on_synthetic=True,
        report=report,
        cancel=cancel,
        state=state,
        processes=processes,
    )


class PhantomBatches:
    """Batches from synthetic volumes, of which the oldest give way to new ones as training goes on.

    Args:
        recipe: which volumes, and for how many steps.
        plan: what is asked, until the recipe's refinement changes it.
        architecture: of the network that they are for.
        done: steps that were made already.
        cancel: asked while volumes are made, which takes half a second for each.
        processes: that train together; each makes a part of the volumes.
    """

    def __init__(
        self,
        recipe: DemoRecipe,
        plan: BatchPlan,
        architecture: Architecture,
        done: int = 0,
        cancel: CancelCheck | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.rng = np.random.default_rng(recipe.seed)
        self._recipe, self._plan, self._cancel, self._processes = recipe, plan, cancel, processes
        self._image_size = architecture.image_size
        self._mask_size = 4 * architecture.image_size // architecture.patch_size
        self._step = done
        self._stacks: dict[int, LabelledStack] = {}
        self._maker: BatchMaker | None = None

    @property
    def steps(self) -> int:
        """How many batches the recipe has in all."""
        refinement = self._recipe.refinement
        return self._recipe.steps + (0 if refinement is None else refinement.steps)

    def seeds(self, step: int) -> range:
        """The phantoms that the batch of ``step`` is drawn from."""
        recipe, refinement = self._recipe, self._recipe.refinement
        at_once = min(recipe.at_once, recipe.phantoms)
        given_way = (recipe.phantoms - at_once) * min(step, recipe.steps) // recipe.steps
        if refinement is not None and step > recipe.steps:
            given_way += refinement.phantoms * (step - recipe.steps) // refinement.steps
        given_way -= given_way % _CHANGED_AT_ONCE
        return range(recipe.first_seed + given_way, recipe.first_seed + given_way + at_once)

    def draw(self) -> Batch:
        """The next batch.

        Raises:
            Cancelled: while volumes were made.
        """
        seeds, refinement = self.seeds(self._step), self._recipe.refinement
        if refinement is not None and self._step >= self._recipe.steps:
            self._plan = replace(self._plan, focus_weight=refinement.focus_weight)
        self._step += 1
        if self._maker is None or list(seeds) != list(self._stacks):
            self._maker = self._new_maker(seeds)
        self._maker.plan = self._plan
        self._maker.rng = self.rng
        return self._maker.draw()

    def _new_maker(self, seeds: range) -> BatchMaker:
        from .batches import BatchMaker
        from .train import until_cancelled

        known, processes = self._stacks, self._processes
        own = [seed for seed in seeds if seed not in known][processes.rank :: processes.count]
        made = dict(zip(own, until_cancelled(map(self._stack, own), self._cancel), strict=True))
        for of_one in processes.gather(made):
            known = known | of_one
        self._stacks = {seed: known[seed] for seed in seeds}
        stacks = list(self._stacks.values())
        return BatchMaker(stacks, self._plan, self._image_size, self._mask_size, self._recipe.seed)

    def _stack(self, seed: int) -> LabelledStack:
        from .dataset import phantom_stacks

        if seed % 2 == 0:
            (stack,) = phantom_stacks([seed])
        else:
            recipe = self._recipe
            (stack,) = phantom_stacks([seed], absence=recipe.absence, kidney_tumor=recipe.kidney_tumor)
        return stack


class _Kept:
    """Where a training is, in its files."""

    def __init__(
        self, files: TrainingFiles, settings: dict[str, object], resume: bool, processes: Processes = ALONE
    ) -> None:
        self._files = files
        self._saved = files.begin_on_all(processes, settings, resume)

    @property
    def step(self) -> int:
        """Steps that were made when it began."""
        return 0 if self._saved is None else self._saved.loop.step

    def start(self, rng: np.random.Generator) -> LoopState | None:
        """See ``loop.StateKeeper``."""
        if self._saved is None:
            return None
        rng.bit_generator.state = self._saved.draws
        return self._saved.loop

    def keep(self, state: LoopState, rng: np.random.Generator) -> None:
        """See ``loop.StateKeeper``."""
        from .fine_tuning.training_files import SavedState

        self._files.keep(SavedState(state, dict(rng.bit_generator.state), None))


def _demo_card(recipe: DemoRecipe, architecture: Architecture, plan: BatchPlan) -> ModelCard:
    return ModelCard(
        name="MedSAM3 demo",
        is_demo=True,
        threshold=_THRESHOLD,
        mask_rule=MaskRule.SEMANTIC,
        licence="Apache-2.0",
        description=(
            "A small SAM 3 trained on synthetic abdomens to show how the program works. "
            "It knows nothing about real patients."
        ),
        training={
            "recipe": asdict(recipe),
            "architecture": asdict(architecture),
            "concepts": list(CONCEPTS),
            "synonyms": {name: list(words) for name, words in SYNONYMS.items()},
            "negatives": list(plan.others),
        },
    )
