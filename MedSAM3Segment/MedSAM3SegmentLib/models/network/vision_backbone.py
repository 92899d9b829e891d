"""SAM 3's vision backbone on CPUs, without gradients: what ``Sam3ViTModel.forward`` computes, with less written down.

Layers that look within windows go through all windows one part after the other: what a part needs stays in the
processor's cache, and memory is used again in place of being asked for. Between two layers that look at the whole slice
its tokens stay sorted by window. Rotary positions are one multiplication of complex numbers, as they were meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from transformers.models.sam3.modeling_sam3 import Sam3ViTModel

#: Tokens that attend together, and that go through a feed-forward network together: three and two windows of full-size
#: SAM 3. Timed on two cores with 1, 3 and 9 of them, and with 1, 2 and 3.
_ATTENDED_AT_ONCE, WIDENED_AT_ONCE = 3 * 24 * 24, 2 * 24 * 24


def fits_windows(backbone: Sam3ViTModel, edge: int) -> bool:
    """Whether windows fill a slice of ``edge`` by ``edge`` pixels exactly, without which transformers pads them."""
    return edge % int(backbone.config.patch_size * backbone.config.window_size) == 0


def encode_pixels(backbone: Sam3ViTModel, pixels: torch.Tensor) -> torch.Tensor:
    """The tokens of slices, row by row, as ``backbone(pixels).last_hidden_state``.

    Args:
        pixels: ``[slice, 3, edge, edge]``, an edge that ``fits_windows``.

    Returns:
        ``[slice, token, channel]``.
    """
    edge, window = pixels.shape[-1] // backbone.config.patch_size, backbone.config.window_size
    hidden = backbone.layer_norm(backbone.embeddings(pixels))
    in_windows = False
    rotations: dict[int, torch.Tensor] = {}
    for layer in backbone.layers:
        if in_windows != bool(layer.window_size):
            hidden = _leave_windows(hidden, edge, window) if in_windows else _sort_by_window(hidden, edge, window)
            in_windows = not in_windows
        if layer.window_size not in rotations:
            rotations[layer.window_size] = _rotation(layer, hidden)
        # Some windows at a time, or one slice.
        for part in torch.split(hidden, max(1, _ATTENDED_AT_ONCE // hidden.shape[1])):
            _run_layer(layer, part, rotations[layer.window_size])
    return _leave_windows(hidden, edge, window) if in_windows else hidden


def _run_layer(layer: Any, hidden: torch.Tensor, rotation: torch.Tensor) -> None:
    """One layer of ``[window or slice, token, channel]``, in place."""
    attention, normed = layer.attention, layer.layer_norm1(hidden)
    shape = (*hidden.shape[:2], attention.num_attention_heads, attention.head_dim)
    query, key = (_rotate(part(normed).view(shape), rotation) for part in (attention.q_proj, attention.k_proj))
    value = attention.v_proj(normed).view(shape)
    attended = scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), scale=attention.scaling
    )
    hidden.add_(attention.o_proj(attended.transpose(1, 2).flatten(2)))
    for tokens in torch.split(hidden.flatten(0, 1), WIDENED_AT_ONCE):
        tokens.add_(layer.mlp(layer.layer_norm2(tokens)))


def _rotate(heads: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Neighboring channels of ``[window, token, head, channel]`` as complex numbers times ``rotation``, in float32."""
    pairs = torch.view_as_complex(heads.float().view(*heads.shape[:-1], -1, 2))
    return torch.view_as_real(pairs.mul_(rotation)).flatten(-2).type_as(heads)


def _rotation(layer: Any, hidden: torch.Tensor) -> torch.Tensor:
    """What each token's pairs of channels are turned by: complex ``[token, 1, pair]``."""
    cosines, sines = layer.rotary_emb(hidden, layer.position_ids)
    return torch.complex(cosines[0, :, ::2].contiguous(), sines[0, :, ::2].contiguous())[:, None]


def _sort_by_window(tokens: torch.Tensor, edge: int, window: int) -> torch.Tensor:
    """``[slice, token, channel]``, row by row, as ``[window, token, channel]``."""
    count = edge // window
    tiles = tokens.view(-1, count, window, count, window, tokens.shape[-1]).transpose(2, 3)
    return tiles.reshape(-1, window * window, tokens.shape[-1])


def _leave_windows(windows: torch.Tensor, edge: int, window: int) -> torch.Tensor:
    """``_sort_by_window`` undone."""
    count = edge // window
    tiles = windows.view(-1, count, count, window, window, windows.shape[-1]).transpose(2, 3)
    return tiles.reshape(-1, edge * edge, windows.shape[-1])
