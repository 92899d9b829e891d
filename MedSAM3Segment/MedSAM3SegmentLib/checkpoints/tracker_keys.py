"""Meta's names for the weights of SAM 3's tracker, and what each becomes in transformers' ``Sam3VideoModel``."""

from __future__ import annotations

from collections.abc import Iterator

from .weight_targets import (
    TRACKER,
    TRACKER_MODEL,
    Entry,
    KeyTarget,
    TensorTransform,
    same,
    weight,
)

#: Of the tracker's prompt encoder: not this, this, and a box's two corners.
POINT_EMBEDDINGS = 4


def tracker_names() -> Iterator[Entry]:
    """Every weight of the tracker but those of its neck, Meta's names with ``tracker.``."""
    for part in (_memory, _prompting):
        yield from part()


def _split_attention(meta: str, ours: str) -> Iterator[Entry]:
    """Attention that Meta already writes with separate query, key and value."""
    for letter in "qkv":
        yield from same(f"{meta}.{letter}_proj", f"{ours}.{letter}_proj")
    yield from same(f"{meta}.out_proj", f"{ours}.o_proj")


def _tracker_perceptron(meta: str, ours: str) -> Iterator[Entry]:
    for number, name in enumerate(("proj_in", "layers.0", "proj_out")):
        yield from same(f"{meta}.layers.{number}", f"{ours}.{name}")


def _memory() -> Iterator[Entry]:
    for name, place in (
        ("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
        ("no_mem_embed", "no_memory_embedding"),
        ("no_mem_pos_enc", "no_memory_positional_encoding"),
        ("no_obj_ptr", "no_object_pointer"),
        ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    ):
        yield TRACKER + name, (KeyTarget(TRACKER_MODEL + place),)
    yield from same(TRACKER + "mask_downsample", TRACKER_MODEL + "mask_downsample")
    yield from _tracker_perceptron(TRACKER + "obj_ptr_proj", TRACKER_MODEL + "object_pointer_proj")
    yield from same(TRACKER + "obj_ptr_tpos_proj", TRACKER_MODEL + "temporal_positional_encoding_projection_layer")
    meta, ours = TRACKER + "transformer.encoder", TRACKER_MODEL + "memory_attention"
    for name in ("self_attn", "cross_attn_image"):
        yield from _split_attention(f"{meta}.layers.*.{name}", f"{ours}.layers.*.{name}")
    for name in ("linear1", "linear2"):
        yield from same(f"{meta}.layers.*.{name}", f"{ours}.layers.*.{name}")
    for number in "123":
        yield from same(f"{meta}.layers.*.norm{number}", f"{ours}.layers.*.layer_norm{number}")
    yield from same(f"{meta}.norm", f"{ours}.layer_norm")
    meta, ours = TRACKER + "maskmem_backbone", TRACKER_MODEL + "memory_encoder"
    # Four stages of convolution, norm and activation, then one convolution by itself.
    for stage in range(4):
        place = f"{ours}.mask_downsampler.layers.{stage}"
        yield from same(f"{meta}.mask_downsampler.encoder.{3 * stage}", f"{place}.conv")
        yield from same(f"{meta}.mask_downsampler.encoder.{3 * stage + 1}", f"{place}.layer_norm")
    yield from same(f"{meta}.mask_downsampler.encoder.12", f"{ours}.mask_downsampler.final_conv")
    yield from same(f"{meta}.pix_feat_proj", f"{ours}.feature_projection")
    yield from same(f"{meta}.out_proj", f"{ours}.projection")
    meta, ours = f"{meta}.fuser.layers.*", f"{ours}.memory_fuser.layers.*"
    yield f"{meta}.gamma", (KeyTarget(f"{ours}.scale"),)
    yield from same(f"{meta}.dwconv", f"{ours}.depthwise_conv")
    yield from same(f"{meta}.norm", f"{ours}.layer_norm")
    for number in "12":
        yield from same(f"{meta}.pwconv{number}", f"{ours}.pointwise_conv{number}")


def _prompting() -> Iterator[Entry]:
    meta, ours = TRACKER + "sam_prompt_encoder", TRACKER_MODEL + "prompt_encoder"
    # One matrix of random frequencies serves the picture and the prompts.
    yield (
        f"{meta}.pe_layer.positional_encoding_gaussian_matrix",
        (
            KeyTarget(TRACKER_MODEL + "shared_image_embedding.positional_embedding"),
            KeyTarget(f"{ours}.shared_embedding.positional_embedding"),
        ),
    )
    for row in range(POINT_EMBEDDINGS):
        yield (
            f"{meta}.point_embeddings.{row}.weight",
            (KeyTarget(f"{ours}.point_embed.weight", TensorTransform.AS_ROW, row),),
        )
    for name in ("not_a_point_embed", "no_mask_embed"):
        yield from weight(f"{meta}.{name}", f"{ours}.{name}")
    for step, name in ((0, "conv1"), (1, "layer_norm1"), (3, "conv2"), (4, "layer_norm2"), (6, "conv3")):
        yield from same(f"{meta}.mask_downscaling.{step}", f"{ours}.mask_embed.{name}")
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
        yield from same(f"{meta}.{block}.norm{number}", f"{ours}.{block}.layer_norm{number}")
    yield from same(f"{meta}.{block}.mlp.lin1", f"{ours}.{block}.mlp.proj_in")
    yield from same(f"{meta}.{block}.mlp.lin2", f"{ours}.{block}.mlp.proj_out")
    yield from same(f"{meta}.transformer.norm_final_attn", f"{ours}.transformer.layer_norm_final_attn")
    for name in ("iou_token", "mask_tokens", "obj_score_token"):
        yield from weight(f"{meta}.{name}", f"{ours}.{name}")
    for name in ("conv_s0", "conv_s1"):
        yield from same(f"{meta}.{name}", f"{ours}.{name}")
    for step, name in ((0, "upscale_conv1"), (1, "upscale_layer_norm"), (3, "upscale_conv2")):
        yield from same(f"{meta}.output_upscaling.{step}", f"{ours}.{name}")
    for name in ("output_hypernetworks_mlps.*", "iou_prediction_head", "pred_obj_score_head"):
        yield from _tracker_perceptron(f"{meta}.{name}", f"{ours}.{name}")
