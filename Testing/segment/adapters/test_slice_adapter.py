"""A module between slices: nothing at first, the same however slices are grouped or stored, and only what it names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from MedSAM3SegmentLib.adapters.medsam3_format import medsam3_tensors
from MedSAM3SegmentLib.adapters.slice_adapter import SliceAdapter
from MedSAM3SegmentLib.checkpoints.lora import load_adapter
from MedSAM3SegmentLib.errors import InputError, ModelError
from MedSAM3SegmentLib.features.feature_cache import FeatureCache
from MedSAM3SegmentLib.features.slice_encoder import SliceFeatures
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.models.save_model import save_model
from MedSAM3SegmentLib.preprocessing.windowing import choose_window
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.phantom import make_phantom, tilted_grid
from MedSAM3SegmentLib.training.batches import BatchMaker
from MedSAM3SegmentLib.training.dataset import LabelledStack, stack_with_labels
from MedSAM3SegmentLib.training.detector_trainer import predict
from MedSAM3SegmentLib.training.fine_tuning import frozen_features
from MedSAM3SegmentLib.training.fine_tuning.frozen_features import FrozenFeatures
from MedSAM3SegmentLib.training.fine_tuning.tuning import ENCODERS, Tune
from MedSAM3SegmentLib.volume import Volume
from support.fine_tuning import recipe, tune

WIDTH = 32


@pytest.fixture(scope="module")
def stack() -> LabelledStack:
    phantom = make_phantom(0, tilted_grid((8, 40, 40), (9.0, 9.0, 24.0)))
    return stack_with_labels(phantom.volume, {name: phantom.masks[name] for name in ("liver", "spleen")})


@pytest.fixture
def trained() -> SliceAdapter:
    """An adapter that does something."""
    torch.manual_seed(0)
    adapter = SliceAdapter(WIDTH)
    for block in adapter.blocks:
        torch.nn.init.normal_(block.up.weight, std=0.3)
    return adapter.requires_grad_(False)


@pytest.fixture(scope="module")
def folder(tiny_model_folder: Path, stack: LabelledStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the tiny model, trained for three steps."""
    output = tmp_path_factory.mktemp("adapters") / "between-slices"
    model = load_model(str(tiny_model_folder), "cpu", dtype="float32")
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    tune(model, [stack], recipe(Tune.SLICE_ADAPTER, steps=3), output, tiny_model_folder)
    # Nothing of the model itself was written to.
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.network.parameters())
    assert model.slice_adapter is None
    return output


def test_it_changes_nothing_at_first_bit_for_bit(tiny_model_folder: Path, stack: LabelledStack) -> None:
    model = load_model(str(tiny_model_folder), "cpu", dtype="float32")
    plan = recipe(Tune.SLICE_ADAPTER).effective_plan
    batch = BatchMaker([stack], plan, model.image_size, 16, 3).draw()
    with torch.no_grad():
        plain = predict(model, batch, FrozenFeatures(model))
        model.trained_slice_adapter = SliceAdapter(WIDTH)
        with_adapter = predict(model, batch, FrozenFeatures(model))
    for name in ("pred_masks", "pred_boxes", "pred_logits", "presence_logits", "semantic_seg"):
        assert torch.equal(getattr(plain, name), getattr(with_adapter, name))


def test_training_changes_the_weights_between_slices_and_the_detector_and_no_others(
    folder: Path, tiny_model_folder: Path
) -> None:
    adapter = load_adapter(folder)
    assert not adapter.touches_vision
    base = load_model(str(tiny_model_folder), "cpu", dtype="float32").network.state_dict()
    detector = {name for name in base if not name.startswith(ENCODERS)}
    assert {name.removeprefix("detector_model.") for name in adapter.names} == detector
    moved = {
        name for name in detector if not torch.equal(adapter.replacements["detector_model." + name].float(), base[name])
    }
    assert moved
    fresh = SliceAdapter(WIDTH).state_dict()
    assert adapter.additions.keys() == fresh.keys()
    torch.manual_seed(1)
    first = SliceAdapter(WIDTH).state_dict()
    changed = {
        name for name, value in first.items() if not torch.equal(adapter.additions[name].float(), value.half().float())
    }
    assert changed == set(first)
    assert adapter.card.base_sha256


def test_the_slices_beside_matter_and_those_farther_away_do_not(trained: SliceAdapter) -> None:
    tokens = torch.randn(1, 9, 16, WIDTH)
    whole = trained(tokens)[0]
    for distance in range(5):
        other = tokens.clone()
        other[0, 4 + distance] = torch.randn(16, WIDTH)
        is_same = torch.allclose(trained(other)[0, 4], whole[4], atol=1e-6)
        assert is_same == (distance > trained.reach)


