"""Training on a base: what changes, what is written, and that it goes on exactly after a break."""

from __future__ import annotations

import csv
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from MedSAM3SegmentLib.adapters.image_summary import SUMMARY_FILE
from MedSAM3SegmentLib.checkpoints.lora import load_adapter
from MedSAM3SegmentLib.checkpoints.model_card import MaskRule
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.training.batches import BatchMaker
from MedSAM3SegmentLib.training.dataset import LabelledStack
from MedSAM3SegmentLib.training.detector_trainer import predict
from MedSAM3SegmentLib.training.fine_tuning import frozen_features
from MedSAM3SegmentLib.training.fine_tuning.frozen_features import FrozenFeatures
from MedSAM3SegmentLib.training.fine_tuning.recipe import PromptKind
from MedSAM3SegmentLib.training.fine_tuning.summarize_pictures import summarize_pictures
from MedSAM3SegmentLib.training.fine_tuning.tuning import LoraOptions, Tune
from MedSAM3SegmentLib.training.fine_tuning.validation import validate
from MedSAM3SegmentLib.training.losses import Counts, LossWeights, detection_loss
from support.fine_tuning import StopAtStep, recipe, tune
from support.paths import ROOT

_ENCODERS = ("vision_encoder.", "text_encoder.", "text_projection.")


def weights_of(model: Sam3Detector) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.network.state_dict().items()}


def losses_in(curve: Path) -> list[str]:
    with curve.open(newline="") as file:
        return [row["loss"] for row in csv.DictReader(file)]


def changed_by(source: Path, before: dict[str, torch.Tensor]) -> set[str]:
    after = load_model(str(source), "cpu", dtype="float32").network.state_dict()
    return {name for name, value in before.items() if not torch.equal(after[name], value)}


def test_the_detector_alone_is_tuned_and_the_base_stays_as_it_was(
    tiny: Sam3Detector, stacks: list[LabelledStack], tiny_model_folder: Path, tmp_path: Path
) -> None:
    before = weights_of(tiny)
    tune(tiny, stacks, recipe(Tune.DETECTOR), tmp_path / "a", tiny_model_folder)
    assert all(torch.equal(value, before[name]) for name, value in tiny.network.state_dict().items())
    names = {name.removeprefix("detector_model.") for name in load_adapter(tmp_path / "a").names}
    assert names == {name for name in before if not name.startswith(_ENCODERS)}
    changed = changed_by(tmp_path / "a", before)
    assert changed
    assert changed <= names


def test_low_rank_changes_touch_the_published_layers_alone(
    tiny: Sam3Detector, stacks: list[LabelledStack], tiny_model_folder: Path, tmp_path: Path
) -> None:
    before = weights_of(tiny)
    tune(tiny, stacks, recipe(Tune.LORA, lora=LoraOptions(rank=4)), tmp_path / "a", tiny_model_folder)
    after = tiny.network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert all(parameter.requires_grad for parameter in tiny.network.parameters())
    names = {name.removeprefix("detector_model.") for name in load_adapter(tmp_path / "a").names}
    changed = changed_by(tmp_path / "a", before)
    assert changed <= names
    assert "vision_encoder.backbone.layers.0.attention.q_proj.weight" in changed
    assert not any("box_head" in name or "presence_head" in name or "fpn" in name for name in names)


def test_everything_is_tuned_slowest_near_the_picture(
    tiny: Sam3Detector, stacks: list[LabelledStack], tiny_model_folder: Path, tmp_path: Path
) -> None:
    before = weights_of(tiny)
    tune(tiny, stacks, recipe(Tune.ALL, steps=2, layer_decay=0.5), tmp_path / "m", tiny_model_folder)
    after = load_model(str(tmp_path / "m"), "cpu", dtype="float32").network.state_dict()
    layer = "vision_encoder.backbone.layers.{}.mlp.fc1.weight"
    moved = [float((after[layer.format(n)] - before[layer.format(n)]).abs().max()) for n in (0, 1)]
    assert 0 < moved[0] < moved[1]
    assert (tmp_path / "m" / "learning-curve.csv").is_file()


