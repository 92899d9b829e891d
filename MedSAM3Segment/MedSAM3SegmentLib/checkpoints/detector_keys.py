"""Meta's names for the weights of SAM 3's detector, and what each becomes in transformers' ``Sam3VideoModel``."""

from __future__ import annotations

from collections.abc import Iterator

from .weight_targets import (
    DETECTOR_MODEL,
    TRACKER_NECK,
    Entry,
    KeyTarget,
    TensorTransform,
    fused,
    same,
    weight,
)


def detector_names() -> Iterator[Entry]:
    """Every weight of the detector, Meta's names without a prefix, and of the neck that the tracker has of its own."""
    for part in (_vision, _text, _detection, _geometry, _heads):
        yield from part()


def _attention(meta: str, ours: str, output: str = "o_proj") -> Iterator[Entry]:
    """``torch.nn.MultiheadAttention``."""
    yield from fused(f"{meta}.in_proj_", ours)
    yield from same(f"{meta}.out_proj", f"{ours}.{output}")


def _perceptron(meta: str, ours: str, layers: int) -> Iterator[Entry]:
    for layer in range(layers):
        yield from same(f"{meta}.layers.{layer}", f"{ours}.layer{layer + 1}")


def _neck(meta: str, ours: str) -> Iterator[Entry]:
    for name, place in (
        ("0.dconv_2x2_0", "0.scale_layers.0"),
        ("0.dconv_2x2_1", "0.scale_layers.2"),
        ("1.dconv_2x2", "1.scale_layers.0"),
        ("*.conv_1x1", "*.proj1"),
        ("*.conv_3x3", "*.proj2"),
    ):
        yield from same(f"{meta}.{name}", f"{ours}.fpn_layers.{place}")


def _vision() -> Iterator[Entry]:
    meta, ours = "backbone.vision_backbone", DETECTOR_MODEL + "vision_encoder"
    trunk, vit = f"{meta}.trunk", f"{ours}.backbone"
    yield f"{trunk}.pos_embed", (KeyTarget(f"{vit}.embeddings.position_embeddings", TensorTransform.WITHOUT_FIRST),)
    yield from weight(f"{trunk}.patch_embed.proj", f"{vit}.embeddings.patch_embeddings.projection")
    yield from same(f"{trunk}.ln_pre", f"{vit}.layer_norm")
    block, layer = f"{trunk}.blocks.*", f"{vit}.layers.*"
    yield from fused(f"{block}.attn.qkv.", f"{layer}.attention")
    yield from same(f"{block}.attn.proj", f"{layer}.attention.o_proj")
    for name in ("mlp.fc1", "mlp.fc2"):
        yield from same(f"{block}.{name}", f"{layer}.{name}")
    for number in "12":
        yield from same(f"{block}.norm{number}", f"{layer}.layer_norm{number}")
    yield from _neck(f"{meta}.convs", f"{ours}.neck")
    yield from _neck(f"{meta}.sam2_convs", TRACKER_NECK.removesuffix("."))


def _text() -> Iterator[Entry]:
    meta, ours = "backbone.language_backbone", DETECTOR_MODEL + "text_encoder"
    encoder, text = f"{meta}.encoder", f"{ours}.text_model"
    yield f"{encoder}.positional_embedding", (KeyTarget(f"{text}.embeddings.position_embedding.weight"),)
    yield f"{encoder}.text_projection", (KeyTarget(f"{ours}.text_projection.weight", TensorTransform.TRANSPOSE),)
    yield from weight(f"{encoder}.token_embedding", f"{text}.embeddings.token_embedding")
    yield from same(f"{encoder}.ln_final", f"{text}.final_layer_norm")
    block, layer = f"{encoder}.transformer.resblocks.*", f"{text}.encoder.layers.*"
    yield from _attention(f"{block}.attn", f"{layer}.self_attn", "out_proj")
    for number in "12":
        yield from same(f"{block}.ln_{number}", f"{layer}.layer_norm{number}")
    yield from same(f"{block}.mlp.c_fc", f"{layer}.mlp.fc1")
    yield from same(f"{block}.mlp.c_proj", f"{layer}.mlp.fc2")
    yield from same(f"{meta}.resizer", DETECTOR_MODEL + "text_projection")


