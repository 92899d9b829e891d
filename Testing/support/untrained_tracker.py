"""A small tracker with random weights, whose answers mean nothing; for tests."""

from __future__ import annotations

import torch

from MedSAM3SegmentLib.checkpoints.networks import TrackerNetworks
from MedSAM3SegmentLib.models.tracker import Tracker

#: Patches along each side and channels of the vision backbone.
GRID, WIDTH = 4, 32


def make_tracker() -> Tracker:
    """A new one, with the same weights each time."""
    from transformers import Sam3TrackerVideoConfig
    from transformers.models.sam3.modeling_sam3 import Sam3VisionNeck
    from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoModel

    size = GRID * 14
    backbone = {"model_type": "sam3_vit_model", "hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Sam3TrackerVideoConfig(
        image_size=size,
        vision_config={
            "model_type": "sam3_vision_model",
            "backbone_config": {**backbone, "image_size": size, "window_size": 2, "intermediate_size": 32},
            "fpn_hidden_size": 128,
        },
        prompt_encoder_config={"hidden_size": 128, "mask_input_channels": 16},
        mask_decoder_config={
            "hidden_size": 128,
            "mlp_dim": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=64,
        memory_encoder_hidden_size=128,
        mask_downsampler_embed_dim=128,
        memory_fuser_num_layers=1,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=128,
    )
    torch.manual_seed(0)
    network = Sam3TrackerVideoModel(config, remove_vision_encoder=True).eval()
    neck = Sam3VisionNeck(config.vision_config).eval()
    with torch.no_grad():
        for name, value in [*network.named_parameters(), *neck.named_parameters()]:
            if "norm" not in name:
                value.normal_(std=max(value[0].numel(), 4) ** -0.5 if value.ndim > 1 else 0.1)
        # So that masks are found; an object that is missed has the same mask everywhere.
        network.mask_decoder.pred_obj_score_head.proj_out.bias.add_(1.0)
    return Tracker(TrackerNetworks(network, neck))
