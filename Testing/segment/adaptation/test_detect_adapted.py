"""Learning from drawn slices: the base stays as it is, and what was learnt is used only where it does better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from MedSAM3SegmentLib.adaptation import detect_adapted as adaptation
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.features.feature_cache import FeatureCache
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.progress import Progress, RunCallbacks, Stage
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, TargetPrompts
from MedSAM3SegmentLib.request import Adapt, Mode, SegmentRequest
from MedSAM3SegmentLib.results.slice_detections import Detection, SliceDetections
from MedSAM3SegmentLib.results.tracks import SliceSource
from MedSAM3SegmentLib.search_region import SearchRegion
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.phantom import Phantom, make_phantom, tilted_grid
from MedSAM3SegmentLib.training.fine_tuning import adapt_to_slices as learning
from MedSAM3SegmentLib.training.fine_tuning.adapt_to_slices import adapt_to_slices, copy_detector


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(31, tilted_grid((26, 40, 40), (9.0, 9.0, 7.5)))


@pytest.fixture
def segmenter(tiny_model_folder: Path) -> Segmenter:
    return Segmenter(load_model(str(tiny_model_folder), "cpu", dtype="float32"))


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "_STEPS", 3)
    monkeypatch.setitem(learning.adapt_to_slices.__kwdefaults__, "steps", 3)


def drawn_liver(
    phantom: Phantom, every: int = 2, left_out: int = 0, sway: int = 0
) -> tuple[SegmentRequest, BoolMask, tuple[int, ...]]:
    """A request for the liver, drawn on some slices but those at its ends; the truth, and which were drawn.

    Args:
        sway: pixels that every other two slices of the truth lie to the side, so that shapes do not tell it.
    """
    truth = phantom.masks["liver"].copy()
    for index in range(len(truth)):
        truth[index] = np.roll(truth[index], sway * (index // 2 % 2), axis=1)
    there = np.flatnonzero(truth.any(axis=(1, 2)))
    drawn = tuple(range(int(there[0]) + left_out, int(there[-1]) + 1 - left_out, every))
    mask = np.zeros_like(truth)
    mask[list(drawn)] = truth[list(drawn)]
    prompts = {"liver": TargetPrompts(masks=(MaskPromptRAS(mask, drawn),), is_phrase=False)}
    request = SegmentRequest(("liver",), mode=Mode.FROM_PROMPTS, prompts=prompts, adapt=Adapt.SLICES)
    return request, truth, drawn


def test_the_base_is_untouched_and_what_was_drawn_comes_back(phantom: Phantom, segmenter: Segmenter) -> None:
    request, truth, drawn = drawn_liver(phantom)
    before = {name: value.clone() for name, value in segmenter.model.network.state_dict().items()}
    stages: list[Progress] = []
    result = segmenter.segment(phantom.volume, request, RunCallbacks(stages.append))
    (liver,) = result.concepts
    assert np.array_equal(liver.mask[list(drawn)], truth[list(drawn)])
    said = [str(sentence) for sentence in result.messages if "learnt" in str(sentence)]
    assert len(said) == 2
    assert all("held out" in sentence for sentence in said)
    learning_steps = [(one.done, one.total) for one in stages if one.stage is Stage.LEARNING]
    assert learning_steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert result.seconds["learning"] > 0
    for name, value in segmenter.model.network.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in segmenter.model.network.parameters())


def test_it_may_be_cancelled_between_two_steps(phantom: Phantom, segmenter: Segmenter) -> None:
    request, *_ = drawn_liver(phantom)
    seen: list[Progress] = []
    callbacks = RunCallbacks(seen.append, cancel=lambda: any(one.stage is Stage.LEARNING and one.done for one in seen))
    with pytest.raises(Cancelled):
        segmenter.segment(phantom.volume, request, callbacks)
    assert max(one.done for one in seen if one.stage is Stage.LEARNING) == 1


def test_too_little_to_learn_from_is_said(phantom: Phantom, segmenter: Segmenter) -> None:
    request, *_ = drawn_liver(phantom, every=9)
    result = segmenter.segment(phantom.volume, request)
    assert any("too little to learn from" in str(sentence) for sentence in result.messages)


def test_what_does_no_better_on_held_out_slices_changes_nothing(phantom: Phantom, segmenter: Segmenter) -> None:
    request, *_ = drawn_liver(phantom)
    adapted = segmenter.segment(phantom.volume, request)
    plain = segmenter.segment(phantom.volume, SegmentRequest(("liver",), mode=request.mode, prompts=request.prompts))
    # An untrained model sees the liver everywhere; three steps do not teach it better.
    assert any("was not used between" in str(sentence) for sentence in adapted.messages)
    assert any("was not used beyond" in str(sentence) for sentence in adapted.messages)
    assert np.array_equal(adapted.concepts[0].mask, plain.concepts[0].mask)


def seen_by_copy(monkeypatch: pytest.MonkeyPatch, truth: BoolMask, wrong_between: Sequence[int] = ()) -> None:
    """Let the copy see the liver as it is, but nothing on some slices."""

    def see(*given: object) -> list[list[SliceDetections]]:
        items = []
        region = given[2]
        assert isinstance(region, SearchRegion)
        for index in region.slices:
            mask = region.stack.extract(truth)[index] & (index not in wrong_between)
            soft = SoftMask.of(mask.astype(np.float32))
            found = (Detection(0.99, 0.99, 0.99, (0.0, 0.0, 1.0, 1.0), soft),) if mask.any() else ()
            score = 0.99 if mask.any() else 0.0
            items.append(SliceDetections(index, score, score, found, soft))
        return [items]

    monkeypatch.setattr(adaptation, "detect_slices", see)


def test_what_does_better_on_held_out_slices_is_used(
    phantom: Phantom, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, truth, drawn = drawn_liver(phantom, left_out=1, sway=4)
    seen_by_copy(monkeypatch, truth)
    result = segmenter.segment(phantom.volume, request)
    plain = segmenter.segment(phantom.volume, SegmentRequest(("liver",), mode=request.mode, prompts=request.prompts))
    said = [str(sentence) for sentence in result.messages]
    assert any("was used between" in sentence for sentence in said)
    assert any("was used beyond" in sentence and "1.000 with it and 0.000 without" in sentence for sentence in said)
    # Without a tracker nothing but what was learnt reaches beyond the drawn slices.
    beyond = [index for index in range(len(truth)) if not drawn[0] <= index <= drawn[-1]]
    assert np.array_equal(result.concepts[0].mask[beyond], truth[beyond])
    assert not plain.concepts[0].mask[beyond].any()
    assert truth[beyond].any()
    sources = {source for track in result.concepts[0].tracks for source in track.sources.values()}
    assert {SliceSource.DRAWN, SliceSource.DETECTED} <= sources


def test_between_drawn_slices_and_beyond_each_is_decided_by_its_own_slices(
    phantom: Phantom, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, truth, drawn = drawn_liver(phantom, left_out=1, sway=4)
    plain = segmenter.segment(phantom.volume, SegmentRequest(("liver",), mode=request.mode, prompts=request.prompts))
    beyond = [index for index in range(len(truth)) if not drawn[0] <= index <= drawn[-1]]

    # It is blind between the inner slices: nothing of it is used there, and all of it beyond.
    seen_by_copy(monkeypatch, truth, range(drawn[2], drawn[-3] + 1))
    result = segmenter.segment(phantom.volume, request)
    said = [str(sentence) for sentence in result.messages]
    assert any("was not used between" in sentence for sentence in said)
    assert any("was used beyond" in sentence for sentence in said)
    inner = range(drawn[0], drawn[-1] + 1)
    assert np.array_equal(result.concepts[0].mask[inner], plain.concepts[0].mask[inner])
    assert np.array_equal(result.concepts[0].mask[beyond], truth[beyond])

    # It is blind at the ends: nothing of it is used beyond.
    seen_by_copy(monkeypatch, truth, [*range(drawn[0] + 1), *range(drawn[-1], len(truth))])
    result = segmenter.segment(phantom.volume, request)
    said = [str(sentence) for sentence in result.messages]
    assert any("was used between" in sentence for sentence in said)
    assert any("was not used beyond" in sentence for sentence in said)
    assert not result.concepts[0].mask[beyond].any()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store of models."""
    monkeypatch.setenv("MEDSAM3_MODELS", str(tmp_path / "store"))
    return tmp_path / "store"