def _fusion_layers(meta: str, ours: str) -> Iterator[Entry]:
    """Layers that both the encoder and the geometry encoder are made of."""
    yield from _attention(f"{meta}.self_attn", f"{ours}.self_attn")
    yield from _attention(f"{meta}.cross_attn_image", f"{ours}.cross_attn")
    yield from _feed_forward(meta, ours)
    for number in "123":
        yield from same(f"{meta}.norm{number}", f"{ours}.layer_norm{number}")


def _feed_forward(meta: str, ours: str) -> Iterator[Entry]:
    for number in "12":
        yield from same(f"{meta}.linear{number}", f"{ours}.mlp.fc{number}")


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
        yield from same(f"{meta}.layers.*.{norm}", f"{ours}.layers.*.{name}_layer_norm")
    yield from _feed_forward(f"{meta}.layers.*", f"{ours}.layers.*")
    yield from same(f"{meta}.layers.*.norm3", f"{ours}.layers.*.mlp_layer_norm")
    yield from same(f"{meta}.norm", f"{ours}.output_layer_norm")
    yield from _perceptron(f"{meta}.bbox_embed", f"{ours}.box_head", 3)
    yield from _perceptron(f"{meta}.presence_token_head", f"{ours}.presence_head", 3)
    yield from same(f"{meta}.presence_token_out_norm", f"{ours}.presence_layer_norm")
    yield from _perceptron(f"{meta}.ref_point_head", f"{ours}.ref_point_head", 2)
    for axis in "xy":
        yield from _perceptron(f"{meta}.boxRPB_embed_{axis}", f"{ours}.box_rpb_embed_{axis}", 2)
    for name in ("query_embed", "reference_points", "presence_token"):
        yield from weight(f"{meta}.{name}", f"{ours}.{name}")


def _geometry() -> Iterator[Entry]:
    meta, ours = "geometry_encoder", DETECTOR_MODEL + "geometry_encoder"
    yield from _fusion_layers(f"{meta}.encode.*", f"{ours}.layers.*")
    for name in ("label_embed", "cls_embed"):
        yield from weight(f"{meta}.{name}", f"{ours}.{name}")
    for name in ("boxes_direct_project", "boxes_pool_project", "boxes_pos_enc_project", "final_proj"):
        yield from same(f"{meta}.{name}", f"{ours}.{name}")
    yield from same(f"{meta}.norm", f"{ours}.prompt_layer_norm")
    yield from same(f"{meta}.encode_norm", f"{ours}.output_layer_norm")
    yield from same(f"{meta}.img_pre_norm", f"{ours}.vision_layer_norm")


def _heads() -> Iterator[Entry]:
    meta, ours = "segmentation_head", DETECTOR_MODEL + "mask_decoder"
    for name in ("pixel_decoder.conv_layers.*", "pixel_decoder.norms.*"):
        yield from same(f"{meta}.{name}", f"{ours}.{name}")
    yield from same(f"{meta}.mask_predictor.mask_embed.layers.*", f"{ours}.mask_embedder.layers.*")
    yield from _attention(f"{meta}.cross_attend_prompt", f"{ours}.prompt_cross_attn")
    yield from same(f"{meta}.cross_attn_norm", f"{ours}.prompt_cross_attn_norm")
    yield from same(f"{meta}.semantic_seg_head", f"{ours}.semantic_projection")
    yield from same(f"{meta}.instance_seg_head", f"{ours}.instance_projection")
    meta, ours = "dot_prod_scoring", DETECTOR_MODEL + "dot_product_scoring"
    yield from _perceptron(f"{meta}.prompt_mlp", f"{ours}.text_mlp", 2)
    yield from same(f"{meta}.prompt_mlp.out_norm", f"{ours}.text_mlp_out_norm")
    yield from same(f"{meta}.prompt_proj", f"{ours}.text_proj")
    yield from same(f"{meta}.hs_proj", f"{ours}.query_proj")
