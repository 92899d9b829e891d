"""The segments of a segmentation as commands change them, one after the other, before anything is written.

Only ``read_segments`` looks at the scene; the rest may run on another thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from MedSAM3AgentLib.editing.regions import filled_region
from MedSAM3SceneLib.editing.overwrite import reference_image, reference_lattice
from MedSAM3SceneLib.mrml.labelmaps import content_of, lattice_of
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError

from .edit_geometry import Block, block_of_image, labelmap_of, moved_mask


@dataclass(eq=False)
class EditedSegment:
    """A segment on its way through commands.

    Attributes:
        name: that it has by now.
        segment_id: in the scene; empty while it is but a piece of another.
        segment: the vtkSegment; None of a piece.
        whole: the segment that it is a piece of, or None.
        block: the voxels it is edited on, once it is loaded.
        before: what it held, bool ``[k, j, i]`` on ``block``, once it is loaded.
        mask: what it holds by now, likewise.
        since: what it held when other segments lost last what it had gained.
        gained: all that others lose to it, likewise.
        color: of a piece.
    """

    name: str
    segment_id: str = ""
    segment: Any | None = None
    whole: EditedSegment | None = None
    block: Block | None = None
    before: BoolMask | None = None
    mask: BoolMask | None = None
    since: BoolMask | None = None
    gained: BoolMask | None = None
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    _losses: list[tuple[BoolMask, Block]] = field(default_factory=list)

    @property
    def is_loaded(self) -> bool:
        return self.mask is not None

    @property
    def changed_voxels(self) -> int:
        """How many voxels it has that it had not, or had and has not any more."""
        return int(np.count_nonzero(self.before ^ self.mask)) if self.mask is not None else 0

    def lose(self, gained: BoolMask, block: Block) -> None:
        """Take from it what another segment has gained, now or when it is loaded."""
        if self.mask is None:
            self._losses.append((gained, block))
        else:
            self.mask = self.mask & ~moved_mask(gained, block, self.block)
            self.since = self.mask

    def load(self, reference: Block) -> None:
        """Read what it holds, if that was not done; takes a while.

        Args:
            reference: the voxels that Slicer edits the segmentation on.
        """
        if self.mask is not None:
            return
        content = content_of(self.segment)
        block = reference
        if content is not None:
            own = block_of_image(content, lattice_of(content))
            block = own.with_block(reference) if own is not None else reference
        self.block, self.before = block, block.mask_of(content)
        self.mask = self.since = self.before
        losses, self._losses = self._losses, []
        for loss in losses:
            self.lose(*loss)

    def take_gain(self) -> tuple[BoolMask, Block] | None:
        """What it has gained since others lost to it last, cropped; they are taken to lose it now."""
        gained = self.mask & ~self.since
        self.since = self.mask
        region = filled_region(gained)
        if region is None:
            return None
        self.gained = gained if self.gained is None else self.gained | gained
        return gained[region], _part(self.block, region)

    def labelmap(self) -> Any | None:
        """What it is to hold, as an oriented image; None for nothing."""
        return labelmap_of(self.mask, self.block)

    def taken(self) -> Any | None:
        """What of that others lose, likewise."""
        return None if self.gained is None else labelmap_of(self.mask & self.gained, self.block)

    def piece(self, mask: BoolMask, region: tuple[slice, slice, slice], name: str) -> EditedSegment:
        """A segment that is made of a part of it.

        Args:
            mask: bool ``[k, j, i]`` of the part of its voxels that ``region`` is.
        """
        nothing = np.zeros_like(mask)
        made = EditedSegment(name, whole=self, block=_part(self.block, region), before=nothing, mask=mask)
        made.since = mask
        return made


@dataclass(eq=False)
class EditedSegments:
    """All segments of a segmentation, in its order.

    Attributes:
        reference: the voxels that Slicer edits the segmentation on.
    """

    segments: list[EditedSegment]
    reference: Block

    def named(self, name: str, but: EditedSegment | None = None) -> list[EditedSegment]:
        """Those with a name, whichever way it is written; as it is written, where some have it so."""
        from MedSAM3SegmentLib.vocabulary.phrases import key_of

        others = [one for one in self.segments if one is not but]
        for same in (lambda one: one.name == name, lambda one: one.name.casefold() == name.casefold()):
            if found := [one for one in others if same(one)]:
                return found
        return [one for one in others if key_of(one.name) and key_of(one.name) == key_of(name)]

    def count_changed(self) -> dict[int, int]:
        """How many voxels differ, by the place of each segment that differs; takes a while."""
        counts = {place: one.changed_voxels for place, one in enumerate(self.segments)}
        return {place: count for place, count in counts.items() if count}

    def renamed(self) -> list[EditedSegment]:
        """Those in the scene that have another name by now."""
        return [one for one in self.segments if one.segment is not None and one.segment.GetName() != one.name]


def read_segments(segmentation_node: Any, fallback: Block | None) -> EditedSegments:
    """The segments of a segmentation, none of them loaded yet.

    Args:
        fallback: the voxels of a volume, for a segmentation that has no geometry yet.

    Raises:
        InputError: there is no geometry.
    """
    segmentation = segmentation_node.GetSegmentation()
    lattice = reference_lattice(segmentation)
    reference = None if lattice is None else block_of_image(reference_image(segmentation), lattice)
    reference = reference or fallback
    if reference is None:
        raise InputError(
            "The segmentation '{name}' holds nothing yet and stands on no volume; select its source volume in the"
            " Segment Editor.",
            name=segmentation_node.GetName(),
        )
    ids: Sequence[str] = segmentation.GetSegmentIDs()
    segments = [(str(one), segmentation.GetSegment(one)) for one in ids]
    return EditedSegments([EditedSegment(str(made.GetName()), one, made) for one, made in segments], reference)


def _part(block: Block, region: tuple[slice, slice, slice]) -> Block:
    start = np.array([part.start for part in reversed(region)])
    k, j, i = (part.stop - part.start for part in region)
    return Block(block.lattice, block.first + start, (k, j, i))
