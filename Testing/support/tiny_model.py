"""An untrained SAM 3 of a quarter million weights, for tests that need a model folder but no skill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import numpy as np

    from MedSAM3SegmentLib.segmenter import Segmenter

#: What everything scores at least, on every slice; the score itself is a little below 0.5.
TINY_SCORE = 0.4

TINY_ARCHITECTURE = {
    "image_size": 56,
    "patch_size": 14,
    "window_size": 2,
    "vision_width": 32,
    "vision_layers": 2,
    "vision_heads": 2,
    "vision_mlp": 32,
    "global_layers": [1],
    "width": 32,
    "heads": 2,
    "mlp": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "geometry_layers": 1,
    "queries": 2,
    "text_width": 32,
    "text_layers": 1,
    "text_heads": 2,
    "text_mlp": 32,
    "context_length": 16,
}


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose model sees whatever it is asked for everywhere, with a score above ``TINY_SCORE``.

    A threshold up to that score finds all voxels of all concepts; one of 0.5 or more finds nothing.
    """
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_model(folder)
    return folder


def make_tiny_model(folder: Path, semantic_bias: float = 9.0) -> None:
    """Write the model folder.

    Args:
        semantic_bias: of the mask; a little below 0 nothing is found until a few steps of training have raised it.
    """
    import torch

    from MedSAM3SegmentLib.checkpoints.model_card import MaskRule, ModelCard
    from MedSAM3SegmentLib.models.detector import Sam3Detector
    from MedSAM3SegmentLib.training.architecture import Architecture, new_network, train_tokenizer
    from MedSAM3SegmentLib.training.detector_trainer import save_snapshot

    sizes = {name: tuple(value) if isinstance(value, list) else value for name, value in TINY_ARCHITECTURE.items()}
    tokenizer = train_tokenizer(["liver", "spleen", "kidney"], 20, folder.with_name(folder.name + "-tokenizer"))
    network = new_network(Architecture(**sizes), tokenizer, seed=0)
    with torch.no_grad():
        scoring = network.dot_product_scoring
        for layer in (scoring.text_proj, scoring.query_proj, network.mask_decoder.semantic_projection):
            layer.weight.zero_()
            layer.bias.zero_()
        network.mask_decoder.semantic_projection.bias.fill_(semantic_bias)
        presence = network.detr_decoder.presence_head.layer3
        presence.weight.zero_()
        presence.bias.fill_(9.0)
    card = ModelCard("tiny test model", is_demo=True, threshold=0.3, mask_rule=MaskRule.SEMANTIC)
    save_snapshot(Sam3Detector(network, tokenizer, card), network.state_dict(), folder)


class EncoderCount:
    """Counts the slices that go through a segmenter's vision encoder."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.slices = 0
        # The first part that each slice goes through, once.
        embeddings = segmenter.model.network.vision_encoder.backbone.embeddings
        embeddings.register_forward_hook(self._count)

    def _count(self, module: object, inputs: tuple[np.ndarray, ...], output: object) -> None:
        del module, output
        self.slices += inputs[0].shape[0]
