"""How large a tracker to train beside a detector: its configuration and its first weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from MedSAM3SegmentLib.checkpoints.networks import TrackerNetworks
from MedSAM3SegmentLib.errors import InputError

if TYPE_CHECKING:
    from transformers import Sam3Model, Sam3TrackerVideoConfig

#: Channels of what is remembered of a slice; transformers' memory attention takes no other number.
_MEMORY_CHANNELS = 64

#: How sharply the memory attention looks at its own place before it has learned anything: with this, a place one
#: patch away has about a quarter of the weight.
_LOCALITY = 3.0

#: How much a layer of the memory encoder's fuser adds at first; a deep network would start near none.
_FUSER_SCALE = 0.5


@dataclass(frozen=True)
class TrackerArchitecture:
    """The numbers that set a tracker's size; the defaults are the demo model's.

    Its width is that of the detector's pyramid, which transformers gives the tracker's neck as well.

    Attributes:
        heads, mlp: of the mask decoder's layers.
        decoder_layers: of the mask decoder.
        memory_layers, memory_mlp: of the memory attention.
        fuser_layers, fuser_mlp: of the memory encoder.
    """

    heads: int = 4
    mlp: int = 256
    decoder_layers: int = 2
    memory_layers: int = 2
    memory_mlp: int = 256
    fuser_layers: int = 1
    fuser_mlp: int = 256

    def configuration(self, vision_config: Any) -> Sam3TrackerVideoConfig:
        """transformers' configuration.

        A single reading answers boxes, several points and slices without a prompt; three readings answer one point,
        which alone is ambiguous. The tracker then never has to choose between readings of which training saw little.

        Args:
            vision_config: the detector's.
        """
        from transformers import Sam3TrackerVideoConfig

        width = int(vision_config.fpn_hidden_size)
        backbone = vision_config.backbone_config
        prompts = {"hidden_size": width, "patch_size": int(backbone.patch_size), "mask_input_channels": 16}
        decoder = {
            "hidden_size": width,
            "mlp_dim": self.mlp,
            "num_hidden_layers": self.decoder_layers,
            "num_attention_heads": self.heads,
            "iou_head_hidden_dim": width,
            "dynamic_multimask_via_stability": False,
        }
        return Sam3TrackerVideoConfig(
            image_size=int(backbone.image_size),
            vision_config=vision_config.to_dict(),
            prompt_encoder_config=prompts,
            mask_decoder_config=decoder,
            multimask_min_pt_num=1,
            multimask_max_pt_num=1,
            multimask_output_for_tracking=False,
            memory_attention_hidden_size=width,
            memory_attention_num_layers=self.memory_layers,
            memory_attention_feed_forward_hidden_size=self.memory_mlp,
            memory_attention_dropout=0.0,
            memory_attention_rope_dropout=0.0,
            memory_encoder_hidden_size=width,
            memory_encoder_output_channels=_MEMORY_CHANNELS,
            mask_downsampler_embed_dim=width,
            memory_fuser_num_layers=self.fuser_layers,
            memory_fuser_embed_dim=width,
            memory_fuser_intermediate_dim=self.fuser_mlp,
            memory_fuser_layer_scale_init_value=_FUSER_SCALE,
        )


def new_tracker(
    architecture: TrackerArchitecture, detector: Sam3Model, tokens: torch.Tensor, seed: int
) -> TrackerNetworks:
    """A tracker for the detector's vision backbone, with first weights from ``seed``.

    Weights are drawn by fan-in and fan-out, for the reason that ``architecture.new_network`` gives. The neck starts as
    a copy of the detector's, which already makes sharp features of the same tokens, scaled down so that pictures do
    not drown what is remembered. The memory attention starts by looking where it is, which it would take long to find.

    Args:
        tokens: ``[slice, token, channel]``, a few slices as the backbone gives them, to take the scale from.

    Raises:
        InputError: the detector's pyramid is too narrow for one.
    """
    from transformers.models.sam3.modeling_sam3 import Sam3VisionNeck
    from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoModel

    vision_config = detector.config.vision_config
    width = int(vision_config.fpn_hidden_size)
    if width % _MEMORY_CHANNELS:
        raise InputError(
            f"The detector has a width of {width}, and a tracker needs a multiple of {_MEMORY_CHANNELS}; train a "
            "detector of such a width first."
        )
    torch.manual_seed(seed)
    network = Sam3TrackerVideoModel(architecture.configuration(vision_config), remove_vision_encoder=True)
    neck = Sam3VisionNeck(vision_config)
    neck.load_state_dict(detector.vision_encoder.neck.state_dict())
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.xavier_uniform_(module.weight)
            elif isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                torch.nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            elif isinstance(module, torch.nn.Embedding):
                module.weight.normal_()
                continue
            else:
                continue
            if module.bias is not None:
                module.bias.zero_()
        network.prompt_encoder.no_mask_embed.weight.mul_(0.1)
        for places, spread in (
            (network.memory_temporal_positional_encoding, 0.3),
            (network.no_memory_embedding, 0.1),
            (network.no_object_pointer, 0.5),
            (network.occlusion_spatial_embedding_parameter, 0.5),
        ):
            places.normal_(std=spread)
        # A mask prompt becomes logits: each place the mean of the pixels it covers.
        network.mask_downsample.weight.fill_(1 / network.mask_downsample.weight[0].numel())
        network.mask_downsample.weight.mul_(20.0)
        network.mask_downsample.bias.fill_(-10.0)
        # A mask that is taken for missing teaches nothing, so all are taken for seen at first.
        network.mask_decoder.pred_obj_score_head.proj_out.weight.mul_(0.1)
        network.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(1.0)
        network.shared_image_embedding.positional_embedding.copy_(
            network.prompt_encoder.shared_embedding.positional_embedding
        )
        for layer in network.memory_encoder.memory_fuser.layers:
            layer.scale.fill_(_FUSER_SCALE)
        _even_out(neck, tokens.float())
        _let_memory_through(network)
    return TrackerNetworks(network.eval(), neck.eval())


def _let_memory_through(network: Any) -> None:
    """Make what tells one object from another most of what the decoder sees at first.

    Drawn like the rest it would be a hundredth, and the mean of all masks is then learned, and nothing after that.
    """
    encoder = network.memory_encoder
    encoder.feature_projection.weight.mul_(0.3)
    encoder.mask_downsampler.final_conv.weight.mul_(2.0)
    for layer in network.memory_attention.layers:
        layer.self_attn.o_proj.weight.mul_(0.3)
        layer.linear2.weight.mul_(0.3)
        attention = layer.cross_attn_image
        # Equal constant queries and keys, turned by the rotary encoding, agree best at the same place.
        for projection in (attention.q_proj, attention.k_proj):
            projection.weight.mul_(0.1)
            projection.bias.fill_(_LOCALITY)
    decoder = network.mask_decoder
    decoder.conv_s0.weight.mul_(0.2)
    decoder.conv_s1.weight.mul_(0.2)


def _even_out(neck: Any, tokens: torch.Tensor) -> None:
    """Scale the levels that the tracker uses to unit deviation, as the decoder's own features have it."""
    edge = round(tokens.shape[1] ** 0.5)
    levels, _ = neck(tokens.view(len(tokens), edge, edge, -1).permute(0, 3, 1, 2))
    for level, layer in zip(levels[:3], neck.fpn_layers, strict=False):
        scale = level.std().clamp(min=1e-3)
        layer.proj2.weight.div_(scale)
        layer.proj2.bias.div_(scale)
