"""Training a SAM 3 on: into an adapter folder, or into a whole model folder where every weight changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from MedSAM3SegmentLib.adapters.adapter_folder import write_adapter
from MedSAM3SegmentLib.adapters.image_summary import ImageSummary
from MedSAM3SegmentLib.adapters.slice_adapter import SLICE_ADAPTER
from MedSAM3SegmentLib.errors import InputError, ModelError
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.models.devices import training_dtype
from MedSAM3SegmentLib.models.plain_attention import plain_attention
from MedSAM3SegmentLib.models.threads import threads_for
from MedSAM3SegmentLib.progress import CancelCheck
from MedSAM3SegmentLib.training.batches import Batch, BatchMaker
from MedSAM3SegmentLib.training.dataset import LabelledStack
from MedSAM3SegmentLib.training.detector_trainer import half_precision, predict, save_snapshot
from MedSAM3SegmentLib.training.loop import LoopHooks, LoopState, Terms, TrainingState, Weights, run_schedule
from MedSAM3SegmentLib.training.losses import Counts, LossWeights, detection_loss
from MedSAM3SegmentLib.training.meta.decoder_layers import recorded_decoder
from MedSAM3SegmentLib.training.meta.losses import MetaLossWeights, meta_loss
from MedSAM3SegmentLib.training.processes import Processes

from .activation_checkpoints import checkpointed_activations
from .frozen_features import FrozenFeatures
from .lora_layers import lora_weights
from .memory_estimate import TrainingMemory, estimate_training_memory
from .recipe import FineTuning
from .summarize_pictures import summarize_pictures, summary_file
from .tensorboard_log import TensorBoardLog, tensorboard_folder
from .trainable_weights import trainable_weights
from .training_files import CURVE_FILE, SavedState, TrainingFiles
from .tuning import ENCODERS, LayerDecay, Tune
from .validation import ValidationScore, validate

if TYPE_CHECKING:
    from transformers import Sam3Model

    from MedSAM3SegmentLib.checkpoints.model_card import ModelCard


#: The slice adapter's place among what is trained and written.
_ADDED = SLICE_ADAPTER.removesuffix(".")

#: Times the learning rate of the detector.
_NEW_RATE = 3.0


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """What goes with a training but is not part of its numbers.

    Attributes:
        output: folder to write.
        validation: stacks that the best of its states is chosen by; without any the last is kept.
        resume: whether a training that was broken off goes on.
        settings: JSON that must be the same when it goes on, beside the recipe's own.
        report: hears how far it is.
        cancel: may end it between two steps.
        say: hears of figures of validation.
        say_memory: hears before the first step what the training takes.
        processes: that train together.
        start: fills the weights that learn, before the first step, with others than the base's.
        checkpoint_activations: keep less from the way forward to the way back, and compute it anew.
        tensorboard: whether the learning curve is written for TensorBoard too.
    """

    output: Path
    validation: Sequence[LabelledStack] = ()
    resume: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    report: Callable[[TrainingState], None] | None = None
    cancel: CancelCheck | None = None
    say: Callable[[int, ValidationScore], None] = lambda _step, _score: None
    say_memory: Callable[[TrainingMemory], None] | None = None
    processes: Processes = field(default_factory=Processes)
    start: Callable[[Sam3Model], None] = lambda _network: None
    checkpoint_activations: bool = False
    tensorboard: bool = False


def fine_tune(
    model: Sam3Detector, stacks: Sequence[LabelledStack], recipe: FineTuning, card: ModelCard, run: TrainingRun
) -> None:
    """Train ``model`` on and write what comes out of it.

    Its tracker stays as it is. With adapters (all but ``Tune.ALL``) its own weights are as before.

    Args:
        model: in float32 where its encoders are trained.
        stacks: to train on.
        card: of what is written.

    Raises:
        InputError: the recipe does not fit, or a broken-off training stands in the way.
        ModelError: the model cannot be trained.
        Cancelled: the output folder holds the best so far, if there is any; the training can go on.
    """
    if model.tokenizer is None:
        raise ModelError("The model {model} has no tokenizer; train on one that has.", model=model.card.name)
    if not any(len(stack.slices) for stack in stacks):
        raise InputError("There is no slice to train on; check the manifest.")
    less = checkpointed_activations(model.network) if run.checkpoint_activations else nullcontext()
    frozen = FrozenFeatures(model) if recipe.tune.freezes_encoders else None
    with threads_for(model), less, plain_attention(model, training_dtype(model.device.type)):
        kept = TrainingFiles(run.output)
        saved = kept.begin_on_all(run.processes, {**recipe.describe(), **run.settings}, run.resume)
        files: dict[str, str] = {}
        if recipe.tune is not Tune.ALL and run.processes.is_first:

            def summarize() -> ImageSummary | None:
                sizes = network_sizes(model)
                return summarize_pictures(model, stacks, recipe.effective_plan, sizes, recipe.seed, frozen, run.cancel)

            files = summary_file(kept, run.resume, summarize)
        with trainable_weights(model, recipe):
            run.start(model.network)
            _Training(model, stacks, recipe, card, run, frozen, kept, files).go(saved)


def network_sizes(model: Sam3Detector) -> tuple[int, int]:
    """Edges of the network's input and of its masks in pixels."""
    patch_size = int(model.network.config.vision_config.backbone_config.patch_size)
    return model.image_size, 4 * model.image_size // patch_size


