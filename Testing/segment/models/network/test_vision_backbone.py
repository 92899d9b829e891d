"""The vision backbone in parts gives what transformers' own forward pass gives, for every way its windows can lie."""

from __future__ import annotations

import pytest
import torch
from transformers import Sam3ViTConfig, Sam3ViTModel

from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.models.network import vision_backbone
from MedSAM3SegmentLib.models.network.vision_backbone import encode_pixels, fits_windows
from MedSAM3SegmentLib.training.architecture import Architecture, new_network, train_tokenizer
from support.tiny_model import TINY_ARCHITECTURE


def _backbone(whole_slice: list[int], edge: int = 48, layers: int = 5) -> Sam3ViTModel:
    """Two by two windows of three by three tokens at an edge of 48 pixels, with weights that matter everywhere."""
    config = Sam3ViTConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=2,
        image_size=edge,
        pretrain_image_size=edge,
        patch_size=8,
        window_size=3,
        global_attn_indexes=whole_slice,
    )
    torch.manual_seed(4)
    backbone = Sam3ViTModel._from_config(config)
    with torch.no_grad():
        for value in backbone.parameters():
            value.add_(torch.randn(value.shape) * 0.2)
    return backbone.eval()


@torch.inference_mode()
@pytest.mark.parametrize(
    "whole_slice",
    [[], [0], [4], [0, 4], [1, 3], [2, 3], [0, 1, 2, 3, 4]],
    ids=lambda layers: f"whole slice in {layers}",
)
@pytest.mark.parametrize("slices", [1, 3])
def test_tokens_are_those_of_transformers(whole_slice: list[int], slices: int) -> None:
    backbone = _backbone(whole_slice)
    pixels = torch.randn(slices, 3, 48, 48)
    expected = backbone(pixels).last_hidden_state
    torch.testing.assert_close(encode_pixels(backbone, pixels), expected, atol=2e-6, rtol=1e-5)
    assert expected.std() > 0.1


@torch.inference_mode()
def test_parts_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that hold no whole window, and parts that do not divide the tokens."""
    backbone, pixels = _backbone([2]), torch.randn(2, 3, 48, 48)
    expected = backbone(pixels).last_hidden_state
    for attended, widened in ((1, 5), (27, 7), (10_000, 1)):
        monkeypatch.setattr(vision_backbone, "_ATTENDED_AT_ONCE", attended)
        monkeypatch.setattr(vision_backbone, "WIDENED_AT_ONCE", widened)
        torch.testing.assert_close(encode_pixels(backbone, pixels), expected, atol=2e-6, rtol=1e-5)


@torch.inference_mode()
def test_bfloat16_is_as_near_to_float32_as_that_of_transformers() -> None:
    backbone, pixels = _backbone([1, 4]), torch.randn(2, 3, 48, 48)
    exact = backbone(pixels).last_hidden_state
    backbone, pixels = backbone.bfloat16(), pixels.bfloat16()
    error = (encode_pixels(backbone, pixels).float() - exact).abs().mean()
    theirs = (backbone(pixels).last_hidden_state.float() - exact).abs().mean()
    assert error <= 1.2 * theirs


@torch.inference_mode()
def test_windows_that_would_be_padded_are_left_to_transformers() -> None:
    assert fits_windows(_backbone([2]), 48)
    assert not fits_windows(_backbone([2]), 40)


def test_the_detector_encodes_the_same_with_gradients_and_without(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With them transformers' own forward pass is gone through."""
    sizes = {name: tuple(value) if isinstance(value, list) else value for name, value in TINY_ARCHITECTURE.items()}
    tokenizer = train_tokenizer(["liver", "spleen"], 20, tmp_path_factory.mktemp("tokenizer"))
    network = new_network(Architecture(**sizes), tokenizer, seed=3)
    model = Sam3Detector(network.eval(), tokenizer, ModelCard("random"))
    pixels = torch.randn(2, 3, model.image_size, model.image_size)
    with_gradients = model.encode_images(pixels).tokens
    assert with_gradients.requires_grad
    with torch.no_grad():
        without = model.encode_images(pixels).tokens
    torch.testing.assert_close(without, with_gradients.detach(), atol=1e-5, rtol=1e-5)
