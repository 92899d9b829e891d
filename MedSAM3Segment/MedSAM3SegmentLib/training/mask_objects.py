"""Masks as what is to be found: their connected objects with boxes."""

from __future__ import annotations

import torch

from .losses import GroundTruth


def target_of(mask: torch.Tensor, ignored: torch.Tensor | None = None) -> GroundTruth:
    """The connected objects of a soft mask ``[row, column]``; specks below half a mask pixel are left out.

    Args:
        ignored: bool ``[row, column]``, pixels that teach nothing; what touches them may go on there.
    """
    from scipy import ndimage

    labels, _ = ndimage.label(mask.numpy() > 0.25)
    masks, boxes, whole = [], [], []
    edge = None if ignored is None else ndimage.binary_dilation(ignored.numpy())
    for number, extent in enumerate(ndimage.find_objects(labels), start=1):
        part = mask * torch.from_numpy(labels == number)
        if part.sum() < 0.5:
            continue
        rows, columns = extent
        # The soft rim carries sub-pixel position; a box is as wide as its rim is deep.
        height, width = mask.shape
        masks.append(mask * torch.from_numpy(ndimage.binary_dilation(labels == number)))
        whole.append(edge is None or not (edge & (labels == number)).any())
        boxes.append(
            torch.tensor([columns.start / width, rows.start / height, columns.stop / width, rows.stop / height])
        )
    if not boxes:
        return GroundTruth(mask.new_zeros((0, *mask.shape)), mask.new_zeros((0, 4)), ignored)
    is_whole = None if ignored is None else torch.tensor(whole)
    return GroundTruth(torch.stack(masks), torch.stack(boxes), ignored, is_whole)