def test_what_is_reloaded_answers_as_what_was_trained(
    tiny: Sam3Detector, stacks: list[LabelledStack], tiny_model_folder: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    tune(tiny, stacks, recipe(Tune.LORA, steps=3, lora=LoraOptions(rank=4)), tmp_path / "a", tiny_model_folder)
    batch = BatchMaker(stacks, recipe(Tune.LORA).plan, tiny.image_size, 16, 5).draw()
    merged = load_model(str(tmp_path / "a"), "cpu", dtype="float32")
    with torch.no_grad():
        plain, ours = predict(tiny, batch), predict(merged, batch)
        # PEFT itself reads the folder and computes the changes beside the weights.
        PeftModel.from_pretrained(tiny.network, str(tmp_path / "a"))
        theirs = predict(tiny, batch)
    assert float((plain.pred_masks - ours.pred_masks).abs().max()) > 1e-4
    torch.testing.assert_close(theirs.pred_masks, ours.pred_masks, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(theirs.pred_boxes, ours.pred_boxes, rtol=1e-5, atol=1e-5)
    merged.adapters.merge(None)  # type: ignore[union-attr]
    for name, value in load_model(str(tiny_model_folder), "cpu").network.state_dict().items():
        assert torch.equal(merged.network.state_dict()[name], value)


def test_an_adapter_is_refused_on_another_base(
    tiny: Sam3Detector, stacks: list[LabelledStack], tiny_model_folder: Path, tmp_path: Path
) -> None:
    tune(tiny, stacks, recipe(Tune.ALL), tmp_path / "other", tiny_model_folder)
    tune(tiny, stacks, recipe(Tune.LORA), tmp_path / "a", tiny_model_folder)
    with pytest.raises(ModelError, match="trained on other weights"):
        load_model(f"{tmp_path / 'other'}+{tmp_path / 'a'}", "cpu")


def test_frozen_encoders_see_each_picture_once(
    tiny: Sam3Detector, stacks: list[LabelledStack], tiny_model_folder: Path, tmp_path: Path
) -> None:
    seen: list[int] = []
    tiny.network.vision_encoder.backbone.embeddings.register_forward_hook(
        lambda *call: seen.append(call[1][0].shape[0])
    )
    tune(tiny, stacks, recipe(Tune.DETECTOR, steps=20), tmp_path / "a", tiny_model_folder)
    assert 0 < sum(seen) <= sum(len(stack.slices) for stack in stacks)


def test_kept_features_say_what_the_encoders_say(
    tiny: Sam3Detector, stacks: list[LabelledStack], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_features, "training_dtype", lambda _device: torch.float32)
    plan = recipe(Tune.DETECTOR).effective_plan
    batch = BatchMaker(stacks, plan, tiny.image_size, 16, 3).draw()
    frozen, with_pyramids = FrozenFeatures(tiny), FrozenFeatures(tiny, pyramid_bytes=1 << 20)
    with torch.no_grad():
        plain = predict(tiny, batch)
        known = [predict(tiny, batch, kept) for kept in (frozen, with_pyramids) for _ in range(2)]
    for one in known:
        torch.testing.assert_close(one.pred_masks, plain.pred_masks, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one.presence_logits, plain.presence_logits, rtol=1e-4, atol=1e-4)


def test_features_do_not_depend_on_where_they_are_asked_for_first(
    tiny: Sam3Detector, stacks: list[LabelledStack], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first step, where pictures are looked at, or within one; on processors that multiply in bfloat16."""
    monkeypatch.setattr(frozen_features, "training_dtype", lambda _device: torch.bfloat16)
    batch = BatchMaker(stacks, recipe(Tune.DETECTOR).effective_plan, tiny.image_size, 16, 3).draw()
    before, within = FrozenFeatures(tiny), FrozenFeatures(tiny)
    pooled, words = before.pooled(batch), before.phrases(batch.phrases)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(within.pooled(batch), pooled)
        assert torch.equal(within.phrases(batch.phrases).text_embeds, words.text_embeds)


@pytest.mark.parametrize("kind", list(Tune))
def test_a_training_goes_on_as_if_it_had_not_been_broken_off(
    tiny_model_folder: Path,
    stacks: list[LabelledStack],
    tmp_path: Path,
    kind: Tune,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = []
    monkeypatch.setattr(
        "MedSAM3SegmentLib.training.fine_tuning.fine_tune.summarize_pictures",
        lambda *given: looks.append(1) or summarize_pictures(*given),
    )

    def train(name: str, stop_after: int | None, resume: bool = False) -> None:
        stop = StopAtStep(100 if stop_after is None else stop_after)
        model = load_model(str(tiny_model_folder), "cpu", dtype="float32")
        how = recipe(kind, steps=6, lora=LoraOptions(rank=2))
        tune(model, stacks, how, tmp_path / name, tiny_model_folder, resume=resume, **stop.hooks)

    train("whole", None)
    with pytest.raises(Cancelled):
        train("broken", 3)
    with pytest.raises(InputError, match="--resume"):
        train("broken", None)
    train("broken", None, resume=True)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert losses_in(broken / "learning-curve.csv") == losses_in(whole / "learning-curve.csv")
    assert len(losses_in(broken / "learning-curve.csv")) == 6
    first = load_model(str(whole), "cpu").network.state_dict()
    for name, value in load_model(str(broken), "cpu").network.state_dict().items():
        assert torch.equal(value, first[name])
    assert not (tmp_path / "broken.training").exists()
    # Pictures were summarized once for each of the two, not again after the break.
    assert len(looks) == (0 if kind is Tune.ALL else 2)
    summaries = [folder / SUMMARY_FILE for folder in (whole, broken)]
    assert [path.exists() for path in summaries] == [kind is not Tune.ALL] * 2
    assert kind is Tune.ALL or summaries[0].read_text() == summaries[1].read_text()


def test_going_on_otherwise_than_begun_is_refused(
    tiny: Sam3Detector, stacks: list[LabelledStack], tiny_model_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no training"):
        tune(tiny, stacks, recipe(Tune.DETECTOR), tmp_path / "a", tiny_model_folder, resume=True)
    how = recipe(Tune.DETECTOR, steps=6)
    with pytest.raises(Cancelled):
        tune(tiny, stacks, how, tmp_path / "a", tiny_model_folder, **StopAtStep(3).hooks)
    with pytest.raises(InputError, match="seed"):
        tune(tiny, stacks, replace(how, seed=9), tmp_path / "a", tiny_model_folder, resume=True)
    (tmp_path / "a.training" / "state.pt").write_bytes(b"not a state")
    with pytest.raises(InputError, match=r"state\.pt"):
        tune(tiny, stacks, how, tmp_path / "a", tiny_model_folder, resume=True)


def test_the_best_state_by_validation_is_kept(
    tiny: Sam3Detector, stacks: list[LabelledStack], tiny_model_folder: Path, tmp_path: Path
) -> None:
    scores = []
    tune(
        tiny,
        stacks[:1],
        recipe(Tune.DETECTOR, steps=6),
        tmp_path / "a",
        tiny_model_folder,
        validation=stacks[1:],
        say=lambda step, score: scores.append((score.total, -step)),
    )
    assert [-step for _, step in scores] == [2, 4, 6]
    card = load_adapter(tmp_path / "a").card
    best = max(scores)
    assert card.validation["step"] == -best[1]
    assert np.mean([card.validation["dice"], card.validation["presence"]]) == pytest.approx(best[0], abs=1e-3)


def test_validation_goes_by_the_threshold_of_what_is_trained(tiny: Sam3Detector, stacks: list[LabelledStack]) -> None:
    """A threshold of 0 finds all, one above 1 nothing, whatever the base's own."""
    card = replace(tiny.card, mask_rule=MaskRule.INSTANCES)
    everything, nothing = (validate(tiny, stacks, replace(card, threshold=value)) for value in (0.0, 1.01))
    assert everything.dice > 0.0
    assert nothing.dice == 0.0


def test_a_batch_in_parts_is_the_whole_batch(tiny: Sam3Detector, stacks: list[LabelledStack]) -> None:
    batch = BatchMaker(stacks, recipe(Tune.ALL).plan, tiny.image_size, 16, 3).draw()
    whole = detection_loss(predict(tiny, batch), batch.targets, LossWeights())
    counts = Counts.of(batch.targets, 2)
    parts = [
        detection_loss(predict(tiny, part), part.targets, LossWeights(), counts)
        for part in (batch.part(0, 1), batch.part(1, 4))
    ]
    for name, value in whole.items():
        total = sum(float(part[name]) for part in parts if name in part)
        assert total == pytest.approx(float(value), rel=1e-4)


def test_prompts_are_words_or_words_with_boxes(stacks: list[LabelledStack]) -> None:
    def boxes(kind: PromptKind) -> list[bool]:
        maker = BatchMaker(stacks, kind.plan(recipe(Tune.ALL).plan), 56, 16, 0)
        batches = [maker.draw() for _ in range(10)]
        return [
            bool(label == 1)
            for batch in batches
            for label, target in zip(batch.box_labels[:, 0], batch.targets, strict=True)
            if len(target.boxes)
        ]

    assert not any(boxes(PromptKind.TEXT))
    assert all(boxes(PromptKind.TEXT_AND_BOX))
    assert 0.2 < np.mean(boxes(PromptKind.BOTH)) < 0.8


def test_what_nobody_looked_at_is_not_learnt(stacks: list[LabelledStack]) -> None:
    known = np.zeros(8, bool)
    known[3] = True
    stack = replace(stacks[0], known=known)
    maker = BatchMaker([stack], replace(recipe(Tune.DETECTOR).plan, views=1), 56, 16, 0)
    assert {view.slice_index for _ in range(5) for view in maker.draw().views} == {3}


def test_ignored_pixels_cost_nothing_and_teach_nothing(tiny: Sam3Detector, stacks: list[LabelledStack]) -> None:
    batch = BatchMaker(stacks, recipe(Tune.ALL).plan, tiny.image_size, 16, 3).draw()
    everywhere = torch.ones(16, 16, dtype=torch.bool)
    raw = predict(tiny, batch)
    raw.semantic_seg.retain_grad()
    terms = detection_loss(raw, [replace(t, ignored=everywhere) for t in batch.targets], LossWeights())
    assert float(terms["semantic"]) < 1e-6
    terms["semantic"].backward()
    assert raw.semantic_seg.grad is not None
    assert not raw.semantic_seg.grad.any()


@pytest.mark.slow
def test_two_processes_train_as_one(tiny_model_folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        sys.path[:0] = [{str(ROOT / "MedSAM3Segment")!r}, {str(ROOT / "Testing")!r}]
        from pathlib import Path
        import torch
        torch.set_num_threads(1)
        from MedSAM3SegmentLib.models.load_model import load_model
        from MedSAM3SegmentLib.synthetic.phantom import make_phantom, tilted_grid
        from MedSAM3SegmentLib.training.dataset import stack_with_labels
        from MedSAM3SegmentLib.training.fine_tuning.tuning import Tune
        from MedSAM3SegmentLib.training.processes import training_processes
        from support.fine_tuning import recipe, tune

        phantom = make_phantom(0, tilted_grid((8, 40, 40), (9.0, 9.0, 24.0)))
        stack = stack_with_labels(phantom.volume, {{name: phantom.masks[name] for name in ("liver", "spleen")}})
        base = Path({str(tiny_model_folder)!r})
        with training_processes("cpu") as (processes, device):
            model = load_model(str(base), device, dtype="float32")
            tune(model, [stack], recipe(Tune.ALL, steps=3), Path(sys.argv[1]), base, processes=processes)
        """)
    )
    subprocess.run([sys.executable, str(script), str(tmp_path / "one")], check=True, timeout=600)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launcher, str(script), str(tmp_path / "two")], check=True, timeout=600, capture_output=True)
    one, two = (losses_in(tmp_path / name / "learning-curve.csv") for name in ("one", "two"))
    assert np.allclose(np.array(one, float), np.array(two, float), rtol=1e-4)
    assert len(one) == 3
