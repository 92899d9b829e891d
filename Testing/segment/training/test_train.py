"""Training: what a batch holds, what the loss rewards, and that a step makes a network better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.models.detector import PADDING_LABEL, DetectorOutput, Sam3Detector
from MedSAM3SegmentLib.models.devices import training_dtype
from MedSAM3SegmentLib.models.network.stage_types import DenseMasks
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.synthetic.phantom import CONCEPTS, make_phantom, tilted_grid
from MedSAM3SegmentLib.training import detector_trainer
from MedSAM3SegmentLib.training.architecture import Architecture, new_network, train_tokenizer
from MedSAM3SegmentLib.training.batches import BatchMaker, BatchPlan
from MedSAM3SegmentLib.training.dataset import LabelledStack, stack_with_labels
from MedSAM3SegmentLib.training.demo_recipe import (
    FOCUS,
    SYNONYMS,
    held_back_phrases,
    negative_phrases,
)
from MedSAM3SegmentLib.training.detector_trainer import predict, train
from MedSAM3SegmentLib.training.loop import Schedule, TrainingState
from MedSAM3SegmentLib.training.losses import (
    GroundTruth,
    LossWeights,
    detection_loss,
    generalised_iou,
    match,
)
from MedSAM3SegmentLib.training.mask_objects import target_of

TINY = Architecture(
    image_size=56, window_size=2, vision_width=32, vision_layers=2, vision_heads=2, vision_mlp=64, global_layers=(1,),
    width=32, heads=2, mlp=32, encoder_layers=1, decoder_layers=1, queries=4, text_width=32, text_layers=1,
    text_heads=2, text_mlp=32, context_length=16,
)  # fmt: skip


@pytest.fixture(scope="module")
def stacks() -> list[LabelledStack]:
    grid = tilted_grid((12, 48, 48), (7.5, 7.5, 16.0))
    phantoms = [make_phantom(seed, grid) for seed in range(4)]
    return [stack_with_labels(phantom.volume, phantom.masks) for phantom in phantoms]


def maker(stacks: list[LabelledStack], seed: int = 0, **plan: object) -> BatchMaker:
    return BatchMaker(
        stacks, BatchPlan(focus=FOCUS, synonyms=SYNONYMS, others=["lung"], **plan), TINY.image_size, 16, seed
    )  # type: ignore[arg-type]


@pytest.fixture
def model(tmp_path: Path) -> Sam3Detector:
    tokenizer = train_tokenizer(CONCEPTS, 50, tmp_path / "tokenizer")
    return Sam3Detector(new_network(TINY, tokenizer, 0), tokenizer, ModelCard("tiny"))


def test_batches_are_reproducible_and_complete(stacks: list[LabelledStack]) -> None:
    batch, again = maker(stacks, 5).draw(), maker(stacks, 5).draw()
    assert batch.phrases == again.phrases
    assert torch.equal(batch.pixels, again.pixels)
    assert batch.pixels.shape == (8, 3, 56, 56)
    assert len(batch.phrases) == len(batch.targets) == len(batch.boxes) == 32
    assert batch.pixels.min() >= -1
    assert batch.pixels.max() <= 1


def test_batches_ask_for_what_is_there_and_what_is_not(stacks: list[LabelledStack]) -> None:
    draws = [maker(stacks, seed).draw() for seed in range(6)]
    present = [len(target.boxes) > 0 for batch in draws for target in batch.targets]
    assert 0.25 < np.mean(present) < 0.75
    asked = {
        phrase
        for batch in draws
        for phrase, target in zip(batch.phrases, batch.targets, strict=True)
        if len(target.boxes)
    }
    assert not any("lung" in phrase for phrase in asked)


def plain_stack(concepts: dict[str, range], slices: int = 40) -> LabelledStack:
    """A grey stack in which each concept fills a corner of the slices named."""
    codes = np.zeros((slices, 48, 48), np.uint32)
    for number, where in enumerate(concepts.values()):
        for index in where:
            codes[index, 4:20, 4:20] |= 1 << number
    window = Window(0.0, 1.0)
    return LabelledStack(np.full((slices, 48, 48), 0.5, np.float32), window, False, codes, tuple(concepts))


def test_rare_concepts_in_focus_are_shown_as_often_as_common_ones() -> None:
    stack = plain_stack({"liver tumor": range(30), "kidney tumor": range(30, 31)})
    plan = BatchPlan(
        focus=("liver tumor", "kidney tumor"), focus_probability=1.0, box_probability=0, empty_probability=0
    )
    batches = BatchMaker([stack], plan, 56, 16, 0)
    present = [
        phrase for _ in range(10) for batch in [batches.draw()]
        for phrase, target in zip(batch.phrases, batch.targets, strict=True) if len(target.boxes)
    ]  # fmt: skip
    rare = np.mean(["kidney" in phrase or "renal" in phrase for phrase in present])
    assert 0.35 < rare < 0.65


def test_the_learning_rate_rises_again_where_it_is_to_and_falls_along_another_cosine() -> None:
    once, again = Schedule(100, 8e-4, warmup=10), Schedule(160, 8e-4, warmup=10, restarts=((100, 5e-4),))
    assert [again.rate(step) for step in range(100)] == [once.rate(step) for step in range(100)]
    alone = Schedule(60, 5e-4, warmup=10)
    assert [again.rate(100 + step) for step in range(60)] == [alone.rate(step) for step in range(60)]
    never = Schedule(80, 8e-4, warmup=10, restarts=((100, 5e-4),))
    assert [never.rate(step) for step in range(80)] == [Schedule(80, 8e-4, warmup=10).rate(step) for step in range(80)]


def test_what_is_near_is_asked_for_more_often_where_it_is_absent() -> None:
    """What shares a word with something in view, and what is in focus, which is often seen, by the same measure."""
    elsewhere = ("right kidney", "tumor", "aorta", "stomach", "spine", "bladder")
    stack = plain_stack({"left kidney": range(40), **{name: range(0) for name in elsewhere}})

    def shares(near_probability: float) -> dict[str, float]:
        plan = BatchPlan(focus=("tumor",), near_probability=near_probability, empty_probability=0)
        batches = BatchMaker([stack], plan, 56, 16, 0)
        asked = " ".join(phrase for _ in range(40) for phrase in batches.draw().phrases)
        counts = {name: asked.count(name) for name in elsewhere}
        return {name: count / sum(counts.values()) for name, count in counts.items()}

    usual, near = shares(0.0), shares(0.5)
    assert all(share == pytest.approx(1 / 6, abs=0.05) for share in usual.values())
    # Half of the questions are about two of the six.
    assert near["right kidney"] == pytest.approx(1 / 12 + 1 / 4, abs=0.07)
    assert near["tumor"] == pytest.approx(1 / 12 + 1 / 4, abs=0.07)


def test_phrases_absent_from_the_volume_are_drawn_more_often_than_others() -> None:
    elsewhere = {name: range(39, 40) for name in ("liver", "aorta", "stomach", "spine", "kidney")}
    stack = plain_stack({"spleen": range(0), **elsewhere})
    batches = BatchMaker([stack], BatchPlan(empty_probability=0, others=["lung"]), 56, 16, 0)
    asked = [phrase for _ in range(20) for phrase in batches.draw().phrases if "lung" not in phrase]
    # One absent concept in six would be one question in six.
    assert 0.3 < np.mean(["spleen" in phrase or "splenic" in phrase for phrase in asked]) < 0.75


def test_a_box_surrounds_an_object_of_its_target(stacks: list[LabelledStack]) -> None:
    with_box = 0
    for seed in range(4):
        batch = maker(stacks, seed, box_probability=1.0).draw()
        for box, label, phrase, target in zip(
            batch.boxes[:, 0], batch.box_labels[:, 0], batch.phrases, batch.targets, strict=True
        ):
            if label == PADDING_LABEL:
                assert phrase != "visual" or len(target.boxes) == 0
                continue
            with_box += 1
            corners = torch.cat([box[:2] - box[2:] / 2, box[:2] + box[2:] / 2])
            assert float(generalised_iou(corners[None], target.boxes).max()) > 0.2
    assert with_box > 10


def test_target_separates_objects() -> None:
    mask = torch.zeros(16, 16)
    mask[2:5, 2:5] = 1
    mask[9:14, 8:12] = 1
    target = target_of(mask)
    assert len(target.boxes) == 2
    torch.testing.assert_close(target.boxes[1], torch.tensor([8 / 16, 9 / 16, 12 / 16, 14 / 16]))
    assert float(target.masks[0].sum()) == 9
    assert len(target_of(torch.zeros(16, 16)).boxes) == 0


def perfect_answer(target: GroundTruth, queries: list[int], absent: bool = False) -> DetectorOutput:
    masks = torch.full((1, 4, 16, 16), -9.0)
    boxes = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.1
    logits = torch.full((1, 4), -9.0)
    for query, mask, box in zip(queries, target.masks, target.boxes, strict=True):
        masks[0, query] = torch.where(mask > 0.5, 9.0, -9.0)
        boxes[0, query] = box
        logits[0, query] = 9.0
    return DetectorOutput(logits, torch.tensor([-9.0 if absent else 9.0]), boxes, DenseMasks(masks), masks.amax(1))


def test_matching_finds_the_right_queries_and_a_right_answer_costs_nothing() -> None:
    mask = torch.zeros(16, 16)
    mask[2:5, 2:5] = 1
    mask[9:14, 8:12] = 1
    target = target_of(mask)
    raw = perfect_answer(target, [3, 1])
    queries, objects = match(raw, 0, target)
    assert dict(zip(queries.tolist(), objects.tolist(), strict=True)) == {3: 0, 1: 1}
    total = sum(detection_loss(raw, [target], LossWeights()).values())
    assert float(total) < 0.05
    swapped = DetectorOutput(raw.pred_logits.flip(1), raw.presence_logits, raw.pred_boxes, raw.masks, raw.semantic_seg)
    assert float(sum(detection_loss(swapped, [target], LossWeights()).values())) > 1


def test_claiming_an_absent_concept_is_punished() -> None:
    nothing = target_of(torch.zeros(16, 16))
    right = perfect_answer(nothing, [], absent=True)
    wrong = perfect_answer(nothing, [], absent=False)
    assert float(sum(detection_loss(right, [nothing], LossWeights()).values())) < 0.05
    assert float(detection_loss(wrong, [nothing], LossWeights())["presence"]) > 10


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=8, max_size=8))
def test_generalised_iou_is_symmetric_and_bounded(numbers: list[float]) -> None:
    corners = torch.tensor(numbers).view(2, 2, 2).sort(dim=1).values.reshape(2, 4)
    a, b = corners[:1], corners[1:]
    value = float(generalised_iou(a, b))
    assert -1.0001 <= value <= 1.0001
    assert value == pytest.approx(float(generalised_iou(b, a)), abs=1e-5)


def test_training_learns_and_leaves_a_model_folder(
    model: Sam3Detector, stacks: list[LabelledStack], tmp_path: Path
) -> None:
    probe = maker(stacks, 99).draw()

    def loss_now() -> float:
        with torch.no_grad():
            return float(sum(detection_loss(predict(model, probe), probe.targets, LossWeights()).values()))

    before = loss_now()
    reports: list[TrainingState] = []
    output = tmp_path / "model"
    train(model, maker(stacks), Schedule(steps=80, warmup=5, save_every=40), output, report=reports.append)
    assert loss_now() < 0.85 * before
    steps = [report.step for report in reports]
    assert steps == sorted(steps)
    assert {20, 40, 60, 80} <= set(steps)
    assert {path.name for path in output.iterdir()} >= {
        "config.json", "model.safetensors", "tokenizer.json", "medsam3_model.json",
    }  # fmt: skip
    assert not output.with_name("model.part").exists()


def test_cancelling_training_says_where_it_stopped(
    model: Sam3Detector, stacks: list[LabelledStack], tmp_path: Path
) -> None:
    with pytest.raises(Cancelled, match="after 0 of 40"):
        train(model, maker(stacks), Schedule(steps=40), tmp_path / "model", cancel=lambda: True)
    assert not (tmp_path / "model").exists()


def test_each_picture_is_encoded_once_whatever_is_asked(model: Sam3Detector, stacks: list[LabelledStack]) -> None:
    seen: list[int] = []
    model.network.vision_encoder.backbone.embeddings.register_forward_hook(
        lambda *call: seen.append(call[1][0].shape[0])
    )
    predict(model, maker(stacks).draw())
    assert seen == [8]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    return train_tokenizer(["liver", "left kidney"], 20, tmp_path_factory.mktemp("tokenizer"))


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_can_be_tokenized(tokenizer: CLIPTokenizer, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert all(0 <= number < len(tokenizer) for number in ids)


def test_words_held_back_are_never_taught() -> None:
    taught, held_back = negative_phrases(), held_back_phrases()
    assert len(held_back) >= 20
    assert not set(taught) & set(held_back)
    known = {*CONCEPTS, *(word for words in SYNONYMS.values() for word in words)}
    assert not known & {*taught, *held_back}


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        ({"_is_avx512_bf16_supported"}, torch.bfloat16),
        ({"_is_amx_tile_supported"}, torch.bfloat16),
        (set(), torch.float32),
    ],
)
def test_training_uses_bfloat16_only_where_the_processor_has_it(
    processor: set[str], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name in processor, raising=False)
    assert training_dtype("cpu") == expected
    assert training_dtype("mps") == torch.float32
    # A PyTorch that cannot tell.
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name)
    assert training_dtype("cpu") == torch.float32


def test_a_training_step_runs_in_that_format(
    model: Sam3Detector, stacks: list[LabelledStack], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.dtype] = []
    model.network.detr_encoder.layers[0].mlp.fc1.register_forward_hook(lambda *call: seen.append(call[2].dtype))
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(detector_trainer, "training_dtype", lambda _, dtype=dtype: dtype)
        train(model, maker(stacks), Schedule(steps=1, warmup=1), tmp_path / str(dtype))
    assert seen == [torch.float32, torch.bfloat16]
