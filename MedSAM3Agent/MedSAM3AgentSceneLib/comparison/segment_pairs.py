"""Segments of two segmentations, paired by name, on the voxels of the finer one of each pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MedSAM3AgentSceneLib.editing.edit_geometry import Block, block_of_image, labelmap_of, same_voxels
from MedSAM3SceneLib.mrml.labelmaps import content_of, lattice_of
from MedSAM3SceneLib.mrml.segment_masks import block_of
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix

#: Names of segments that a segmentation has, with their vtkSegments, in its order.
Named = dict[str, Any]


@dataclass(frozen=True, eq=False)
class SegmentPair:
    """Two segments on the same voxels.

    Attributes:
        first, second: bool ``[k, j, i]`` on ``block``.
        block: in the frame of the first segmentation.
        voxel_mm3: of a voxel of ``block``.
        volume_first_mm3, volume_second_mm3: as each has it on voxels of its own.
        is_exact: whether the voxels of both coincide; where not, the nearest ones of the coarser were taken.
    """

    first: BoolMask
    second: BoolMask
    block: Block
    voxel_mm3: float
    volume_first_mm3: float
    volume_second_mm3: float
    is_exact: bool


def named_segments(segmentation_node: Any, ids: Sequence[str] | None = None) -> Named:
    """The segments by name; where several have one, it is numbered from the second on."""
    segmentation = segmentation_node.GetSegmentation()
    counts: Counter[str] = Counter()
    named = {}
    for segment_id in segmentation.GetSegmentIDs() if ids is None else ids:
        segment = segmentation.GetSegment(segment_id)
        name = str(segment.GetName())
        counts[name] += 1
        named[name if counts[name] == 1 else f"{name} ({counts[name]})"] = segment
    return named


def pair_segments(first: Any | None, second: Any | None, second_to_first: Matrix) -> SegmentPair | None:
    """Two vtkSegments on the same voxels; None where both are missing or empty. Takes a while, and changes nothing.

    Args:
        second_to_first: 4x4 from the frame of the second segmentation to that of the first, RAS millimeters.
    """
    one = _Content.of(first, np.eye(4))
    other = _Content.of(second, second_to_first)
    if one is None and other is None:
        return None
    finer = min(filter(None, (one, other)), key=lambda each: each.voxel_mm3)
    block = finer.block
    for each in filter(None, (one, other)):
        block = block.with_block(each.block)
    masks = [np.zeros(block.shape, bool) if each is None else each.on(block) for each in (one, other)]
    is_exact = one is None or other is None or same_voxels(one.block.lattice, other.block.lattice)
    volumes = [0.0 if each is None else each.volume_mm3 for each in (one, other)]
    return SegmentPair(masks[0], masks[1], block, finer.voxel_mm3, volumes[0], volumes[1], is_exact)


@dataclass(frozen=True, eq=False)
class _Content:
    mask: BoolMask
    block: Block
    voxel_mm3: float

    @classmethod
    def of(cls, segment: Any | None, to_first: Matrix) -> _Content | None:
        image = None if segment is None else content_of(segment)
        if image is None:
            return None
        own = lattice_of(image)
        block = block_of_image(image, to_first @ own)
        # A millimeter of either segmentation is one of its own frame, whatever transforms scale.
        return None if block is None else cls(block_of(image)[0], block, float(abs(np.linalg.det(own[:3, :3]))))

    @property
    def volume_mm3(self) -> float:
        return int(np.count_nonzero(self.mask)) * self.voxel_mm3

    def on(self, block: Block) -> BoolMask:
        return block.mask_of(labelmap_of(self.mask, self.block))
