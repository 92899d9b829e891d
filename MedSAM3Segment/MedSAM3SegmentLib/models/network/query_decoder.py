"""The DETR decoder without gradients: what ``Sam3DetrDecoder.forward`` gives in its last layer.

transformers writes the bias by which queries look near their boxes anew for each layer, three times; for 200 queries
on 5,184 tokens these are the largest tensors of a phrase. Here it is written once for each layer, where it is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from MedSAM3SegmentLib.models import devices

if TYPE_CHECKING:
    from .stage_types import PromptTokens, SharedStages


@dataclass(frozen=True, eq=False)
class DecodedQueries:
    """What the decoder's last layer says.

    Attributes:
        queries: ``[pair, query, channel]``.
        boxes: ``[pair, query, 4]`` as center and size, in fractions of the slice.
        presence: logits ``[pair]``.
    """

    queries: torch.Tensor
    boxes: torch.Tensor
    presence: torch.Tensor


def decode_queries(decoder: Any, encoded: torch.Tensor, shared: SharedStages, prompt: PromptTokens) -> DecodedQueries:
    """Let the queries look at each other, the prompt and the encoded slice.

    Args:
        decoder: transformers' ``Sam3DetrDecoder``.
        encoded: the DETR encoder's tokens, ``[pair, token, channel]``.
    """
    from transformers.models.sam3.modeling_sam3 import inverse_sigmoid

    pairs, tokens, _ = encoded.shape
    presence, queries, boxes = (
        part.weight.expand(pairs, -1, -1)
        for part in (decoder.presence_token, decoder.query_embed, decoder.reference_points)
    )
    boxes, hidden = boxes.sigmoid(), torch.cat([presence, queries], 1)
    mask = attention_mask(decoder.config, hidden, prompt)
    # The presence token, which comes first, looks everywhere alike.
    bias = encoded.new_zeros(pairs, decoder.config.num_attention_heads, hidden.shape[1], tokens)
    rows, columns = shared.grid
    for layer in decoder.layers:
        by_row, by_column = _box_biases(decoder, boxes, (rows, columns))
        near = bias[:, :, 1:].view(*by_row.shape, columns)
        torch.add(by_row[..., :, None], by_column[..., None, :], out=near)
        hidden = layer(
            hidden,
            query_pos=decoder.ref_point_head(decoder.position_encoding.encode_boxes(boxes)),
            text_features=prompt.tokens,
            vision_features=encoded,
            vision_pos_encoding=shared.positions,
            text_cross_attn_mask=mask,
            vision_cross_attn_mask=bias,
        )
        queries = decoder.output_layer_norm(hidden[:, 1:])
        boxes = (decoder.box_head(queries) + inverse_sigmoid(boxes)).sigmoid()
    presence = decoder.presence_head(decoder.presence_layer_norm(hidden[:, :1]))[:, 0, 0]
    return DecodedQueries(queries, boxes, presence)


def decode_queries_by_layers(
    decoder: Any, encoded: torch.Tensor, shared: SharedStages, prompt: PromptTokens
) -> DecodedQueries:
    """The same by transformers' own forward pass, which training hears of by its layers."""
    from transformers.models.sam3.modeling_sam3 import inverse_sigmoid

    rows, columns = shared.grid
    decoded = decoder(
        vision_features=encoded,
        text_features=prompt.tokens,
        vision_pos_encoding=shared.positions,
        text_mask=prompt.mask,
        spatial_shapes=torch.tensor([[rows, columns]], device=encoded.device),
    )
    # Only the last layer's answer counts.
    queries, references = decoded.intermediate_hidden_states[-1], decoded.reference_boxes[-1]
    boxes = (inverse_sigmoid(references) + decoder.box_head(queries)).sigmoid()
    return DecodedQueries(queries, boxes, decoded.presence_logits[-1][:, 0])


def box_bias(decoder: Any, reference_boxes: torch.Tensor, shape: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """``Sam3DetrDecoder._get_rpb_matrix`` ``[pair, head, query, token]``, summed where it lies in the end."""
    by_row, by_column = _box_biases(decoder, reference_boxes, shape)
    return (by_row[..., :, None] + by_column[..., None, :]).flatten(3)


def _box_biases(decoder: Any, boxes: torch.Tensor, shape: tuple[Any, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of rows and of columns, whose sums the bias is, ``[pair, head, query, row or column]``."""
    from transformers.models.sam3.modeling_sam3 import box_cxcywh_to_xyxy

    edges = box_cxcywh_to_xyxy(boxes)[:, :, None]
    rows, columns = decoder._get_coords(*shape, dtype=edges.dtype, device=edges.device)
    parts: list[torch.Tensor] = []
    for embed, places, first in ((decoder.box_rpb_embed_y, rows, 1), (decoder.box_rpb_embed_x, columns, 0)):
        away = 8 * (places[:, None] - edges[..., first::2])
        logarithms = torch.sign(away) * torch.log2(away.abs() + 1.0) / math.log2(8)
        parts.append(embed(logarithms).permute(0, 3, 1, 2).contiguous())
    return parts[0], parts[1]


def attention_mask(config: object, hidden: torch.Tensor, prompt: PromptTokens) -> torch.Tensor | None:
    """The prompt's mask as the attention of ``hidden`` takes it."""
    from transformers.masking_utils import create_bidirectional_mask

    if devices.computes_beside(hidden.device) and getattr(config, "_attn_implementation", "") == "sdpa":
        # transformers asks first whether anything is masked at all, and so waits for all that the GPU has queued.
        return prompt.mask[:, None, None].expand(-1, -1, hidden.shape[1], -1)

    mask: torch.Tensor | None = create_bidirectional_mask(
        config=config, inputs_embeds=hidden, attention_mask=prompt.mask, encoder_hidden_states=prompt.tokens
    )
    return mask
