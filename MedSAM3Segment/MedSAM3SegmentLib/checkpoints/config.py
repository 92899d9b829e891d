"""The numbers that say how large a model is, from its config.json or from the shapes of Meta's weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSAM3SegmentLib.errors import InputError, ModelError
from MedSAM3SegmentLib.messages.message import message

from .checkpoint import Checkpoint, Layout, Part
from .weight_targets import DETECTOR

if TYPE_CHECKING:
    from transformers import PretrainedConfig

CONFIG_FILE = "config.json"

#: Epsilon of the ViT's layer norms in Meta's code; transformers' default of 1e-6 moves mask logits by 2e-3.
VIT_LAYER_NORM_EPS = 1e-5

#: ``model_type`` of what can be run.
SUPPORTED = ("sam3", "sam3_video", "sam3_lite_text")

#: ``model_type`` of what is often mistaken for it, and what it is.
_OTHER_TYPES = {
    "sam": "SAM 1",
    "sam_hq": "HQ-SAM",
    "sam2": "SAM 2",
    "sam2_video": "SAM 2",
    "edgetam": "EdgeTAM",
    "edgetam_video": "EdgeTAM",
    "sam3_tracker": message("SAM 3's tracker without its detector"),
    "sam3_tracker_video": message("SAM 3's tracker without its detector"),
}

#: Widths of SAM 3's text encoder and detector; only for these is all else known without a config.json.
_TEXT_WIDTH, _TEXT_HEADS, _WIDTH = 1024, 16, 256


def read_configuration(checkpoint: Checkpoint, folder: Path) -> PretrainedConfig:
    """The configuration of a checkpoint: ``config.json`` in ``folder`` if there is one, else from Meta's shapes.

    Raises:
        ModelError: it is missing, broken or of an unsupported family.
    """
    path = folder / CONFIG_FILE
    if path.is_file():
        config = _from_values(read_values(path), path, checkpoint.has(Part.TRACKER))
        if checkpoint.layout is Layout.META and not checkpoint.has(Part.TRACKER):
            config = detector_config(config)  # A fine-tuned detector beside the configuration of the whole.
    elif checkpoint.layout is Layout.META:
        config = _from_meta_shapes(checkpoint)
    else:
        raise ModelError(
            "The model {path} has no {file} beside it; put its own there.", path=checkpoint.path, file=CONFIG_FILE
        )
    for part in (detector_config(config), tracker_config(config)):
        if part is not None:
            part.vision_config.backbone_config.layer_norm_eps = VIT_LAYER_NORM_EPS
    return config


def read_values(path: Path) -> dict[str, Any]:
    """The plain values of a config.json of a supported family.

    Raises:
        ModelError: it cannot be read or is of another family, named for what it is.
    """
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(
            "The configuration {path} cannot be read ({why}); download it again.", path=path, why=str(error)
        ) from error
    if not isinstance(values, dict):
        raise ModelError("The configuration {path} is not that of a model; download it again.", path=path)
    if "model_type" not in values and isinstance(values.get("hf"), dict):
        return values  # Reference sets keep transformers' values of several classes under "hf".
    kind = values.get("model_type")
    if kind not in SUPPORTED:
        family = _OTHER_TYPES.get(str(kind), message("a model of type '{kind}'", kind=str(kind)))
        raise ModelError(
            "The model in {folder} is {family} and not SAM 3; give a SAM 3 model.", folder=path.parent, family=family
        )
    return values


def _from_values(values: dict[str, Any], path: Path, with_tracker: bool) -> PretrainedConfig:
    from transformers.models.sam3.configuration_sam3 import Sam3Config
    from transformers.models.sam3_lite_text.configuration_sam3_lite_text import Sam3LiteTextConfig
    from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig

    try:
        if "hf" in values:
            sets = values["hf"]
            return Sam3VideoConfig(**sets["sam3_video"]) if with_tracker else Sam3Config(**sets["sam3"])
        kinds = {"sam3": Sam3Config, "sam3_video": Sam3VideoConfig, "sam3_lite_text": Sam3LiteTextConfig}
        return kinds[values["model_type"]].from_dict(values)
    except Exception as error:  # transformers validates with its own and with plain Python's errors
        reason = " ".join(str(error).split())
        raise ModelError(
            "The configuration {path} does not describe a SAM 3 ({why}).", path=path, why=reason
        ) from error


def detector_config(config: PretrainedConfig) -> PretrainedConfig:
    """The image model's part of a configuration."""
    return getattr(config, "detector_config", None) or config