def test_what_is_used_can_be_saved_under_a_name_and_goes_on_top_of_its_base(
    phantom: Phantom, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch, store: Path, tiny_model_folder: Path
) -> None:
    request, truth, _ = drawn_liver(phantom, left_out=1, sway=4)
    seen_by_copy(monkeypatch, truth)
    named = replace(request, adapt_name="my-liver")
    result = segmenter.segment(phantom.volume, named)
    assert any("saved as an adapter" in str(sentence) for sentence in result.messages)
    card = ModelCard.load(store / "my-liver")
    assert card.base_sha256 == segmenter.model.identity.sha256
    assert card.concepts == ("liver",)
    assert card.is_demo == segmenter.model.card.is_demo
    assert "drawn slices of one volume" in card.data
    assert card.validation["Dice of liver beyond drawn slices"] == 1.0
    assert card.validation["Dice of liver beyond drawn slices without it"] == 0.0
    written = b"".join(file.read_bytes() for file in (store / "my-liver").glob("*.json"))
    assert phantom.volume.name.encode() not in written
    assert str(tiny_model_folder).encode() not in written
    adapted = load_model(f"{tiny_model_folder}+my-liver", "cpu", dtype="float32")
    changed = [
        name
        for name, value in adapted.network.named_parameters()
        if not torch.equal(value, dict(segmenter.model.network.named_parameters())[name])
    ]
    assert changed
    assert not any(name.startswith(("vision_encoder.", "text_encoder.")) for name in changed)

    with pytest.raises(InputError, match="installed already"):
        segmenter.segment(phantom.volume, named)
    with pytest.raises(InputError, match="only one adapter"):
        Segmenter(adapted).segment(phantom.volume, replace(request, adapt_name="another"))


