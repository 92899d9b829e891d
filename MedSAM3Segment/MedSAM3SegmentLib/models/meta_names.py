"""Meta's names for the weights of SAM 3, and what each becomes in transformers' ``Sam3VideoModel``.

Sources of the correspondence: the published key lists of ``sam3.pt`` and of transformers. That the right tensor lands
in the right place is tested on Meta's own outputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache

import torch

#: Prefixes of Meta's full file; the file of an image model has the detector's names without one.
DETECTOR, TRACKER = "detector.", "tracker."

#: Prefixes of transformers' ``Sam3VideoModel``.
DETECTOR_MODEL, TRACKER_MODEL, TRACKER_NECK = "detector_model.", "tracker_model.", "tracker_neck."

#: Of the tracker's prompt encoder: not this, this, and a box's two corners.
POINT_EMBEDDINGS = 4


class Change(Enum):
    """How a tensor is changed on its way."""

    NONE = "as it is"
    QUERY = "first third of the rows"
    KEY = "second third of the rows"
    VALUE = "last third of the rows"
    TRANSPOSE = "transposed"
    WITHOUT_FIRST = "without the class token's position, which SAM 3 never uses"
    AS_ROW = "one row of the target"

    def apply(self, tensor: torch.Tensor) -> torch.Tensor:
        """The changed tensor; a view where it can be."""
        if self in (Change.QUERY, Change.KEY, Change.VALUE):
            third = (Change.QUERY, Change.KEY, Change.VALUE).index(self)
            return tensor.chunk(3, dim=0)[third]
        if self is Change.TRANSPOSE:
            return tensor.t().contiguous()
        if self is Change.WITHOUT_FIRST:
            return tensor[:, 1:].contiguous()
        return tensor


@dataclass(frozen=True)
class Target:
    """Where a Meta tensor goes in ``Sam3VideoModel``; ``row`` counts where several Meta tensors make one."""

    name: str
    change: Change = Change.NONE
    row: int = 0


Entry = tuple[str, tuple[Target, ...]]


def _same(meta: str, ours: str) -> Iterator[Entry]:
    """A module with weight and bias."""
    for leaf in ("weight", "bias"):
        yield f"{meta}.{leaf}", (Target(f"{ours}.{leaf}"),)


def _weight(meta: str, ours: str) -> Iterator[Entry]:
    yield f"{meta}.weight", (Target(f"{ours}.weight"),)


def _fused(meta: str, ours: str) -> Iterator[Entry]:
    """Query, key and value in one; ``meta`` ends where ``weight`` or ``bias`` begins."""
    for leaf in ("weight", "bias"):
        yield (
            meta + leaf,
            (
                Target(f"{ours}.q_proj.{leaf}", Change.QUERY),
                Target(f"{ours}.k_proj.{leaf}", Change.KEY),
                Target(f"{ours}.v_proj.{leaf}", Change.VALUE),
            ),
        )


def _attention(meta: str, ours: str, output: str = "o_proj") -> Iterator[Entry]:
    """``torch.nn.MultiheadAttention``."""
    yield from _fused(f"{meta}.in_proj_", ours)
    yield from _same(f"{meta}.out_proj", f"{ours}.{output}")


def _perceptron(meta: str, ours: str, layers: int) -> Iterator[Entry]:
    for layer in range(layers):
        yield from _same(f"{meta}.layers.{layer}", f"{ours}.layer{layer + 1}")


def _neck(meta: str, ours: str) -> Iterator[Entry]:
    for name, place in (
        ("0.dconv_2x2_0", "0.scale_layers.0"),
        ("0.dconv_2x2_1", "0.scale_layers.2"),
        ("1.dconv_2x2", "1.scale_layers.0"),
        ("*.conv_1x1", "*.proj1"),
        ("*.conv_3x3", "*.proj2"),
    ):
        yield from _same(f"{meta}.{name}", f"{ours}.fpn_layers.{place}")


def _vision() -> Iterator[Entry]:
    meta, ours = "backbone.vision_backbone", DETECTOR_MODEL + "vision_encoder"
    trunk, vit = f"{meta}.trunk", f"{ours}.backbone"
    yield f"{trunk}.pos_embed", (Target(f"{vit}.embeddings.position_embeddings", Change.WITHOUT_FIRST),)
    yield from _weight(f"{trunk}.patch_embed.proj", f"{vit}.embeddings.patch_embeddings.projection")
    yield from _same(f"{trunk}.ln_pre", f"{vit}.layer_norm")
    block, layer = f"{trunk}.blocks.*", f"{vit}.layers.*"
    yield from _fused(f"{block}.attn.qkv.", f"{layer}.attention")
    yield from _same(f"{block}.attn.proj", f"{layer}.attention.o_proj")
    for name in ("mlp.fc1", "mlp.fc2"):
        yield from _same(f"{block}.{name}", f"{layer}.{name}")
    for number in "12":
        yield from _same(f"{block}.norm{number}", f"{layer}.layer_norm{number}")
    yield from _neck(f"{meta}.convs", f"{ours}.neck")
    yield from _neck(f"{meta}.sam2_convs", TRACKER_NECK.removesuffix("."))


def _text() -> Iterator[Entry]:
    meta, ours = "backbone.language_backbone", DETECTOR_MODEL + "text_encoder"
    encoder, text = f"{meta}.encoder", f"{ours}.text_model"
    yield f"{encoder}.positional_embedding", (Target(f"{text}.embeddings.position_embedding.weight"),)
    yield f"{encoder}.text_projection", (Target(f"{ours}.text_projection.weight", Change.TRANSPOSE),)
    yield from _weight(f"{encoder}.token_embedding", f"{text}.embeddings.token_embedding")
    yield from _same(f"{encoder}.ln_final", f"{text}.final_layer_norm")
    block, layer = f"{encoder}.transformer.resblocks.*", f"{text}.encoder.layers.*"
    yield from _attention(f"{block}.attn", f"{layer}.self_attn", "out_proj")
    for number in "12":
        yield from _same(f"{block}.ln_{number}", f"{layer}.layer_norm{number}")
    yield from _same(f"{block}.mlp.c_fc", f"{layer}.mlp.fc1")
    yield from _same(f"{block}.mlp.c_proj", f"{layer}.mlp.fc2")
    yield from _same(f"{meta}.resizer", DETECTOR_MODEL + "text_projection")


def _fusion_layers(meta: str, ours: str) -> Iterator[Entry]:
    """Layers that both the encoder and the geometry encoder are made of."""
    yield from _attention(f"{meta}.self_attn", f"{ours}.self_attn")
    yield from _attention(f"{meta}.cross_attn_image", f"{ours}.cross_attn")
    yield from _feed_forward(meta, ours)
    for number in "123":
        yield from _same(f"{meta}.norm{number}", f"{ours}.layer_norm{number}")


def _feed_forward(meta: str, ours: str) -> Iterator[Entry]:
    for number in "12":
        yield from _same(f"{meta}.linear{number}", f"{ours}.mlp.fc{number}")


def _detection() -> Iterator[Entry]:
    yield from _fusion_layers("transformer.encoder.layers.*", DETECTOR_MODEL + "detr_encoder.layers.*")
    meta, ours = "transformer.decoder", DETECTOR_MODEL + "detr_decoder"
    # Meta's first norm follows the attention to the picture, its second the attention among queries.
    for attention, norm, name in (
        ("cross_attn", "norm1", "vision_cross_attn"),
        ("ca_text", "catext_norm", "text_cross_attn"),
        ("self_attn", "norm2", "self_attn"),
    ):
        yield from _attention(f"{meta}.layers.*.{attention}", f"{ours}.layers.*.{name}")
        yield from _same(f"{meta}.layers.*.{norm}", f"{ours}.layers.*.{name}_layer_norm")
    yield from _feed_forward(f"{meta}.layers.*", f"{ours}.layers.*")
    yield from _same(f"{meta}.layers.*.norm3", f"{ours}.layers.*.mlp_layer_norm")
    yield from _same(f"{meta}.norm", f"{ours}.output_layer_norm")
    yield from _perceptron(f"{meta}.bbox_embed", f"{ours}.box_head", 3)
    yield from _perceptron(f"{meta}.presence_token_head", f"{ours}.presence_head", 3)
    yield from _same(f"{meta}.presence_token_out_norm", f"{ours}.presence_layer_norm")
    yield from _perceptron(f"{meta}.ref_point_head", f"{ours}.ref_point_head", 2)
    for axis in "xy":
        yield from _perceptron(f"{meta}.boxRPB_embed_{axis}", f"{ours}.box_rpb_embed_{axis}", 2)
    for name in ("query_embed", "reference_points", "presence_token"):
        yield from _weight(f"{meta}.{name}", f"{ours}.{name}")


def _geometry() -> Iterator[Entry]:
    meta, ours = "geometry_encoder", DETECTOR_MODEL + "geometry_encoder"
    yield from _fusion_layers(f"{meta}.encode.*", f"{ours}.layers.*")
    for name in ("label_embed", "cls_embed"):
        yield from _weight(f"{meta}.{name}", f"{ours}.{name}")
    for name in ("boxes_direct_project", "boxes_pool_project", "boxes_pos_enc_project", "final_proj"):
        yield from _same(f"{meta}.{name}", f"{ours}.{name}")
    yield from _same(f"{meta}.norm", f"{ours}.prompt_layer_norm")
    yield from _same(f"{meta}.encode_norm", f"{ours}.output_layer_norm")
    yield from _same(f"{meta}.img_pre_norm", f"{ours}.vision_layer_norm")


def _heads() -> Iterator[Entry]:
    meta, ours = "segmentation_head", DETECTOR_MODEL + "mask_decoder"
    for name in ("pixel_decoder.conv_layers.*", "pixel_decoder.norms.*"):
        yield from _same(f"{meta}.{name}", f"{ours}.{name}")
    yield from _same(f"{meta}.mask_predictor.mask_embed.layers.*", f"{ours}.mask_embedder.layers.*")
    yield from _attention(f"{meta}.cross_attend_prompt", f"{ours}.prompt_cross_attn")
    yield from _same(f"{meta}.cross_attn_norm", f"{ours}.prompt_cross_attn_norm")
    yield from _same(f"{meta}.semantic_seg_head", f"{ours}.semantic_projection")
    yield from _same(f"{meta}.instance_seg_head", f"{ours}.instance_projection")
    meta, ours = "dot_prod_scoring", DETECTOR_MODEL + "dot_product_scoring"
    yield from _perceptron(f"{meta}.prompt_mlp", f"{ours}.text_mlp", 2)
    yield from _same(f"{meta}.prompt_mlp.out_norm", f"{ours}.text_mlp_out_norm")
    yield from _same(f"{meta}.prompt_proj", f"{ours}.text_proj")
    yield from _same(f"{meta}.hs_proj", f"{ours}.query_proj")


def _split_attention(meta: str, ours: str) -> Iterator[Entry]:
    """Attention that Meta already writes with separate query, key and value."""
    for letter in "qkv":
        yield from _same(f"{meta}.{letter}_proj", f"{ours}.{letter}_proj")
    yield from _same(f"{meta}.out_proj", f"{ours}.o_proj")


def _tracker_perceptron(meta: str, ours: str) -> Iterator[Entry]:
    for number, name in enumerate(("proj_in", "layers.0", "proj_out")):
        yield from _same(f"{meta}.layers.{number}", f"{ours}.{name}")


def _memory() -> Iterator[Entry]:
    for name, place in (
        ("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
        ("no_mem_embed", "no_memory_embedding"),
        ("no_mem_pos_enc", "no_memory_positional_encoding"),
        ("no_obj_ptr", "no_object_pointer"),
        ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    ):
        yield TRACKER + name, (Target(TRACKER_MODEL + place),)
    yield from _same(TRACKER + "mask_downsample", TRACKER_MODEL + "mask_downsample")
    yield from _tracker_perceptron(TRACKER + "obj_ptr_proj", TRACKER_MODEL + "object_pointer_proj")
    yield from _same(TRACKER + "obj_ptr_tpos_proj", TRACKER_MODEL + "temporal_positional_encoding_projection_layer")
    meta, ours = TRACKER + "transformer.encoder", TRACKER_MODEL + "memory_attention"
    for name in ("self_attn", "cross_attn_image"):
        yield from _split_attention(f"{meta}.layers.*.{name}", f"{ours}.layers.*.{name}")
    for name in ("linear1", "linear2"):
        yield from _same(f"{meta}.layers.*.{name}", f"{ours}.layers.*.{name}")
    for number in "123":
        yield from _same(f"{meta}.layers.*.norm{number}", f"{ours}.layers.*.layer_norm{number}")
    yield from _same(f"{meta}.norm", f"{ours}.layer_norm")
    meta, ours = TRACKER + "maskmem_backbone", TRACKER_MODEL + "memory_encoder"
    # Four stages of convolution, norm and activation, then one convolution by itself.
    for stage in range(4):
        place = f"{ours}.mask_downsampler.layers.{stage}"
        yield from _same(f"{meta}.mask_downsampler.encoder.{3 * stage}", f"{place}.conv")
        yield from _same(f"{meta}.mask_downsampler.encoder.{3 * stage + 1}", f"{place}.layer_norm")
    yield from _same(f"{meta}.mask_downsampler.encoder.12", f"{ours}.mask_downsampler.final_conv")
    yield from _same(f"{meta}.pix_feat_proj", f"{ours}.feature_projection")
    yield from _same(f"{meta}.out_proj", f"{ours}.projection")
    meta, ours = f"{meta}.fuser.layers.*", f"{ours}.memory_fuser.layers.*"
    yield f"{meta}.gamma", (Target(f"{ours}.scale"),)
    yield from _same(f"{meta}.dwconv", f"{ours}.depthwise_conv")
    yield from _same(f"{meta}.norm", f"{ours}.layer_norm")
    for number in "12":
        yield from _same(f"{meta}.pwconv{number}", f"{ours}.pointwise_conv{number}")


def _prompting() -> Iterator[Entry]:
    meta, ours = TRACKER + "sam_prompt_encoder", TRACKER_MODEL + "prompt_encoder"
    # One matrix of random frequencies serves the picture and the prompts.
    yield (
        f"{meta}.pe_layer.positional_encoding_gaussian_matrix",
        (
            Target(TRACKER_MODEL + "shared_image_embedding.positional_embedding"),
            Target(f"{ours}.shared_embedding.positional_embedding"),
        ),
    )
    for row in range(POINT_EMBEDDINGS):
        yield f"{meta}.point_embeddings.{row}.weight", (Target(f"{ours}.point_embed.weight", Change.AS_ROW, row),)
    for name in ("not_a_point_embed", "no_mask_embed"):
        yield from _weight(f"{meta}.{name}", f"{ours}.{name}")
    for step, name in ((0, "conv1"), (1, "layer_norm1"), (3, "conv2"), (4, "layer_norm2"), (6, "conv3")):
        yield from _same(f"{meta}.mask_downscaling.{step}", f"{ours}.mask_embed.{name}")
    meta, ours = TRACKER + "sam_mask_decoder", TRACKER_MODEL + "mask_decoder"
    block = "transformer.layers.*"
    for name in (
        f"{block}.self_attn",
        f"{block}.cross_attn_token_to_image",
        f"{block}.cross_attn_image_to_token",
        "transformer.final_attn_token_to_image",
    ):
        yield from _split_attention(f"{meta}.{name}", f"{ours}.{name}")
    for number in "1234":
        yield from _same(f"{meta}.{block}.norm{number}", f"{ours}.{block}.layer_norm{number}")
    yield from _same(f"{meta}.{block}.mlp.lin1", f"{ours}.{block}.mlp.proj_in")
    yield from _same(f"{meta}.{block}.mlp.lin2", f"{ours}.{block}.mlp.proj_out")
    yield from _same(f"{meta}.transformer.norm_final_attn", f"{ours}.transformer.layer_norm_final_attn")
    for name in ("iou_token", "mask_tokens", "obj_score_token"):
        yield from _weight(f"{meta}.{name}", f"{ours}.{name}")
    for name in ("conv_s0", "conv_s1"):
        yield from _same(f"{meta}.{name}", f"{ours}.{name}")
    for step, name in ((0, "upscale_conv1"), (1, "upscale_layer_norm"), (3, "upscale_conv2")):
        yield from _same(f"{meta}.output_upscaling.{step}", f"{ours}.{name}")
    for name in ("output_hypernetworks_mlps.*", "iou_prediction_head", "pred_obj_score_head"):
        yield from _tracker_perceptron(f"{meta}.{name}", f"{ours}.{name}")


@cache
def _table() -> dict[str, tuple[Target, ...]]:
    """Meta's names to targets, ``*`` standing for a layer's number; the detector's names without a prefix."""
    parts = (_vision, _text, _detection, _geometry, _heads, _memory, _prompting)
    return {meta: targets for part in parts for meta, targets in part()}