def tracker_config(config: PretrainedConfig) -> PretrainedConfig | None:
    """The tracker's part, if there is one."""
    return getattr(config, "tracker_config", None)


def image_size_of(config: PretrainedConfig) -> int:
    """Edge of the square input in pixels."""
    return int(detector_config(config).vision_config.backbone_config.image_size)


def set_draft_resolution(config: PretrainedConfig) -> None:
    """Run at half of a model's own edge length, 504 pixels in place of SAM 3's 1008.

    Position embeddings are tiled and rotary ones computed for fewer tokens, as transformers does both for any size;
    windows of attention that the smaller grid does not fill are padded.

    Raises:
        InputError: half is no multiple of the patch.
    """
    own, patch = image_size_of(config), int(detector_config(config).vision_config.backbone_config.patch_size)
    if own % 2 or own // 2 % patch:
        raise InputError(
            "This model makes no draft: half of its {size} pixels is no multiple of its patches of {patch}; turn the "
            "draft off.",
            size=own,
            patch=patch,
        )
    _set_size(config, own // 2)


def set_resolution(config: PretrainedConfig, size: int) -> None:
    """Run at another edge length of the square input.

    Args:
        size: pixels; a multiple of the patch times the attention window, so that no window is padded.

    Raises:
        InputError: it is not.
    """
    for part in (detector_config(config), tracker_config(config)):
        if part is None:
            continue
        backbone = part.vision_config.backbone_config
        step = backbone.patch_size * backbone.window_size
        if size < step or size % step:
            near = max(round(size / step), 1) * step
            raise InputError(
                "The resolution {size} does not fit this model; use a multiple of {step}, such as {near}.",
                size=size,
                step=step,
                near=near,
            )
    _set_size(config, size)


def _set_size(config: PretrainedConfig, size: int) -> None:
    for part in (detector_config(config), tracker_config(config)):
        if part is not None:
            part.image_size = size
            grid = size // part.vision_config.backbone_config.patch_size
            part.vision_config.backbone_feature_sizes = [[4 * grid] * 2, [2 * grid] * 2, [grid] * 2]


def _from_meta_shapes(checkpoint: Checkpoint) -> PretrainedConfig:
    """What the shapes of Meta's weights say; the rest are the numbers SAM 3 was published with."""
    from transformers.models.sam3.configuration_sam3 import Sam3Config
    from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig

    shapes = {name.removeprefix(DETECTOR): shape for name, shape in checkpoint.file.shapes.items()}
    try:
        values = _detector_values(shapes)
    except KeyError as error:
        raise ModelError(
            "The weight file {path} lacks '{name}', without which its size is not known; download it again.",
            path=checkpoint.path,
            name=error.args[0],
        ) from error
    text_width, width = values["text_config"]["hidden_size"], values["detr_encoder_config"]["hidden_size"]
    if text_width != _TEXT_WIDTH or (checkpoint.has(Part.TRACKER) and width != _WIDTH):
        raise ModelError(
            "The size of the model in {path} cannot be told from its weights alone; put its {file} beside it.",
            path=checkpoint.path,
            file=CONFIG_FILE,
        )
    if not checkpoint.has(Part.TRACKER):
        return Sam3Config(**values)
    return Sam3VideoConfig(detector_config={"model_type": "sam3", **values})


def _detector_values(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    trunk, text = "backbone.vision_backbone.trunk", "backbone.language_backbone.encoder"
    width, _, patch, _ = shapes[f"{trunk}.patch_embed.proj.weight"]
    layers = _count(shapes, f"{trunk}.blocks.*.norm1.weight")
    pretrain_grid = round((shapes[f"{trunk}.pos_embed"][1] - 1) ** 0.5)
    tables = [shapes.get(f"{trunk}.blocks.{layer}.attn.freqs_cis") for layer in range(layers)]
    if all(tables):
        # A rotary table has one row per token a layer attends to, and half a head's width in columns.
        sides = [round(table[0] ** 0.5) for table in tables if table]
        window, grid = min(sides), max(sides)
        heads = width // (2 * tables[0][1])  # type: ignore[index]
        everywhere = [layer for layer, side in enumerate(sides) if side == grid and grid != window]
    elif (width, layers) == (1024, 32):
        window, grid, heads, everywhere = 24, 72, 16, [7, 15, 23, 31]
    else:
        raise KeyError(f"{trunk}.blocks.0.attn.freqs_cis")
    d_model = shapes["transformer.decoder.query_embed.weight"][1]
    text_width = shapes[f"{text}.token_embedding.weight"][1]
    detector = {
        "hidden_size": d_model,
        "num_attention_heads": shapes["transformer.decoder.boxRPB_embed_x.layers.1.weight"][0],
        "intermediate_size": shapes["transformer.encoder.layers.0.linear1.weight"][0],
    }
    return {
        "vision_config": {
            "model_type": "sam3_vision_model",
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": width,
                "intermediate_size": shapes[f"{trunk}.blocks.0.mlp.fc1.weight"][0],
                "num_hidden_layers": layers,
                "num_attention_heads": heads,
                "image_size": grid * patch,
                "patch_size": patch,
                "window_size": window,
                "global_attn_indexes": everywhere,
                "pretrain_image_size": pretrain_grid * patch,
            },
            "fpn_hidden_size": d_model,
            "backbone_feature_sizes": [[4 * grid] * 2, [2 * grid] * 2, [grid] * 2],
        },
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": shapes[f"{text}.token_embedding.weight"][0],
            "hidden_size": text_width,
            "intermediate_size": shapes[f"{text}.transformer.resblocks.0.mlp.c_fc.weight"][0],
            "projection_dim": shapes[f"{text}.text_projection"][1],
            "num_hidden_layers": _count(shapes, f"{text}.transformer.resblocks.*.ln_1.weight"),
            "num_attention_heads": _TEXT_HEADS,
            "max_position_embeddings": shapes[f"{text}.positional_embedding"][0],
            "hidden_act": "gelu",
        },
        "geometry_encoder_config": {
            **detector,
            "num_layers": _count(shapes, "geometry_encoder.encode.*.norm1.weight"),
            "roi_size": shapes["geometry_encoder.boxes_pool_project.weight"][2],
        },
        "detr_encoder_config": {**detector, "num_layers": _count(shapes, "transformer.encoder.layers.*.norm1.weight")},
        "detr_decoder_config": {
            **detector,
            "num_layers": _count(shapes, "transformer.decoder.layers.*.norm1.weight"),
            "num_queries": shapes["transformer.decoder.query_embed.weight"][0],
        },
        "mask_decoder_config": {
            "hidden_size": d_model,
            "num_attention_heads": detector["num_attention_heads"],
            "num_upsampling_stages": _count(shapes, "segmentation_head.pixel_decoder.conv_layers.*.weight"),
        },
    }


def _count(shapes: Mapping[str, tuple[int, ...]], template: str) -> int:
    """How many layers a template with ``*`` for the number matches."""
    count = 0
    while template.replace("*", str(count)) in shapes:
        count += 1
    if count == 0:
        raise KeyError(template.replace("*", "0"))
    return count