def test_slices_are_the_same_in_any_grouping_and_from_either_end(trained: SliceAdapter) -> None:
    tokens = torch.randn(9, 16, WIDTH)
    whole = trained(tokens[None])[0]

    def of(indices: list[int]) -> torch.Tensor:
        return trained.of_slices(lambda needed: tokens[list(needed)], indices, len(tokens))

    for indices in ([0, 1], [8], [3, 4, 5], [7, 0], [2, 8, 5], list(range(9))):
        torch.testing.assert_close(of(indices), whole[indices], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(trained(tokens.flip(0)[None])[0].flip(0), whole, rtol=1e-5, atol=1e-5)
    # A volume of one slice has no neighbors.
    assert torch.isfinite(trained(tokens[None, :1])).all()


def test_training_sees_a_slice_as_a_run_does(
    trained: SliceAdapter, tiny_model_folder: Path, stack: LabelledStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_features, "training_dtype", lambda _device: torch.float32)
    model = load_model(str(tiny_model_folder), "cpu", dtype="float32")
    model.trained_slice_adapter = trained
    plan = replace(recipe(Tune.SLICE_ADAPTER).effective_plan, slices=6)
    batch = BatchMaker([stack], plan, model.image_size, 16, 3).draw()
    frozen = FrozenFeatures(model)
    with torch.no_grad():
        found = frozen._in_context(trained, batch.runs)
        for view, features in zip(batch.views, found, strict=True):
            # The whole stack, moved as that slice is.
            maker = BatchMaker([stack], replace(plan, slices=1, neighbors=8), model.image_size, 16, 3)
            run = next(one.runs[0] for one in iter(maker.draw, None) if one.views[0] == view)
            tokens = torch.cat([model.encode_images(one[1]()).tokens for one in run if one is not None])
            torch.testing.assert_close(trained(tokens[None])[0, view.slice_index], features, rtol=1e-4, atol=1e-4)


def test_a_run_uses_it_and_is_the_same_for_any_batch_and_order_of_slices(folder: Path, tiny_model_folder: Path) -> None:
    phantom = make_phantom(3, tilted_grid((9, 32, 32), (12.0, 12.0, 22.0)))
    grid = phantom.volume.grid
    window, stack = choose_window(phantom.volume), SliceStack.along(grid, Plane.ACQUIRED)
    model = load_model(f"{tiny_model_folder}+{folder}", "cpu", dtype="float32")
    assert model.identity.adapters[0].name == "between-slices"
    adapter = model.slice_adapter
    assert adapter is not None
    for block in adapter.blocks:
        torch.nn.init.normal_(block.up.weight, std=0.3)
    features = SliceFeatures(model, FeatureCache(), phantom.volume, stack)
    with torch.no_grad():
        together = features.in_context(list(range(9)), window).tokens
        alone = features.of([4], window).tokens
        one = SliceFeatures(model, FeatureCache(), phantom.volume, stack).in_context([4], window).tokens
    torch.testing.assert_close(together[4:5], one, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(one, alone, atol=1e-3)
    # What is kept is what the encoder says of a slice alone; the tracker gets that.
    base = load_model(str(tiny_model_folder), "cpu", dtype="float32")
    with torch.no_grad():
        assert torch.equal(alone, SliceFeatures(base, FeatureCache(), phantom.volume, stack).of([4], window).tokens)

    plain, between = Segmenter(base), Segmenter(model)
    request = SegmentRequest(("liver",), threshold=0.3)
    results = [one.segment(phantom.volume, request).concepts[0].score_by_slice for one in (plain, between)]
    assert results[0].keys() == results[1].keys()
    upside_down = Volume(np.ascontiguousarray(phantom.volume.array[::-1]), _flipped(grid), phantom.volume.modality)
    flipped = between.segment(upside_down, request).concepts[0]
    straight = between.segment(phantom.volume, request).concepts[0]
    np.testing.assert_allclose(
        [flipped.score_by_slice[8 - n] for n in range(9)], [straight.score_by_slice[n] for n in range(9)], atol=1e-4
    )
    model.adapters.merge(None)  # type: ignore[union-attr]
    assert model.slice_adapter is None


def _flipped(grid: object) -> object:
    from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid

    matrix = grid.ijk_to_ras.copy()  # type: ignore[attr-defined]
    matrix[:3, 3] += matrix[:3, 2] * (grid.shape[0] - 1)  # type: ignore[attr-defined]
    matrix[:3, 2] *= -1
    return VoxelGrid(grid.shape, matrix)  # type: ignore[attr-defined]


def test_what_would_lose_it_is_refused(folder: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    model = load_model(f"{tiny_model_folder}+{folder}", "cpu")
    with pytest.raises(ModelError, match="between slices"):
        save_model(model, tmp_path / "whole")
    assert not (tmp_path / "whole").exists()
    with pytest.raises(InputError, match="low-rank"):
        medsam3_tensors(load_adapter(folder))


def test_an_adapter_of_another_width_or_with_a_weight_missing_is_refused(folder: Path) -> None:
    weights = dict(load_adapter(folder).additions)
    with pytest.raises(ModelError, match="base that it was trained on"):
        SliceAdapter.from_weights(weights, 64, folder)
    weights.pop("blocks.1.up.bias")
    with pytest.raises(ModelError, match=r"blocks\.1\.up\.bias"):
        SliceAdapter.from_weights(weights, WIDTH, folder)
