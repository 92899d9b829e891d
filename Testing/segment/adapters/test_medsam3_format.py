"""Adapters as MedSAM-3 publishes its own: the same layers, the same file, the same change of every weight."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Sam3Config, Sam3Model

from MedSAM3SegmentLib.adapters.medsam3_format import medsam3_tensors, write_medsam3
from MedSAM3SegmentLib.checkpoints.lora import load_adapter
from MedSAM3SegmentLib.checkpoints.lora_weights import Adapter, LoraWeights
from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.provenance import AdapterIdentity
from MedSAM3SegmentLib.training.fine_tuning.tuning import LoraOptions, lora_modules

_PREFIX = "detector_model."


@pytest.fixture(scope="module")
def full_size() -> Sam3Model:
    with torch.device("meta"):
        return Sam3Model(Sam3Config())


def adapter_for(network: Sam3Model, rank: int, alpha: float) -> Adapter:
    """Random changes of every published layer, what goes into queries, keys and values being shared in the ViT."""
    generator = torch.Generator().manual_seed(0)
    changes: dict[str, LoraWeights] = {}
    shared: dict[str, torch.Tensor] = {}
    for module in lora_modules(network, LoraOptions().targets):
        layer = network.get_submodule(module)
        down = torch.randn(rank, layer.in_features, generator=generator)
        if module.endswith(("attention.q_proj", "attention.k_proj", "attention.v_proj")):
            down = shared.setdefault(module.rpartition(".")[0], down)
        up = torch.randn(layer.out_features, rank, generator=generator)
        changes[f"{_PREFIX}{module}.weight"] = LoraWeights(down, up, alpha / rank)
    return Adapter(Path("a"), AdapterIdentity("a", ""), changes, ModelCard("a"))


def test_the_layers_are_those_of_the_published_adapter(full_size: Sam3Model) -> None:
    # Its 458 pairs and 18.50 million numbers of rank 16, less three layers for points that transformers has not.
    tensors = medsam3_tensors(adapter_for(full_size, 16, 32))
    assert len(tensors) == 2 * 455
    points = 16 * ((2 + 256) + (256 + 256) + (256 + 256))
    assert sum(value.numel() for value in tensors.values()) + points == pytest.approx(18.50e6, abs=5e3)
    fused = tensors["backbone.vision_backbone.trunk.blocks.31.attn.qkv.lora.lora_A"]
    assert fused.shape == (1024, 16)
    assert tensors["backbone.vision_backbone.trunk.blocks.31.attn.qkv.lora.lora_B"].shape == (16, 3072)
    assert tensors["transformer.decoder.layers.5.ca_text.q_proj.lora.lora_A"].shape == (256, 16)
    assert "dot_prod_scoring.hs_proj.lora.lora_B" in tensors


def test_the_file_changes_every_weight_as_the_adapter_does(full_size: Sam3Model, tmp_path: Path) -> None:
    # Another scale than MedSAM-3's 2, which its files do not say.
    adapter = adapter_for(full_size, 2, 6.0)
    write_medsam3(adapter, tmp_path / "a.pt")
    read = load_adapter(tmp_path / "a.pt")
    assert read.names == adapter.names
    for name, change in adapter.changes.items():
        torch.testing.assert_close(read.changes[name].delta(), change.delta(), rtol=1e-5, atol=1e-5)


def test_what_the_format_has_no_place_for_is_refused(full_size: Sam3Model, tmp_path: Path) -> None:
    adapter = adapter_for(full_size, 2, 4.0)
    name = f"{_PREFIX}vision_encoder.backbone.layers.0.attention.q_proj.weight"
    other = LoraWeights(adapter.changes[name].down + 1, adapter.changes[name].up, 2.0)
    own = Adapter(adapter.path, adapter.identity, {**adapter.changes, name: other}, adapter.card)
    with pytest.raises(InputError, match="each in its own way"):
        write_medsam3(own, tmp_path / "a.pt")
    whole = Adapter(adapter.path, adapter.identity, {}, adapter.card, {"x": torch.zeros(1)})
    with pytest.raises(InputError, match="no low-rank changes"):
        write_medsam3(whole, tmp_path / "a.pt")
    assert list(tmp_path.iterdir()) == []
