"""One concept of a result becomes segments: which are made, which are updated, what is left alone and what is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from MedSAM3SegmentLib.concepts import Vocabulary
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.grid import Matrix
from MedSAM3SegmentLib.report import segment_provenance
from MedSAM3SegmentLib.result import ConceptResult, SegmentResult
from MedSAM3SegmentLib.terminology import terminology_entry

from .earlier_segments import EarlierSegment, earlier_segments, free_number, homes_of_objects, segment_name
from .edited_slices import WrittenSlices, write_written, written_slices
from .editing import SegmentWriter
from .labelmaps import binary_labelmap_name, content_of
from .provenance import write_provenance
from .segment_voxels import labelmap_mask
from .segmentation_nodes import require_present
from .steps import WORKING, Steps, in_thread


class Outcome(StrEnum):
    """What became of one concept in the scene."""

    CREATED = "created"
    UPDATED = "updated"
    NOT_FOUND = "not found"


@dataclass(frozen=True)
class WrittenConcept:
    """One concept of a result, or one object of it, in a segmentation node.

    Attributes:
        concept: the phrase as typed.
        outcome: what was done.
        segment_id: the segment that holds it; when not found one of an earlier run that was left alone, or None.
        message: one sentence for the user.
    """

    concept: str
    outcome: Outcome
    segment_id: str | None
    message: str


@dataclass(frozen=True, eq=False)
class SegmentMask:
    """The voxels of one segment, cropped.

    Attributes:
        instance: the label of the object in the result, or None for all of a concept.
        mask: bool ``[k, j, i]``, not empty.
        ijk_to_ras: where its voxels lie, in the frame of the volume that was segmented.
        written: by which slices that are corrected later will be known.
    """

    instance: int | None
    mask: NDArray[np.bool_]
    ijk_to_ras: Matrix
    written: WrittenSlices


@dataclass(frozen=True, eq=False)
class ConceptWriting:
    """A result on its way into a segmentation, concept by concept, within an action of ``writer``.

    Attributes:
        result: what was found.
        segmentation_node: where it goes.
        to_segmentation: 4x4 from the frame of the result's grid to the segmentation's.
        vocabulary: gives colours and terminology.
        writer: writes the voxels.
        clear_missing: see ``segmentations.write_in_steps``.
    """

    result: SegmentResult
    segmentation_node: Any
    to_segmentation: Matrix
    vocabulary: Vocabulary
    writer: SegmentWriter
    clear_missing: bool

    def write_concept(self, concept: ConceptResult, parts: Sequence[SegmentMask]) -> Steps[list[WrittenConcept]]:
        """Write all segments of one concept.

        Raises:
            Cancelled: the segmentation was removed meanwhile.
        """
        provenance = self.result.provenance
        earlier = earlier_segments(self.segmentation_node, concept.prompt, provenance.input_name)
        homes = yield from self._homes(concept, parts, earlier)
        others = [segment for segment in earlier if segment not in homes.values()]
        if self.clear_missing:
            for other in others:
                if other.created == provenance.created:
                    yield from self.writer.clear(other.segment_id)
        left = [other for other in others if content_of(self._segment(other.segment_id)) is not None]
        said = concept.reason + self._words_on(left)
        if not parts:
            kept = next((other.segment_id for other in [*left, *others]), None)
            return [WrittenConcept(concept.concept, Outcome.NOT_FOUND, kept, said)]
        written: list[WrittenConcept] = []
        numbers: dict[int, int] = {}
        for part in parts:
            yield WORKING
            require_present(self.segmentation_node)
            home = homes.get(part.instance)
            number = None if home is None else home.number
            if home is None and part.instance is not None:
                number = numbers[part.instance] = free_number(part.instance, earlier, numbers)
            part_written = yield from self._write_part(concept, part, home, number, "" if written else said)
            written.append(part_written)
        return written

    def _homes(
        self, concept: ConceptResult, parts: Sequence[SegmentMask], earlier: Sequence[EarlierSegment]
    ) -> Steps[dict[int | None, EarlierSegment]]:
        """Which earlier segment each part goes into, by its label; those without one are left out."""
        if any(part.instance is None for part in parts):
            whole = next((segment for segment in earlier if segment.number is None), None)
            return {} if whole is None else {None: whole}
        single = [segment for segment in earlier if segment.number is not None]
        if not parts or not single:
            return {}
        contents = [content_of(self._segment(segment.segment_id)) for segment in single]
        sizes = {item.label: item.voxels for item in concept.instances}
        lattice = self.to_segmentation @ self.result.stack.grid.ijk_to_ras
        homes = yield from in_thread(lambda: homes_of_objects(single, contents, concept.instance_map, sizes, lattice))
        require_present(self.segmentation_node)
        return dict(homes)

    def _write_part(
        self, concept: ConceptResult, part: SegmentMask, home: EarlierSegment | None, number: int | None, said: str
    ) -> Steps[WrittenConcept]:
        segment_id = self._add_segment(concept.concept, number) if home is None else home.segment_id
        hindered = yield from self.writer.write(segment_id, part.mask, self.to_segmentation @ part.ijk_to_ras)
        written = yield from self._written(part, self._segment(segment_id))
        require_present(self.segmentation_node)
        provenance = segment_provenance(self.result, concept)
        if number is not None:
            provenance["instance"] = number
        segment, name = self._segment(segment_id), concept.concept.strip()
        if segment is None:
            raise Cancelled(f"The segment of '{name}' was removed while it was written.")
        write_provenance(segment, provenance)
        write_written(segment, written)
        message = said or f"Another object of '{name}' is in the segment '{segment.GetName()}'."
        outcome = Outcome.CREATED if home is None else Outcome.UPDATED
        return WrittenConcept(
            concept.concept, outcome, segment_id, f"{message} '{name}' {hindered}" if hindered else message
        )

    def _written(self, part: SegmentMask, segment: Any) -> Steps[WrittenSlices]:
        """What is to be remembered of a segment that a part was written into, as far as masking let it."""
        if not self.writer.is_masking:
            return part.written
        content, stack, written = content_of(segment), self.result.stack, part.written
        lattice = self.to_segmentation @ stack.grid.ijk_to_ras
        drawn = tuple(index for index, checksum in written.checksums.items() if not checksum)
        return (
            yield from in_thread(
                lambda: written_slices(labelmap_mask(content, stack.grid, lattice), stack, drawn, written.scores)
            )
        )

    def _add_segment(self, concept: str, number: int | None) -> str:
        segmentation, vocabulary, name = self.segmentation_node.GetSegmentation(), self.vocabulary, concept.strip()
        segment_id = segmentation.AddEmptySegment("", segment_name(name, number), vocabulary.colour_for(name))
        segment = segmentation.GetSegment(segment_id)
        # Segments that share a label map are written together, which takes ever longer the more of them there are.
        segment.AddRepresentation(binary_labelmap_name(), slicer.vtkOrientedImageData())
        # Otherwise choosing a terminology in Slicer would overwrite both.
        segment.SetNameAutoGenerated(False)
        segment.SetColorAutoGenerated(False)
        segment.SetTag(segment.GetTerminologyEntryTagName(), terminology_entry(vocabulary.find(name)))
        return str(segment_id)

    def _segment(self, segment_id: str) -> Any:
        return self.segmentation_node.GetSegmentation().GetSegment(segment_id)

    def _words_on(self, left: Sequence[EarlierSegment]) -> str:
        """What there is to say of segments of earlier runs that nothing was written into."""
        names = [f"'{self._segment(segment.segment_id).GetName()}'" for segment in left]
        if len(names) < 2:
            return f" The segment {names[0]} of an earlier run was left as it was." if names else ""
        return f" The segments {', '.join(names[:-1])} and {names[-1]} of earlier runs were left as they were."
