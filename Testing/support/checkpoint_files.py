"""Small models of every published layout, for tests."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from MedSAM3SegmentLib.checkpoints.checkpoint import Checkpoint
from MedSAM3SegmentLib.checkpoints.key_mapping import meta_name_of, targets_of
from MedSAM3SegmentLib.checkpoints.lora import load_adapter
from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.checkpoints.networks import load_networks
from MedSAM3SegmentLib.checkpoints.tracker_keys import POINT_EMBEDDINGS
from MedSAM3SegmentLib.checkpoints.weight_targets import TensorTransform
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.models.lora_manager import LoraManager
from MedSAM3SegmentLib.training.architecture import Architecture, new_network, train_tokenizer

from .external_data import SHARED

GOLDEN = SHARED / "golden"

#: A SAM 3 that is made and run in a moment.
TINY = Architecture(
    image_size=56,
    window_size=2,
    vision_width=32,
    vision_layers=2,
    vision_heads=2,
    vision_mlp=48,
    global_layers=(1,),
    width=32,
    heads=2,
    mlp=48,
    encoder_layers=1,
    decoder_layers=1,
    queries=4,
    text_width=32,
    text_layers=1,
    text_heads=2,
    text_mlp=48,
)


def write_model_folder(folder: Path, seed: int = 0) -> Path:
    """A folder as ``Sam3Model.save_pretrained`` and its tokenizer write it."""
    tokenizer = train_tokenizer(["liver spleen kidney tumor left right"] * 3, 40, folder)
    new_network(TINY, tokenizer, seed).save_pretrained(str(folder))
    return folder


def golden_model(
    adapter: bool = False, dtype: torch.dtype = torch.float32, weights: Path | None = None
) -> Sam3Detector:
    """The reference set's model; ``weights`` may be a copy of it in another layout with its config.json beside it."""
    path = weights or GOLDEN / "meta_tiny.pt"
    checkpoint = Checkpoint.open(path)
    networks = load_networks(checkpoint, path.parent, device="cpu", dtype=dtype)
    switch = LoraManager(networks.detector, checkpoint)
    if adapter:
        switch.add(load_adapter(GOLDEN / "medsam3_lora.pt"))
        switch.merge("medsam3_lora")
    return Sam3Detector(networks.detector, None, ModelCard("golden"), tracker=networks.tracker, adapters=switch)


def to_meta(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights named as ``Sam3VideoModel`` names them, in Meta's image-model layout (without ``detector.``)."""
    meta: dict[str, torch.Tensor] = {}
    for name in state:
        target_of = meta_name_of(name)
        if target_of in meta:
            continue
        targets = targets_of(target_of)
        pieces = [state[target.name] for target in targets]
        change = targets[0].change
        if change is TensorTransform.QUERY:
            meta[target_of] = torch.cat(pieces)
        elif change is TensorTransform.AS_ROW:
            for row in range(POINT_EMBEDDINGS):
                meta[target_of.replace(".0.", f".{row}.")] = pieces[0][row : row + 1]
        elif change is TensorTransform.TRANSPOSE:
            meta[target_of] = pieces[0].t().contiguous()
        elif change is TensorTransform.WITHOUT_FIRST:
            meta[target_of] = torch.cat([torch.zeros_like(pieces[0][:, :1]), pieces[0]], dim=1)
        else:
            meta[target_of] = pieces[0]
    return meta


def golden_state() -> dict[str, torch.Tensor]:
    """Meta's small checkpoint, to be changed and saved again."""
    return copy.copy(torch.load(GOLDEN / "meta_tiny.pt", weights_only=True))


def golden_config() -> dict[str, Any]:
    import json

    return dict(json.loads((GOLDEN / "config.json").read_text(encoding="utf-8")))


def write_clip_tokenizer(folder: Path) -> None:
    """A tokenizer of CLIP's size that writes CLIP's test sentence as CLIP does; all else falls apart into letters."""
    from transformers import CLIPTokenizer

    from_clip = {"a</w>": 320, "of</w>": 539, "photo</w>": 1125, "cat</w>": 2368}
    from_clip |= {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    merges = [("o", "f</w>"), ("p", "h"), ("ph", "o"), ("pho", "t"), ("phot", "o</w>"), ("c", "a"), ("ca", "t</w>")]
    pieces = [chr(letter) + end for letter in range(97, 123) for end in ("", "</w>")]
    pieces += ["".join(pair) for pair in merges]
    vocabulary = dict(from_clip)
    free = iter(number for number in range(49408) if number not in from_clip.values())
    for piece in pieces:
        if piece not in vocabulary:
            vocabulary[piece] = next(free)
    for number in free:
        vocabulary[f"filler{number}</w>"] = number
    folder.mkdir(parents=True, exist_ok=True)
    CLIPTokenizer(vocab=vocabulary, merges=merges).save_pretrained(str(folder))
