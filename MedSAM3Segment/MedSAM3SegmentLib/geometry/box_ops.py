"""How far boxes agree, and their formats."""

from __future__ import annotations

from .mask_ops import iou_of_areas

#: ``(x0, y0, x1, y1)``, here as fractions of a slice's columns and rows.
BoxXyxy = tuple[float, float, float, float]


def box_iou(one: BoxXyxy, other: BoxXyxy) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0.0) * max(height, 0.0)
    return iou_of_areas(both, _area(one), _area(other))


def _area(box: BoxXyxy) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
