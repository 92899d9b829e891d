"""RoI align without torchvision, whose wheels do not fit every torch that Slicer may have installed.

Same sampling as ``torchvision.ops.roi_align`` with its defaults (``aligned=False``, adaptive sampling), which is what
SAM 3's geometry encoder pools its box prompts with (He et al. 2017, Mask R-CNN, section 3).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch


def roi_align(features: torch.Tensor, boxes: Sequence[torch.Tensor], output_size: int) -> torch.Tensor:
    """Average-pool each box of a feature map into ``output_size`` x ``output_size`` bins.

    Args:
        features: ``[image, channel, row, column]``.
        boxes: per image ``[box, 4]`` as ``(x0, y0, x1, y1)`` in feature pixels.
        output_size: bins along each side.

    Returns:
        ``[box of all images, channel, output_size, output_size]``, in the dtype of ``features``.
    """
    maps = features.float()
    pooled = [
        _pool(maps[image], box, output_size) for image, image_boxes in enumerate(boxes) for box in image_boxes.float()
    ]
    if not pooled:
        return features.new_zeros((0, features.shape[1], output_size, output_size))
    return torch.stack(pooled).to(features.dtype)


def _pool(feature_map: torch.Tensor, box: torch.Tensor, bins: int) -> torch.Tensor:
    x0, y0, x1, y1 = box.tolist()
    rows = _sampling_matrix(y0, max(y1 - y0, 1.0), bins, feature_map.shape[1]).to(feature_map)
    columns = _sampling_matrix(x0, max(x1 - x0, 1.0), bins, feature_map.shape[2]).to(feature_map)
    # Bilinear sampling and averaging are separable: one small matrix per axis does both.
    return torch.einsum("yr,crk,xk->cyx", rows, feature_map, columns)


def _sampling_matrix(start: float, length: float, bins: int, size: int) -> torch.Tensor:
    """Weights ``[bin, pixel]`` of the mean of evenly spaced linear samples in each bin."""
    samples = max(math.ceil(length / bins), 1)
    step = length / bins / samples
    positions = start + step * (torch.arange(bins * samples, dtype=torch.float64) + 0.5)
    inside = (positions >= -1.0) & (positions <= size)
    positions = positions.clamp(0.0, size - 1.0)
    lower = positions.floor().long().clamp(max=size - 1)
    upper = (lower + 1).clamp(max=size - 1)
    fraction = positions - lower
    weights = torch.zeros(bins * samples, size, dtype=torch.float64)
    rows = torch.arange(bins * samples)
    weights[rows, lower] += (1.0 - fraction) * inside
    weights[rows, upper] += fraction * inside
    return weights.view(bins, samples, size).mean(dim=1).float()


def install_roi_align(network: torch.nn.Module) -> None:
    """Make a SAM 3 of transformers pool box prompts with ``roi_align``; it names torchvision without importing it."""
    module: Any = sys.modules[type(network).__module__]
    module.torchvision = SimpleNamespace(ops=SimpleNamespace(roi_align=roi_align))
