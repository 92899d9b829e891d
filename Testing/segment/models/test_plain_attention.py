"""Small models attend by plain products while they train in bfloat16 on a CPU, and as before afterwards."""

from __future__ import annotations

import pytest
import torch

from MedSAM3SegmentLib.models import plain_attention as module
from MedSAM3SegmentLib.models import threads
from MedSAM3SegmentLib.models.detector import Sam3Detector, TextFeatures, VisionFeatures
from MedSAM3SegmentLib.models.plain_attention import plain_attention
from support.random_detector import make_random_detector


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Sam3Detector:
    model = make_random_detector(tmp_path_factory.mktemp("tokenizer"))
    _choose(model, "sdpa")
    return model


def _choose(model: Sam3Detector, name: str) -> None:
    for part in model.network.modules():
        if hasattr(part, "config"):
            part.config._attn_implementation = name


def _chosen(model: Sam3Detector) -> set[str]:
    return {part.config._attn_implementation for part in model.network.modules() if hasattr(part, "config")}


def _gradient(model: Sam3Detector) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    vision = VisionFeatures(torch.randn(2, 16, 32, generator=generator))
    text = TextFeatures(
        torch.randn(2, 6, 32, generator=generator), torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    )
    model.network.zero_grad()
    raw = model.detect(model.build_pyramid(vision), text)
    (raw.pred_logits.sum() + raw.semantic_seg.square().mean()).backward()
    gradient = model.network.detr_encoder.layers[0].self_attn.q_proj.weight.grad
    assert gradient is not None
    return gradient.clone()


def test_only_the_kernel_changes_and_is_as_before_after_a_failure(model: Sam3Detector) -> None:
    fused = _gradient(model)
    with plain_attention(model, torch.bfloat16):
        assert _chosen(model) == {"eager"}
        torch.testing.assert_close(_gradient(model), fused, atol=1e-5, rtol=1e-3)
    assert _chosen(model) == {"sdpa"}
    with pytest.raises(KeyboardInterrupt), plain_attention(model, torch.bfloat16):
        raise KeyboardInterrupt
    assert _chosen(model) == {"sdpa"}


def test_float32_and_large_models_keep_the_fused_kernel(model: Sam3Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    with plain_attention(model, torch.float32):
        assert _chosen(model) == {"sdpa"}
    monkeypatch.setattr(module, "layer_size", lambda _config: threads.LARGE_LAYER)
    with plain_attention(model, torch.bfloat16):
        assert _chosen(model) == {"sdpa"}
