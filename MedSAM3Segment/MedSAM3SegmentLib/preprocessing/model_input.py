"""What the image encoder takes: the one preprocessing function.

Training and inference both go through ``to_model_input``, so they cannot drift apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy.typing import NDArray

from .windowing import Window, to_display

if TYPE_CHECKING:
    import torch


def to_model_input(slices: NDArray, window: Window, size: int) -> torch.Tensor:  # type: ignore[type-arg]
    """What the image encoder takes: float32 ``[slice, 3, size, size]`` in -1..1.

    Args:
        slices: ``[slice, row, column]``, or ``[slice, row, column, 3]`` for color.
        window: the intensity window.
        size: edge of the model's square input in pixels; the aspect ratio is not kept.

    As Meta's ``Sam3Processor`` does with a picture: 8-bit, antialiased bilinear resize, mean and deviation 0.5.
    """
    import torch
    import torch.nn.functional as functional

    pictures = torch.from_numpy(to_display(slices, window))
    pictures = pictures[:, None] if pictures.ndim == 3 else pictures.permute(0, 3, 1, 2)
    resized = functional.interpolate(
        pictures.float(), size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )
    return (resized.round().clamp(0, 255) / 127.5 - 1.0).expand(-1, 3, -1, -1)
