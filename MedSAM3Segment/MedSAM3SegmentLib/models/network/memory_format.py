"""The order in memory that convolutions like best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import Sam3Model


def use_channels_last(network: Sam3Model) -> None:
    """Keep the weights of the neck's and the pixel decoder's convolutions with their channels last.

    Tensor cores multiply half precision in that order, and the tokens of the image encoder lie in it already; cuDNN
    turns everything around before and after each convolution otherwise. Written by PyTorch's documentation and not
    timed on a GPU yet. Numbers and names of weights stay as they are.
    """
    for part in (network.vision_encoder.neck, network.mask_decoder):
        part.to(memory_format=torch.channels_last)
