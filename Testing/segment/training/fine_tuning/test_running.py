"""What goes with a training and does not change it: less memory for pictures, and a log for TensorBoard."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
import torch

from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.training.batches import BatchMaker
from MedSAM3SegmentLib.training.dataset import LabelledStack
from MedSAM3SegmentLib.training.detector_trainer import predict
from MedSAM3SegmentLib.training.fine_tuning.activation_checkpoints import checkpointed_activations
from MedSAM3SegmentLib.training.fine_tuning.memory_estimate import TrainingMemory
from MedSAM3SegmentLib.training.fine_tuning.tensorboard_log import check_tensorboard
from MedSAM3SegmentLib.training.fine_tuning.tuning import LoraOptions, Tune
from MedSAM3SegmentLib.training.losses import LossWeights, detection_loss
from MedSAM3SegmentLib.training.meta.losses import MetaLossWeights
from support.fine_tuning import StopAtStep, recipe, tune


def losses_in(curve: Path) -> list[str]:
    with curve.open(newline="") as file:
        return [row["loss"] for row in csv.DictReader(file)]


def test_checkpointed_activations_give_the_same_gradients(tiny: Sam3Detector, stacks: list[LabelledStack]) -> None:
    network = tiny.network.train()
    batch = BatchMaker(stacks, recipe(Tune.ALL).plan, tiny.image_size, 16, 3).draw()

    def gradients() -> dict[str, torch.Tensor]:
        network.zero_grad(set_to_none=True)
        raw = predict(tiny, batch, by_layers=True)
        torch.stack(list(detection_loss(raw, batch.targets, LossWeights()).values())).sum().backward()
        return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}

    plain = gradients()
    with checkpointed_activations(network):
        saved = gradients()
    after = gradients()
    assert plain.keys() == saved.keys() == after.keys()
    assert all(torch.equal(value, saved[name]) and torch.equal(value, after[name]) for name, value in plain.items())


@pytest.mark.parametrize("losses", [None, MetaLossWeights()])
def test_a_training_with_them_is_the_same_and_takes_less(
    tiny_model_folder: Path, stacks: list[LabelledStack], tmp_path: Path, losses: MetaLossWeights | None
) -> None:
    memory: dict[str, TrainingMemory] = {}
    for name, is_on in (("plain", False), ("saved", True)):
        tune(
            load_model(str(tiny_model_folder), "cpu", dtype="float32"),
            stacks,
            recipe(Tune.LORA, steps=2, lora=LoraOptions(rank=2), losses=losses),
            tmp_path / name,
            tiny_model_folder,
            checkpoint_activations=is_on,
            say_memory=lambda one, name=name: memory.update({name: one}),
        )
    curves = [losses_in(tmp_path / name / "learning-curve.csv") for name in ("plain", "saved")]
    # Without them phrases on a slice share what they can, which is rounded otherwise.
    assert [float(loss) for loss in curves[0]] == pytest.approx([float(loss) for loss in curves[1]], rel=1e-3)
    assert memory["saved"].pictures < 0.7 * memory["plain"].pictures


def test_metas_losses_stand_in_the_learning_curve_and_make_a_training_of_its_own(
    tiny_model_folder: Path, stacks: list[LabelledStack], tmp_path: Path
) -> None:
    how = recipe(Tune.DETECTOR, steps=4, losses=MetaLossWeights())
    model = load_model(str(tiny_model_folder), "cpu", dtype="float32")
    with pytest.raises(Cancelled):
        tune(model, stacks, how, tmp_path / "a", tiny_model_folder, **StopAtStep(3).hooks)
    with pytest.raises(InputError, match="losses"):
        tune(model, stacks, recipe(Tune.DETECTOR, steps=4), tmp_path / "a", tiny_model_folder, resume=True)
    tune(model, stacks, how, tmp_path / "a", tiny_model_folder, resume=True)
    with (tmp_path / "a" / "learning-curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    for row in rows:
        terms = [float(value) for name, value in row.items() if value and name not in ("step", "learning rate", "loss")]
        assert float(row["loss"]) == pytest.approx(sum(terms))
    assert any(row["one-to-many"] for row in rows)


def test_tensorboard_shows_the_learning_curve_and_goes_on_after_a_break(
    tiny_model_folder: Path, stacks: list[LabelledStack], tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = load_model(str(tiny_model_folder), "cpu", dtype="float32")
    how, more = recipe(Tune.DETECTOR, steps=6), {"tensorboard": True, "validation": stacks[1:]}
    with pytest.raises(Cancelled):
        tune(
            model,
            stacks[:1],
            how,
            tmp_path / "a",
            tiny_model_folder,
            **StopAtStep(3).hooks,
            **more,
        )
    tune(model, stacks[:1], how, tmp_path / "a", tiny_model_folder, resume=True, **more)
    log = EventAccumulator(str(tmp_path / "a.tensorboard")).Reload()
    shown = {event.step: event.value for event in log.Scalars("loss/sum")}
    curve = losses_in(tmp_path / "a" / "learning-curve.csv")
    assert [event.step for event in log.Scalars("loss/sum")] == [1, 2, 3, 4, 5, 6]
    assert [shown[step] for step in range(1, 7)] == pytest.approx([float(value) for value in curve], rel=1e-5)
    assert [event.step for event in log.Scalars("validation/dice")] == [2, 4, 6]


def test_without_the_package_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(Exception, match="pip install tensorboard"):
        check_tensorboard()