def test_what_is_not_used_is_not_saved_and_that_is_said(phantom: Phantom, segmenter: Segmenter, store: Path) -> None:
    request, *_ = drawn_liver(phantom)
    result = segmenter.segment(phantom.volume, replace(request, adapt_name="my-liver"))
    assert any("Nothing was saved" in str(sentence) for sentence in result.messages)
    assert not (store / "my-liver").exists()


def test_a_disk_that_is_full_costs_no_result(
    phantom: Phantom, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch, store: Path
) -> None:
    request, truth, _ = drawn_liver(phantom, left_out=1, sway=4)
    seen_by_copy(monkeypatch, truth)
    store.write_text("a file stands where the folder of models would be")
    result = segmenter.segment(phantom.volume, replace(request, adapt_name="my-liver"))
    assert any("could not be saved" in str(sentence) for sentence in result.messages)
    assert result.concepts[0].found


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("name", ["../elsewhere", "a/b", ".hidden", "-x", "a b"])
def test_a_name_that_cannot_be_given_is_refused_first(phantom: Phantom, segmenter: Segmenter, name: str) -> None:
    request, *_ = drawn_liver(phantom)
    with pytest.raises(InputError, match="cannot be a folder's"):
        segmenter.segment(phantom.volume, replace(request, adapt_name=name))
    with pytest.raises(InputError, match="Nothing is learnt"):
        replace(request, adapt=None, adapt_name="good")


def test_a_copy_shares_its_encoders_and_nothing_else(segmenter: Segmenter) -> None:
    model = segmenter.model
    copied = copy_detector(model)
    assert copied.features_key == model.features_key
    shared = {id(parameter) for parameter in model.network.parameters()}
    for name, parameter in copied.network.named_parameters():
        is_encoder = name.startswith(("vision_encoder.", "text_encoder.", "text_projection."))
        assert (id(parameter) in shared) == is_encoder


def test_learning_makes_the_drawn_slices_better_known(phantom: Phantom, tiny_model_folder: Path) -> None:
    from MedSAM3SegmentLib.geometry.slice_stack import Plane
    from MedSAM3SegmentLib.training.batches import BatchMaker, BatchPlan
    from MedSAM3SegmentLib.training.dataset import stack_with_labels
    from MedSAM3SegmentLib.training.detector_trainer import predict
    from MedSAM3SegmentLib.training.losses import LossWeights, detection_loss

    model = load_model(str(tiny_model_folder), "cpu", dtype="float32")
    stack = stack_with_labels(phantom.volume, {"liver": phantom.masks["liver"]}, Plane.AXIAL)
    batch = BatchMaker([stack], BatchPlan(slices=6, phrases=2), model.image_size, 16, 9).draw()

    def loss(one: Sam3Detector) -> float:
        with torch.no_grad():
            return float(sum(detection_loss(predict(one, batch), batch.targets, LossWeights()).values()))

    with torch.inference_mode():
        # As in a run, where everything is in inference mode and features were kept from before.
        Segmenter(model, cache=FeatureCache()).segment(phantom.volume, SegmentRequest(("liver",)))
        adapted = adapt_to_slices(model, [stack], steps=50)
    assert loss(adapted) < 0.95 * loss(model)
