"""A tiny SAM 3 with random weights that no part of the network is blind to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .tiny_model import TINY_ARCHITECTURE

if TYPE_CHECKING:
    import torch

    from MedSAM3SegmentLib.models.detector import Sam3Detector


def make_random_detector(folder: Path, dtype: torch.dtype | None = None) -> Sam3Detector:
    """The detector, with two layers in its DETR encoder and five queries; the tokenizer is saved in ``folder``."""
    import torch

    from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
    from MedSAM3SegmentLib.models.detector import Sam3Detector
    from MedSAM3SegmentLib.training.architecture import Architecture, new_network, train_tokenizer

    sizes = {name: tuple(value) if isinstance(value, list) else value for name, value in TINY_ARCHITECTURE.items()}
    tokenizer = train_tokenizer(["liver", "spleen"], 20, folder)
    network = new_network(Architecture(**{**sizes, "encoder_layers": 2, "queries": 5}), tokenizer, seed=3).to(dtype)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.randn(value.shape, generator=generator, dtype=value.dtype) * 0.1)
    return Sam3Detector(network.eval(), tokenizer, ModelCard("random"))
