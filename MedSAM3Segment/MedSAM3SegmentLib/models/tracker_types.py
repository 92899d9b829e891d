"""What the tracker is asked and what it answers: prompts on a slice, a slice's features, a mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from MedSAM3SegmentLib.errors import InputError


@dataclass(frozen=True, eq=False)
class TrackerFeatures:
    """One slice as the tracker sees it.

    Attributes:
        high_res_features: ``[1, channel, 4 x grid, 4 x grid]`` and ``[1, channel, 2 x grid, 2 x grid]``,
            for sharp mask edges.
        vision_features: ``[1, channel, grid, grid]``, one place per patch.
        position_encoding: ``[1, channel, grid, grid]``, encoding of where each place is.
    """

    high_res_features: tuple[torch.Tensor, torch.Tensor]
    vision_features: torch.Tensor
    position_encoding: torch.Tensor


@dataclass(frozen=True, eq=False)
class PointPrompt:
    """Clicks and a box that show one object on one slice.

    Attributes:
        points: ``(x, y)`` each, as fractions of the slice's width and height.
        labels: per point, 1 for in the object and 0 for not in it.
        box: ``(x0, y0, x1, y1)`` around the object as fractions of the slice.
        refines: mask logits of an earlier answer on this slice, to be corrected by the points.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    refines: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if not self.points and self.box is None:
            raise InputError("A prompt has neither a point nor a box; give at least one.")
        if len(self.points) != len(self.labels) or not set(self.labels) <= {0, 1}:
            raise InputError("The points of a prompt do not have a label each, 1 for inside or 0 for outside; give it.")


@dataclass(frozen=True, eq=False)
class MaskPrompt:
    """An object's mask on one slice; an empty one says that the object is not there.

    Attributes:
        mask: bool ``[row, column]``, of any size; it spans the whole slice.
    """

    mask: torch.Tensor

    def __post_init__(self) -> None:
        if self.mask.ndim != 2:
            raise InputError(
                "A mask prompt has {count} dimensions; give one slice, as rows and columns.", count=self.mask.ndim
            )


@dataclass(frozen=True, eq=False)
class TrackerOutput:
    """One object on one slice, in float32 on the model's device.

    Attributes:
        pred_masks: logits ``[row, column]``, four per patch along each side, above 0 in the object; -1024 everywhere if
            it is not on this slice.
        object_score_logits: logit of its being on this slice at all.
        iou_score: the IoU that the model expects of this mask, 0 to 1.
        object_pointer: ``[channel]``, the object in one vector.
    """

    pred_masks: torch.Tensor
    object_score_logits: torch.Tensor
    iou_score: torch.Tensor
    object_pointer: torch.Tensor
