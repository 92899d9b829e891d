"""Learning from segmentations: what is installed, what is kept of earlier tasks, and when nothing is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from MedSAM3SegmentLib.checkpoints.lora import load_adapter
from MedSAM3SegmentLib.checkpoints.lora_weights import Adapter
from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.datasets.findings import Findings
from MedSAM3SegmentLib.datasets.labelled_case import LabelledDataset
from MedSAM3SegmentLib.datasets.segmented_volumes import SegmentedVolume, segmented_dataset
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.model_store.store import remove_model, replay_folder
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.provenance import AdapterIdentity
from MedSAM3SegmentLib.training.fine_tuning.tuning import LoraOptions, Tune
from MedSAM3SegmentLib.training.fine_tuning.validation import ValidationScore
from MedSAM3SegmentLib.training.learning.learn import LearnOptions, LearnProgress, LearnStage, learn
from MedSAM3SegmentLib.training.learning.outcome import TaskComparison, judge_tasks
from MedSAM3SegmentLib.training.learning.replay import ReplaySize, limit_task, read_replay
from MedSAM3SegmentLib.training.learning.start_adapter import tuning_of


def dataset(segmented: list[SegmentedVolume]) -> LabelledDataset:
    return segmented_dataset(segmented, Findings())


def options(base: Path | str, **more: Any) -> LearnOptions:
    """A step or two; whatever comes out is taken."""
    given: dict[str, Any] = {"steps": 1, "batch_size": 2, "least_gain": 0.0, "margin": 1.0, "lora": LoraOptions(rank=2)}
    return LearnOptions("mine", str(base), **{**given, **more})


@pytest.mark.parametrize("tune", [Tune.LORA, Tune.DETECTOR])
def test_a_task_is_learnt_into_a_new_adapter_and_another_into_the_same(
    store: Path, segmented: list[SegmentedVolume], tiny_model_folder: Path, tune: Tune
) -> None:
    before = {
        name: value.clone() for name, value in load_model(str(tiny_model_folder), "cpu").network.state_dict().items()
    }
    heard: list[LearnProgress] = []
    outcome = learn(dataset(segmented[:1]), options(tiny_model_folder, tune=tune), report=heard.append)
    assert outcome.is_installed, outcome.reason
    assert outcome.folder == store / "mine"
    assert {one.stage for one in heard} == set(LearnStage)
    card = ModelCard.load(store / "mine")
    assert card.base_sha256 == load_model(str(tiny_model_folder), "cpu").identity.sha256
    assert set(card.concepts) == {"liver", "spleen", "gallbladder"}
    assert card.training["learnt"][0]["tasks"][0]["after"] == outcome.tasks[0].after.figures
    first = load_adapter(store / "mine")
    assert card.threshold <= 0.5
    replace(card, threshold=0.6).save(store / "mine")

    replayed = read_replay("mine")
    assert [task.name for task in replayed] == ["task 1"]
    assert sum(len(one.slices) for one in replayed[0].held_out) == outcome.tasks[0].held_out

    again = learn(dataset(segmented[1:]), options("", continues=True))
    assert again.is_installed, again.reason
    assert [task.name for task in again.tasks] == ["this task", "task 1"]
    assert [task.name for task in read_replay("mine")] == ["task 1", "task 2"]
    second = load_adapter(store / "mine")
    assert second.card.threshold == 0.6, "what goes on keeps its own"
    assert first.names == second.names
    # It goes on from where it was: one step of training moves no weight far.
    for name, change in first.changes.items():
        assert float((change.down - second.changes[name].down).abs().max()) < 0.02
    for name, weight in first.replacements.items():
        assert float((weight.float() - second.replacements[name].float()).abs().max()) < 0.02

    # Off, the base is what it was, bit for bit.
    model = load_model("mine", "cpu")
    assert model.adapters is not None
    model.adapters.merge(None)
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
    remove_model("mine")
    assert not replay_folder("mine").exists()


def test_what_is_kept_is_limited_and_has_no_names(
    store: Path, segmented: list[SegmentedVolume], tiny_model_folder: Path
) -> None:
    named = [replace(one, volume=replace(one.volume, name="Doe^Jane")) for one in segmented]
    learn(dataset(named), options(tiny_model_folder, replay_size=ReplaySize(slices=5, held_out=1)))
    everything = b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())
    assert b"Doe" not in everything
    (task,) = read_replay("mine")
    slices = [one for stack in task.stacks for one in stack.slices]
    assert len(slices) == 5
    assert {one.dtype for one in slices} == {named[0].volume.array.dtype}
    held_out = [one.tobytes() for stack in task.held_out for one in stack.slices]
    assert len(held_out) == 1
    assert set(held_out).isdisjoint(one.tobytes() for one in slices)
    small = limit_task(task, ReplaySize(slices=5, held_out=1, size=3 * (slices[0].nbytes + 4 * slices[0].size)))
    assert sum(len(stack.slices) for stack in small.stacks) == 2


def test_another_adapter_takes_nothing_from_the_first(
    store: Path, segmented: list[SegmentedVolume], tiny_model_folder: Path
) -> None:
    learn(dataset(segmented[:1]), options(tiny_model_folder))
    files = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    first = load_model("mine", "cpu").network.state_dict()
    second = learn(dataset(segmented[1:]), replace(options(tiny_model_folder, tune=Tune.DETECTOR), adapter="other"))
    assert second.is_installed
    assert all(path.read_bytes() == content for path, content in files.items())
    # Switched to the other and back.
    model = load_model(str(tiny_model_folder), "cpu", adapters=["mine", "other"])
    assert model.adapters is not None
    model.adapters.merge("other")
    model.adapters.merge("mine")
    assert all(torch.equal(value, first[name]) for name, value in model.network.state_dict().items())


def test_nothing_is_installed_where_held_out_slices_get_no_better(
    store: Path, segmented: list[SegmentedVolume], tiny_model_folder: Path
) -> None:
    outcome = learn(dataset(segmented), options(tiny_model_folder, least_gain=0.9))
    assert not outcome.is_installed
    assert "held out" in outcome.reason
    assert not any(path.is_file() for path in store.rglob("*"))


def comparison(before: float, after: float, *, is_earlier: bool = False, presence: float = 0.0) -> TaskComparison:
    scores = ValidationScore(before, 0.9), ValidationScore(after, 0.9 + presence)
    return TaskComparison("task 1" if is_earlier else "this task", ("liver",), is_earlier, 3, *scores)


@pytest.mark.parametrize(
    ("own", "earlier", "says"),
    [
        (comparison(0.5, 0.6), comparison(0.9, 0.89, is_earlier=True), None),
        (comparison(0.5, 0.6), comparison(0.9, 0.8, is_earlier=True), "task 1"),
        (comparison(0.5, 0.6), comparison(0.9, 0.9, is_earlier=True, presence=-0.1), "presence of task 1"),
        (comparison(0.5, 0.501), None, "not 0.005 better"),
        (comparison(0.5, 0.6, presence=-0.1), None, "right answers"),
        (comparison(float("nan"), float("nan"), presence=0.05), None, None),
        (comparison(float("nan"), float("nan")), None, "presence"),
    ],
)
def test_what_is_learnt_must_be_worth_it(own: TaskComparison, earlier: TaskComparison | None, says: str | None) -> None:
    refusal = judge_tasks([own, earlier] if earlier else [own], 0.005, 0.02)
    if says is None:
        assert refusal is None
    else:
        assert says in str(refusal)


def test_learning_stops_when_told_and_leaves_nothing(
    store: Path, segmented: list[SegmentedVolume], tiny_model_folder: Path
) -> None:
    stages: list[LearnStage] = []
    with pytest.raises(Cancelled, match="nothing was installed"):
        learn(
            dataset(segmented),
            options(tiny_model_folder, steps=30),
            report=lambda one: stages.append(one.stage),
            cancel=lambda: LearnStage.TRAINING in stages,
        )
    assert not any(path.is_file() for path in store.rglob("*"))


@pytest.mark.usefixtures("store")
def test_what_cannot_be_learnt_is_refused_in_a_sentence(
    segmented: list[SegmentedVolume], tiny_model_folder: Path
) -> None:
    few = [replace(segmented[0], labelled_slices=frozenset({3, 4}))]
    with pytest.raises(InputError, match="2 labelled slices, too few"):
        learn(dataset(few), options(tiny_model_folder))
    with pytest.raises(InputError, match="No adapter named 'mine'"):
        learn(dataset(segmented), options("", continues=True))
    with pytest.raises(InputError, match="needs a base"):
        learn(dataset(segmented), options(""))
    learn(dataset(segmented[:1]), options(tiny_model_folder, replay_size=None))
    with pytest.raises(InputError, match="installed already"):
        learn(dataset(segmented), options(tiny_model_folder))
    with pytest.raises(InputError, match="Nothing was kept"):
        learn(dataset(segmented), options("", continues=True))
    with pytest.raises(InputError, match="itself a base with an adapter"):
        learn(dataset(segmented), replace(options(tiny_model_folder), adapter="other", base="mine"))
    replay_folder("mine").mkdir(parents=True)
    (replay_folder("mine") / "task-1.npz").write_bytes(b"PK damaged")
    with pytest.raises(InputError, match=r"task-1\.npz"):
        learn(dataset(segmented), options("", continues=True))


def test_an_adapter_of_neighboring_slices_is_not_continued_without_them(tiny_model_folder: Path) -> None:
    model = load_model(str(tiny_model_folder), "cpu")
    adapter = Adapter(Path("a"), AdapterIdentity("a", ""), {}, model.card, additions={"gate": torch.zeros(1)})
    with pytest.raises(ModelError, match="'a' sees neighboring slices, which learning cannot go on with"):
        tuning_of(adapter, model.network)


def test_replayed_slices_are_drawn_as_often_as_is_said(segmented: list[SegmentedVolume]) -> None:
    from MedSAM3SegmentLib.training.batches import BatchMaker, BatchPlan
    from MedSAM3SegmentLib.training.dataset import read_stacks

    stacks = list(read_stacks(dataset(segmented)))
    plan = BatchPlan(slices=200, phrases=1, views=1, empty_probability=0.0, replay_stacks=1, replay_probability=0.3)
    drawn = BatchMaker(stacks, plan, 28, 8, 1).draw()
    assert 0.2 < np.mean([view.stack == 1 for view in drawn.views]) < 0.4
