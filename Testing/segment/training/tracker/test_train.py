"""Training a tracker: what clips show, what the loss rewards, and that a trained tracker follows and stops better."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.checkpoints.networks import TrackerNetworks
from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.evaluation.studies.phantom_cases import phantom_cases
from MedSAM3SegmentLib.evaluation.studies.propagation import CLEAN, MASK, PROPAGATION
from MedSAM3SegmentLib.evaluation.studies.study import score_study
from MedSAM3SegmentLib.models.detector import Sam3Detector, VisionFeatures
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.models.save_model import save_model
from MedSAM3SegmentLib.models.tracker import Tracker
from MedSAM3SegmentLib.models.tracker_types import MaskPrompt, TrackerOutput
from MedSAM3SegmentLib.models.tracking_session import TrackingSession
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.phantom import CONCEPTS, ORGANS, make_phantom, tilted_grid
from MedSAM3SegmentLib.training.architecture import Architecture, new_network, train_tokenizer
from MedSAM3SegmentLib.training.dataset import (
    LabelledStack,
    corrupt_stack,
    phantom_stacks,
    stack_with_labels,
)
from MedSAM3SegmentLib.training.demo_recipe import TrackerStage
from MedSAM3SegmentLib.training.loop import Schedule, TrainingState
from MedSAM3SegmentLib.training.processes import Processes
from MedSAM3SegmentLib.training.tracker import trainer
from MedSAM3SegmentLib.training.tracker.architecture import TrackerArchitecture, new_tracker
from MedSAM3SegmentLib.training.tracker.clips import ClipMaker, ClipPlan
from MedSAM3SegmentLib.training.tracker.losses import SliceAnswer, TrackerCounts, TrackerLossWeights, tracker_loss
from MedSAM3SegmentLib.training.tracker.objects import (
    EncodedStack,
    StackObject,
    encode_stack,
    find_objects,
)
from MedSAM3SegmentLib.training.tracker.simulated_prompts import correcting_click, seed_prompt
from MedSAM3SegmentLib.training.tracker.train import TrackerRecipe, add_tracker, tracker_schedule
from support.tiny_model import TINY_ARCHITECTURE

SMALL = TrackerArchitecture(heads=2, mlp=32, decoder_layers=1, memory_layers=1, memory_mlp=32, fuser_mlp=32)


@pytest.fixture(scope="module")
def stacks() -> list[LabelledStack]:
    grid = tilted_grid((24, 48, 48), (7.5, 7.5, 8.0))
    phantoms = [make_phantom(seed, grid) for seed in range(3)]
    return [stack_with_labels(phantom.volume, phantom.masks) for phantom in phantoms]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Sam3Detector:
    """An untrained detector, as wide as a tracker needs."""
    sizes = {name: tuple(value) if isinstance(value, list) else value for name, value in TINY_ARCHITECTURE.items()}
    tokenizer = train_tokenizer(["liver"], 20, tmp_path_factory.mktemp("tokenizer"))
    network = new_network(replace(Architecture(**sizes), width=64), tokenizer, 0)
    return Sam3Detector(network, tokenizer, ModelCard("tiny"))


def test_a_detector_too_narrow_for_a_tracker_is_refused(tiny_model_folder: Path) -> None:
    with pytest.raises(InputError, match="multiple of 64"):
        new_tracker(SMALL, load_model(str(tiny_model_folder), "cpu").network, torch.zeros(1, 16, 32), 0)


@pytest.fixture(scope="module")
def encoded(model: Sam3Detector, stacks: list[LabelledStack]) -> list[EncodedStack]:
    rng = np.random.default_rng(0)
    return [one for stack in stacks for one in encode_stack(model, stack, rng)]


def test_spoiled_slices_keep_their_labels_and_show_nothing_to_follow(
    model: Sam3Detector, stacks: list[LabelledStack], encoded: list[EncodedStack]
) -> None:
    rng = np.random.default_rng(0)
    spoiled = [one for stack in stacks for one in encode_stack(model, stack, rng, spoiled_share=1.0)]
    for whole, stack in zip(encoded, spoiled, strict=True):
        assert not whole.spoiled
        assert len(stack.spoiled) == round(len(stack.tokens) / 3)
        assert [thing.concept for thing in stack.objects] == [thing.concept for thing in whole.objects]
        assert all(
            np.array_equal(one.mask, other.mask) for one, other in zip(whole.objects, stack.objects, strict=True)
        )


def test_noise_never_leaves_the_range_of_the_stored_type(stacks: list[LabelledStack]) -> None:
    low = stacks[0].slices.min()
    unsigned = replace(stacks[0], slices=(stacks[0].slices - low).astype(np.uint16))
    changed, _ = corrupt_stack(unsigned, 1 / 3, np.random.default_rng(3))
    assert changed.slices.dtype == np.uint16
    assert changed.slices.max() < 4 * int(unsigned.slices.max())


def test_ends_at_a_neighbour_are_drawn_more_often(encoded: list[EncodedStack]) -> None:
    """Two blocks one above the other in the same place, and one that nothing comes after."""
    shape, depth = encoded[0].shape, len(encoded[0].tokens)

    def block(concept: str, first: int, last: int, column: int) -> StackObject:
        box = (slice(first, last + 1), slice(10, 20), slice(column, column + 10))
        return StackObject(concept, box, np.ones((last + 1 - first, 10, 10), bool))

    low, high, alone = block("low", 2, 12, 5), block("high", 13, depth - 3, 5), block("alone", 2, 9, 30)
    inner = StackObject("inner", (slice(4, 8), slice(12, 16), slice(7, 11)), np.ones((4, 4, 4), bool))
    stack = EncodedStack(encoded[0].tokens, shape, (low, high, alone, inner))
    clips = ClipMaker([stack], ClipPlan(neighbour_probability=1.0, objects=1), 4)
    followed = set()
    for clip in (clips.draw() for _ in range(60)):
        (masks,) = clip.masks
        assert not masks[-1].any(), "the run goes beyond the end"
        shown = clip.positions[0]
        name = next(t.concept for t in stack.objects if np.array_equal(t.on_slice(shown, shape), masks[0]))
        followed.add((name, clip.reverse))
    # What lies within another object has no neighbor, and nor has what nothing comes after.
    assert followed == {("low", False), ("high", True)}


def test_nobody_shows_an_object_on_a_spoiled_slice(encoded: list[EncodedStack]) -> None:
    spine = next(thing for thing in encoded[0].objects if thing.concept == "spine")
    middle = (spine.first + spine.last) // 2
    stack = replace(encoded[0], objects=(spine,), spoiled=frozenset({middle}))

    def shown_on(stack: EncodedStack) -> set[int]:
        clips = ClipMaker([stack], ClipPlan(end_probability=0.0, far_probability=0.0), 2)
        return {clips.draw().positions[0] for _ in range(200)}

    assert middle in shown_on(replace(stack, spoiled=frozenset()))
    assert middle not in shown_on(stack)


def test_only_the_spoiled_slices_look_different(stacks: list[LabelledStack]) -> None:
    changed, spoiled = corrupt_stack(stacks[0], 1 / 3, np.random.default_rng(3))
    differs = (changed.slices != stacks[0].slices).any(axis=(1, 2))
    assert set(np.flatnonzero(differs).tolist()) <= spoiled
    # A slice whose organs should lose contrast may have none.
    with_organs = {index for index in spoiled if stacks[0].codes[index].any()}
    assert with_organs <= set(np.flatnonzero(differs).tolist())
    assert changed.slices.dtype == stacks[0].slices.dtype


def test_objects_are_the_bodies_of_a_stack_each_once(stacks: list[LabelledStack]) -> None:
    for stack in stacks:
        found = find_objects(stack)
        names = [thing.concept for thing in found]
        # Each kidney is an object by its own name, and not once more as a part of "kidney".
        assert "kidney" not in names
        for organ in {"liver", "left kidney", "right kidney", "spine"} & set(names):
            whole = np.stack([stack.mask(index, organ) for index in range(len(stack.slices))])
            pieces = [thing for thing in found if thing.concept == organ]
            covered = sum(
                np.stack([thing.on_slice(index, whole.shape[1:]) for index in range(len(whole))]) for thing in pieces
            )
            assert covered.max() == 1
            assert not (covered & ~whole).any()
            assert covered.sum() > 0.98 * whole.sum()


def test_clips_go_slice_by_slice_past_the_ends_of_objects(encoded: list[EncodedStack]) -> None:
    maker, gone, far, falling = ClipMaker(encoded, ClipPlan(), 3), 0, 0, 0
    again = ClipMaker(encoded, ClipPlan(), 3)
    for _ in range(80):
        clip, same = maker.draw(), again.draw()
        assert clip.positions == same.positions
        assert all(np.array_equal(one, other) for one, other in zip(clip.masks, same.masks, strict=True))
        step = -1 if clip.reverse else 1
        followed = clip.positions[1:]
        assert [b - a for a, b in pairwise(followed)] == [step] * (len(followed) - 1)
        assert len(clip.positions) > 1 + clip.given
        for masks in clip.masks:
            there = [bool(mask.any()) for mask in masks]
            # Shown where it is, and on the slice before the run.
            assert there[0]
            assert there[clip.given]
            gone += not there[-1]
        far += clip.positions[1] - clip.positions[0] != step
        falling += clip.reverse
        tokens = next(s.tokens for s in encoded if torch.equal(s.tokens[clip.positions[0]], clip.tokens[0]))
        assert torch.equal(tokens[list(clip.positions)], clip.tokens)
    assert gone > 25
    assert far > 10
    assert 20 < falling < 60


def test_prompts_show_the_object() -> None:
    rng, mask = np.random.default_rng(0), np.zeros((40, 60), bool)
    mask[10:20, 30:45] = True
    kinds = set()
    for _ in range(60):
        prompt = seed_prompt(mask, ClipPlan().seeds, rng)
        if isinstance(prompt, MaskPrompt):
            kinds.add("mask")
            assert abs(int(prompt.mask.sum()) - mask.sum()) <= 60
            continue
        if prompt.box is not None:
            kinds.add("box")
            np.testing.assert_allclose(prompt.box, (0.5, 0.25, 0.75, 0.5), atol=0.08)
            continue
        for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
            kinds.add(("point", label))
            assert mask[int(y * 40), int(x * 60)] == bool(label)
    assert kinds == {"mask", "box", ("point", 0), ("point", 1)}


def test_the_click_lands_in_the_largest_error() -> None:
    wanted = np.zeros((40, 60), bool)
    wanted[10:20, 10:25] = True
    found = wanted.copy()
    found[30:38, 40:50] = True
    found[12, 12] = False
    click = correcting_click(found, wanted)
    assert click is not None
    (x, y), label = click
    assert label == 0
    assert 30 <= y * 40 < 38
    assert 40 <= x * 60 < 50
    missed = correcting_click(np.zeros_like(wanted), wanted)
    assert missed is not None
    assert missed[1] == 1
    assert correcting_click(wanted, wanted) is None


def _answer(logits: torch.Tensor, score: float, quality: float, present: bool, wanted: torch.Tensor) -> SliceAnswer:
    mask = TrackerOutput(logits, torch.tensor(score), torch.tensor(quality), torch.zeros(4))
    return SliceAnswer((mask,), wanted, present, at_end=False)


def test_a_right_answer_costs_nothing_and_each_fault_costs() -> None:
    wanted = torch.zeros(16, 16)
    wanted[4:9, 5:12] = 1
    right, empty = torch.where(wanted > 0.5, 9.0, -9.0), torch.full((16, 16), -9.0)

    def loss(*answers: SliceAnswer) -> float:
        return float(sum(tracker_loss(answers, TrackerLossWeights()).values()))

    gone = _answer(torch.full((16, 16), -1024.0), -9.0, 0.0, False, torch.zeros(16, 16))
    assert loss(_answer(right, 9.0, 1.0, True, wanted), gone) < 0.05
    assert loss(_answer(empty, 9.0, 0.0, True, wanted)) > 2  # a wrong mask
    assert loss(_answer(right, 9.0, 0.0, True, wanted)) > 0.5  # a wrong opinion of it
    assert loss(_answer(right, 9.0, 1.0, False, torch.zeros(16, 16))) > 2  # went on after the end
    assert loss(_answer(right, -9.0, 1.0, True, wanted)) > 2  # stopped too early
    missed = replace(_answer(right, -9.0, 1.0, True, wanted), at_end=True)
    fine = _answer(right, 9.0, 1.0, True, wanted)
    assert loss(missed, fine) > loss(replace(missed, at_end=False), fine)


def test_of_three_readings_the_best_is_taught_most() -> None:
    wanted = torch.zeros(16, 16)
    wanted[4:9, 5:12] = 1
    logits = [torch.full((16, 16), value, requires_grad=True) for value in (-1.0, 0.0, 1.0)]
    logits[1] = torch.where(wanted > 0.5, 0.5, -0.5).requires_grad_()
    readings = tuple(TrackerOutput(one, torch.tensor(5.0), torch.tensor(0.5), torch.zeros(4)) for one in logits)
    sum(tracker_loss([SliceAnswer(readings, wanted, True, False)], TrackerLossWeights()).values()).backward()
    taught = [float(one.grad.abs().sum()) for one in logits if one.grad is not None]
    assert len(taught) == 3
    assert taught[1] > 5 * max(taught[0], taught[2]) > 0


def test_training_goes_the_very_way_of_a_session(model: Sam3Detector, encoded: list[EncodedStack]) -> None:
    """A clip without corrections gives bit for bit what a session makes of the same slices and prompts."""
    tracker = Tracker(new_tracker(SMALL, model.network, encoded[0].tokens, 0))
    plan = ClipPlan(far_probability=0.0, correction_probability=0.0, seeds=(0.0, 1.0, 0.0), objects=1)
    clips = ClipMaker(encoded, plan, 1)
    for _ in range(3):
        clip = clips.draw()
        state = clips.rng.bit_generator.state
        answers = list(trainer.unroll(tracker, clip, clips))
        clips.rng.bit_generator.state = state
        rng = np.random.default_rng(int(clips.rng.integers(2**63, size=1)[0]))  # the object's own
        rng.random()  # whether to correct
        prompt = seed_prompt(clip.masks[0][0], plan.seeds, rng)
        session = TrackingSession(tracker, clip.depth)
        with torch.inference_mode():
            slices = [tracker.build_features(VisionFeatures(token[None].float())) for token in clip.tokens]
        expected = [session.prompt("it", clip.positions[0], slices[0], prompt)]
        for position, features in zip(clip.positions[1:], slices[1:], strict=True):
            expected.append(session.step(position, features, reverse=clip.reverse)["it"])
        assert len(answers) == len(expected)
        for answer, right in zip(answers, expected, strict=True):
            assert torch.equal(answer.readings[0].pred_masks.detach(), right.pred_masks)
            assert torch.equal(answer.readings[0].object_score_logits.detach(), right.object_score_logits)


def test_processes_that_share_a_clip_have_the_losses_of_one(model: Sam3Detector, encoded: list[EncodedStack]) -> None:
    """Each goes through its part of the objects; what they lose, divided by the counts of all, adds up."""
    networks, weights = new_tracker(SMALL, model.network, encoded[0].tokens, 0), TrackerLossWeights()
    tracker = Tracker(networks)

    def answers(processes: Processes) -> list[list[SliceAnswer]]:
        clips = ClipMaker(encoded, ClipPlan(correction_probability=1.0, seeds=(0.4, 0.2, 0.4)), 2)
        return [list(trainer.unroll(tracker, clips.draw(), clips, processes)) for _ in range(4)]

    for alone, *parts in zip(*map(answers, (Processes(), *(Processes(rank, 2) for rank in (0, 1)))), strict=True):
        counts = TrackerCounts.total(TrackerCounts.of(part, weights) for part in parts)
        assert counts == TrackerCounts.of(alone, weights)
        whole = tracker_loss(alone, weights)
        shared = [tracker_loss(part, weights, counts) for part in parts]
        for name, term in whole.items():
            total = sum(terms[name].item() for terms in shared if name in terms)
            assert total == pytest.approx(term.item(), rel=1e-5)


def test_the_refinement_never_exceeds_the_learning_rate_that_was_asked_for() -> None:
    usual, slow = (tracker_schedule(stage) for stage in (TrackerStage(), TrackerStage(learning_rate=1e-4)))
    assert max(map(usual.rate, range(2600, 5200))) == pytest.approx(5e-4)
    assert max(map(slow.rate, range(5200))) == pytest.approx(1e-4)


def test_all_weights_that_inference_uses_are_taught(model: Sam3Detector, encoded: list[EncodedStack]) -> None:
    networks = new_tracker(SMALL, model.network, encoded[0].tokens, 0)
    clips = ClipMaker(encoded, ClipPlan(correction_probability=1.0, seeds=(0.4, 0.2, 0.4)), 2)
    for _ in range(20):
        terms = tracker_loss(list(trainer.unroll(Tracker(networks), clips.draw(), clips)), TrackerLossWeights())
        sum(terms.values()).backward()
    untaught = {name for name, value in networks.model.named_parameters() if value.grad is None or not value.grad.any()}
    # SAM 3 has it and never uses it.
    assert untaught <= {"no_memory_positional_encoding"}
    taught = {name.split(".")[1] for name, value in networks.neck.named_parameters() if value.grad is not None}
    assert taught == {"0", "1", "2"}


def test_a_trained_tracker_is_in_the_folder_beside_an_unchanged_detector(
    model: Sam3Detector, stacks: list[LabelledStack], encoded: list[EncodedStack], tmp_path: Path
) -> None:
    output, reports = tmp_path / "model", list[TrainingState]()

    def loss_of(networks: TrackerNetworks) -> float:
        clips = ClipMaker(encoded, ClipPlan(), 99)
        with torch.no_grad():
            answers = [a for _ in range(6) for a in trainer.unroll(Tracker(networks), clips.draw(), clips)]
        return float(sum(tracker_loss(answers, TrackerLossWeights()).values()))

    untrained = loss_of(new_tracker(SMALL, model.network, encoded[0].tokens, 1))
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    recipe = TrackerRecipe(Schedule(40, learning_rate=3e-3, warmup=5, average=0.9, save_every=30), architecture=SMALL)
    add_tracker(
        model, stacks, recipe, output, data={"phantoms": 3}, on_synthetic=True, report=reports.append
    )  # fmt: skip
    loaded = load_model(str(output), "cpu")
    assert loaded.tracker is not None
    assert loaded.card.is_demo
    assert loaded.card.training["tracker"]["recipe"]["schedule"]["steps"] == 40
    for name, value in loaded.network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=1e-3, atol=1e-4)
        assert torch.equal(model.network.state_dict()[name], before[name])
    steps = [report.step for report in reports]
    assert steps == sorted(steps)
    assert {20, 40} <= set(steps)
    assert loss_of(loaded.tracker) < 0.75 * untrained


def test_the_tracker_that_training_returns_is_the_one_it_saved(
    model: Sam3Detector, stacks: list[LabelledStack], tmp_path: Path
) -> None:
    recipe = TrackerRecipe(Schedule(2, warmup=1), architecture=SMALL)
    trained = add_tracker(model, stacks[:1], recipe, tmp_path / "model", data={}, on_synthetic=False)
    loaded = load_model(str(tmp_path / "model"), "cpu")
    assert trained.tracker is not None
    assert loaded.tracker is not None
    for part in ("model", "neck"):
        kept = getattr(trained.tracker, part).state_dict()
        for name, value in getattr(loaded.tracker, part).state_dict().items():
            assert torch.equal(value, kept[name]), name


def test_cancelling_leaves_the_last_snapshot(model: Sam3Detector, stacks: list[LabelledStack], tmp_path: Path) -> None:
    asked = 0

    def cancel() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5

    recipe = TrackerRecipe(Schedule(50, warmup=1, save_every=3), architecture=SMALL)
    with pytest.raises(Cancelled, match="after 4 of 50"):
        add_tracker(model, stacks[:1], recipe, tmp_path / "model", data={}, on_synthetic=True, cancel=cancel)
    assert load_model(str(tmp_path / "model"), "cpu").tracker is not None


def test_volumes_with_nothing_to_follow_are_refused(
    model: Sam3Detector, stacks: list[LabelledStack], tmp_path: Path
) -> None:
    nothing = replace(stacks[0], codes=np.zeros_like(stacks[0].codes))
    with pytest.raises(InputError, match="Nothing in the training volumes"):
        add_tracker(model, [nothing], TrackerRecipe(Schedule(2)), tmp_path / "m", data={}, on_synthetic=False)
    assert not (tmp_path / "m").exists()


def test_slices_of_training_phantoms_lie_as_far_apart_as_asked() -> None:
    thin, thick = (
        next(iter(phantom_stacks([5], thickness_mm))) for thickness_mm in ((2.0, 2.5), (7.5, 8.0))
    )  # fmt: skip
    assert 70 < len(thin.slices) < 112
    assert 21 < len(thick.slices) < 31
    assert thin.concepts == thick.concepts == CONCEPTS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tracker"], "needs a model to track for"),
        (["--tracker", "--demo", "--base", "demo"], "leave --tracker out"),
        (["--tracker", "--base", "demo", "--steps", "0"], "--steps 0 is too few"),
    ],
)
def test_the_command_refuses_what_cannot_be(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--output", str(tmp_path / "model"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_the_command_gives_a_model_a_tracker(model: Sam3Detector, tmp_path: Path) -> None:
    save_model(model, tmp_path / "base")
    words = ["--tracker", "--model", str(tmp_path / "base"), "--phantoms", "1", "--steps", "2", "--seed", "3"]
    assert main(["train", "--output", str(tmp_path / "model"), *words]) == 0
    made = load_model(str(tmp_path / "model"), "cpu")
    assert made.tracker is not None
    assert made.card.name == "tiny"
    assert made.card.training["tracker"]["phantoms"]["seed"] == 3
    cases = phantom_cases([100_000], PROPAGATION.concepts, 40.0)
    rows = score_study(PROPAGATION, Segmenter(made), cases, (MASK,), (CLEAN,))
    assert {row.concept for row in rows} == set(ORGANS) & set(make_phantom(100_000).present)
