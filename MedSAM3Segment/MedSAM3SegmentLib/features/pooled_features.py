"""One vector for each picture, of what the image encoder says of it."""

from __future__ import annotations

import numpy as np
import torch

from MedSAM3SegmentLib.adapters.image_summary import Features
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.preprocessing.model_input import to_model_input
from MedSAM3SegmentLib.preprocessing.windowing import choose_window
from MedSAM3SegmentLib.volume import Volume

#: Slices of a volume that are looked at, spread evenly; the outermost are often empty.
_SLICES = 6


def features_name(model: Sam3Detector) -> str:
    """What makes pooled features comparable: the same weights of the base and the same input size."""
    return f"{model.identity.sha256}|{model.image_size}"


@torch.no_grad()
def pool_pictures(model: Sam3Detector, pictures: torch.Tensor) -> Features:
    """The mean over tokens ``[picture, channel]`` of pictures ``[picture, 3, size, size]``, one after another."""
    pooled = [model.encode_images(picture[None]).tokens.float().mean(dim=1).cpu() for picture in pictures]
    return torch.cat(pooled).numpy()


def pool_volume(model: Sam3Detector, volume: Volume, plane: Plane = Plane.ACQUIRED) -> Features:
    """Pooled features of a few slices of a volume, seen through its own window."""
    stack = SliceStack.along(volume.grid, plane)
    places = np.linspace(0, stack.count - 1, min(_SLICES, stack.count) + 2)[1:-1]
    chosen = sorted({round(place) for place in places})
    slices = stack.extract(volume.array)[chosen]
    return pool_pictures(model, to_model_input(slices, choose_window(volume), model.image_size))
