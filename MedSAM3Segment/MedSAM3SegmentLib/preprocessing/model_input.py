"""What the image encoder takes: the one preprocessing function.

Training and inference both go through ``to_model_input``, so they cannot drift apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy.typing import NDArray

from .windowing import Window, to_display

if TYPE_CHECKING:
    import torch


def to_model_input(
    slices: NDArray,  # type: ignore[type-arg]
    window: Window,
    size: int,
    device: str | torch.device = "cpu",
) -> torch.Tensor:
    """What the image encoder takes: float32 ``[slice, 3, size, size]`` in -1..1.

    Args:
        slices: ``[slice, row, column]``, or ``[slice, row, column, 3]`` for color.
        window: the intensity window.
        size: edge of the model's square input in pixels; the aspect ratio is not kept.
        device: where pictures are resized, as Meta's processor does, and lie then.

    As Meta's ``Sam3Processor`` does with a picture: 8-bit, antialiased bilinear resize, mean and deviation 0.5.
    """
    return resize_pictures(to_pictures(slices, window), size, device)


def to_pictures(slices: NDArray, window: Window) -> torch.Tensor:  # type: ignore[type-arg]
    """Slices as 8-bit pictures ``[slice, 1 or 3, row, column]`` in main memory."""
    import torch

    pictures = torch.from_numpy(to_display(slices, window))
    return pictures[:, None] if pictures.ndim == 3 else pictures.permute(0, 3, 1, 2)


def resize_pictures(pictures: torch.Tensor, size: int, device: str | torch.device = "cpu") -> torch.Tensor:
    """The second half of ``to_model_input``: from 8-bit pictures on, which are an eighth of what goes to a GPU."""
    import torch
    import torch.nn.functional as functional

    if torch.device(device).type == "cuda":
        # From pinned memory, so that nobody waits for the copy.
        pictures = pictures.contiguous().pin_memory()
    pictures = pictures.to(device, non_blocking=True)
    resized = functional.interpolate(
        pictures.float(), size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )
    return (resized.round().clamp(0, 255) / 127.5 - 1.0).expand(-1, 3, -1, -1)