def _rate_of_new(name: str) -> float:
    """Weights that begin at nothing learn faster than those that know something already."""
    return _NEW_RATE if name.startswith(SLICE_ADAPTER) else 1.0


class _Training:
    """One training from its first step, or where it was broken off, to its output folder."""

    def __init__(
        self,
        model: Sam3Detector,
        stacks: Sequence[LabelledStack],
        recipe: FineTuning,
        card: ModelCard,
        run: TrainingRun,
        frozen: FrozenFeatures | None,
        kept: TrainingFiles,
        files: Mapping[str, str],
    ) -> None:
        self._model, self._recipe, self._card, self._run = model, recipe, card, run
        self._batches = BatchMaker(stacks, recipe.effective_plan, *network_sizes(model), recipe.seed)
        self._frozen, self._adapter_files = frozen, files
        adapter = model.trained_slice_adapter
        #: What holds the weights that are trained.
        self._module: torch.nn.Module = (
            model.network if adapter is None else torch.nn.ModuleDict({"detector": model.network, _ADDED: adapter})
        )
        self._files = kept
        self._best: float | None = None
        self._last_step = 0
        self._board: TensorBoardLog | None = None

    def go(self, saved: SavedState | None) -> None:
        run, network = self._run, self._model.network
        start: LoopState | None = None
        if saved is not None:
            start, self._best = saved.loop, saved.best
            self._batches.rng.bit_generator.state = saved.draws
        if run.say_memory is not None and run.processes.is_first:
            run.say_memory(self._estimate_memory())
        if run.tensorboard and run.processes.is_first:
            self._board = TensorBoardLog(tensorboard_folder(run.output), 0 if start is None else start.step)
        decay = LayerDecay.of(network, self._recipe.layer_decay)
        network.train()
        try:
            run_schedule(
                self._module,
                self._recipe.schedule,
                self._draw_losses,
                self._save if run.processes.is_first else lambda _weights: None,
                run.output,
                hooks=LoopHooks(
                    run.report if run.processes.is_first else None,
                    run.cancel,
                    self._count,
                    run.processes.combine,
                    self._keep if run.processes.is_first else lambda _state: None,
                ),
                rate_of=decay.rate_of if self._recipe.tune is Tune.ALL else _rate_of_new,
                start=start,
            )
        finally:
            network.eval()
            if self._board is not None:
                self._board.close()
        if run.processes.is_first:
            # What is kept may be an earlier state, with the curve up to there.
            (run.output / CURVE_FILE).write_text(self._files.curve.read_text(encoding="utf-8"), encoding="utf-8")
            self._files.remove()

    def _estimate_memory(self) -> TrainingMemory:
        """Looks at one slice of a batch that is drawn for this alone."""
        plan, recipe = self._recipe.effective_plan, self._recipe
        draws = BatchMaker(self._batches.stacks, replace(plan, slices=1), *network_sizes(self._model), recipe.seed)
        batch = draws.draw()
        counts = Counts.of(batch.targets, self._queries)
        parts = min(max(recipe.accumulate, self._run.processes.count), plan.slices)

        def losses() -> torch.Tensor:
            return torch.stack(list(self._losses(batch, counts).values())).sum()

        return estimate_training_memory(self._model, losses, -(-plan.slices // parts))

    @property
    def _queries(self) -> int:
        return int(self._model.network.config.detr_decoder_config.num_queries)

    def _draw_losses(self) -> Iterator[Terms]:
        batch = self._batches.draw()
        counts = Counts.of(batch.targets, self._queries)
        for part in self._run.processes.parts_of(batch, self._recipe.accumulate):
            yield self._losses(part, counts)

    def _losses(self, part: Batch, counts: Counts) -> Terms:
        device = self._model.device.type
        dtype = training_dtype(device)
        mixed = torch.autocast(device, dtype) if dtype is torch.bfloat16 else nullcontext()
        losses, by_layers = self._recipe.losses or LossWeights(), self._run.checkpoint_activations
        with mixed:
            if isinstance(losses, MetaLossWeights):
                with recorded_decoder(self._model.network) as call:
                    raw = predict(self._model, part, self._frozen, by_layers=by_layers)
                return meta_loss(self._model.network, raw, call, part.targets, losses, counts)
            raw = predict(self._model, part, self._frozen, by_layers=by_layers)
        return detection_loss(raw, part.targets, losses, counts)

    def _count(self, step: int, rate: float, losses: Mapping[str, float]) -> None:
        self._last_step = step
        if self._run.processes.is_first:
            self._files.add_row(step, rate, losses)
        if self._board is not None:
            self._board.add_step(step, rate, losses)

    def _keep(self, state: LoopState) -> None:
        draws = dict(self._batches.rng.bit_generator.state)
        self._files.keep(SavedState(state, draws, self._best))

    def _save(self, weights: Weights) -> None:
        """Write the output folder, if this is the best state so far."""
        if not self._run.validation:
            self._write(weights, {})
            return
        with _loaded(self._module, weights):
            score = validate(self._model, self._run.validation, self._card)
        self._files.add_validation({"dice": score.dice, "presence": score.presence})
        if self._board is not None:
            self._board.add_validation(self._last_step, {"dice": score.dice, "presence": score.presence})
        self._run.say(self._last_step, score)
        if self._best is None or score.total > self._best:
            self._best = score.total
            self._write(weights, {**score.figures, "step": self._last_step})

    def _write(self, weights: Weights, figures: Mapping[str, float]) -> None:
        card, recipe, output = replace(self._card, validation=dict(figures)), self._recipe, self._run.output
        files = {CURVE_FILE: self._files.curve.read_text(encoding="utf-8"), **self._adapter_files}
        if recipe.tune is Tune.ALL:
            written = Sam3Detector(
                self._model.network, self._model.tokenizer, card, str(self._model.device), tracker=self._model.tracker
            )
            save_snapshot(written, weights, output)
            (output / CURVE_FILE).write_text(files[CURVE_FILE], encoding="utf-8")
        elif recipe.tune is Tune.LORA:
            write_adapter(output, card, lora_weights(weights, recipe.lora), {}, files)
        else:
            named = {name.removeprefix("detector."): weight for name, weight in weights.items()}
            changed = {name: half_precision(w) for name, w in named.items() if not name.startswith(ENCODERS)}
            write_adapter(output, card, {}, changed, files)


@contextmanager
def _loaded(network: torch.nn.Module, weights: Weights) -> Iterator[None]:
    """Within the block the network's trained weights are others."""
    own = {name: p for name, p in network.named_parameters() if p.requires_grad}
    before = {name: parameter.data for name, parameter in own.items()}
    try:
        for name, parameter in own.items():
            parameter.data = weights[name].to(parameter.dtype)
        yield
    finally:
        for name, parameter in own.items():
            parameter.data = before[name]