@cache
def _inverse_table() -> dict[str, str]:
    return {target.name: meta for meta, targets in reversed(_table().items()) for target in targets}


def is_unused(name: str) -> bool:
    """Whether transformers has no place for this Meta tensor, without any effect on what is computed.

    Rotary tables are computed anew; SAM 3's detector is never given points.
    """
    return name.endswith(".freqs_cis") or re.search(r"(^|\.)geometry_encoder\.points_", name) is not None


def targets_of(name: str) -> tuple[Target, ...]:
    """What a Meta tensor becomes; empty if nothing is known of it.

    Args:
        name: with or without ``detector.``; the tracker's with ``tracker.``.
    """
    for pattern, numbers in _patterns(name.removeprefix(DETECTOR)):
        found = _table().get(pattern)
        if found:
            return tuple(Target(_fill(target.name, numbers), target.change, target.row) for target in found)
    return ()


def meta_name_of(name: str) -> str:
    """The Meta tensor (the detector's without a prefix) that a tensor of ``Sam3VideoModel`` is made from.

    Where several make one, the first; a name that is not known comes back as it is.
    """
    for pattern, numbers in _patterns(name):
        meta = _inverse_table().get(pattern)
        if meta is not None:
            return _fill(meta, numbers)
    return name


def _patterns(name: str) -> Iterator[tuple[str, str]]:
    """The name as it is, then with each of its numbers in turn as ``*``, with that number."""
    yield name, ""
    for match in re.finditer(r"(?<=\.)\d+(?=\.)", name):
        yield f"{name[: match.start()]}*{name[match.end() :]}", match[0]


def _fill(template: str, number: str) -> str:
    return template.replace("*", number)
