"""One concept of a result becomes segments: which are made, which are updated, what is left alone and what is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import slicer

from MedSAM3SceneLib.coroutines import WORKING, StepGenerator, run_in_thread
from MedSAM3SceneLib.mrml.labelmaps import binary_labelmap_name, content_of, content_version
from MedSAM3SceneLib.mrml.segment_masks import labelmap_mask, segment_volume_mm3
from MedSAM3SceneLib.mrml.segmentation_nodes import require_present
from MedSAM3SceneLib.segments.edited_slices import (
    WrittenSlices,
    provenance_of_both,
    read_written,
    remembered_of_both,
    write_written,
    written_slices,
)
from MedSAM3SceneLib.segments.matching import (
    EarlierSegment,
    earlier_segments,
    free_number,
    match_instances,
    segment_name,
)
from MedSAM3SceneLib.segments.provenance import read_provenance, write_provenance
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix
from MedSAM3SegmentLib.messages.message import Message, joined
from MedSAM3SegmentLib.reporting.report import segment_provenance
from MedSAM3SegmentLib.results.result import ConceptResult, SegmentResult
from MedSAM3SegmentLib.vocabulary.terminology import terminology_entry
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .concept_sentences import (
    describe_left,
    describe_loss,
    describe_masked,
    describe_other_segment,
    describe_other_slices,
)
from .labelmap_merge import (
    StackSliceChange,
    changed_and_new,
    edited_lattice,
    slices_only,
)
from .segment_writer import SegmentWriter
from .written_concept import Outcome, SegmentMask, WrittenConcept


@dataclass(frozen=True, eq=False)
class ConceptWriter:
    """A result on its way into a segmentation, concept by concept, within an action of ``writer``.

    Attributes:
        result: what was found.
        segmentation_node: where it goes.
        to_segmentation: 4x4 from the frame of the result's grid to the segmentation's.
        vocabulary: gives colors and terminology.
        writer: writes the voxels.
        clear_missing, only_slice: see ``write_result.write_in_steps``.
        content_hash: see ``matching.earlier_segments``.
    """

    result: SegmentResult
    segmentation_node: Any
    to_segmentation: Matrix
    vocabulary: Vocabulary
    writer: SegmentWriter
    clear_missing: bool
    only_slice: int | None = None
    content_hash: str | None = None

    def write_concept(
        self, concept: ConceptResult, parts: Sequence[SegmentMask]
    ) -> StepGenerator[list[WrittenConcept]]:
        """Write all segments of one concept.

        Raises:
            Cancelled: the segmentation was removed meanwhile.
        """
        provenance = self.result.provenance
        earlier = earlier_segments(self.segmentation_node, concept.concept, provenance.input_name, self.content_hash)
        homes = yield from self._homes(concept, parts, earlier)
        others = [segment for segment in earlier if segment not in homes.values()]
        if self.clear_missing:
            for other in others:
                if other.created == provenance.created:
                    yield from self._clear(other.segment_id)
        left = [other for other in others if content_of(self._segment(other.segment_id)) is not None]
        names = [self._segment(other.segment_id).GetName() for other in left]
        said = joined([concept.reason, *describe_left(names)])
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
            part_written = yield from self._write_part(concept, part, home, number, None if written else said)
            written.append(part_written)
        return written

    def _homes(
        self, concept: ConceptResult, parts: Sequence[SegmentMask], earlier: Sequence[EarlierSegment]
    ) -> StepGenerator[dict[int | None, EarlierSegment]]:
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
        homes = yield from run_in_thread(
            lambda: match_instances(single, contents, concept.instance_map, sizes, lattice)
        )
        require_present(self.segmentation_node)
        return dict(homes)

    def _write_part(
        self,
        concept: ConceptResult,
        part: SegmentMask,
        home: EarlierSegment | None,
        number: int | None,
        said: Message | None,
    ) -> StepGenerator[WrittenConcept]:
        if home is not None:
            segment_id = home.segment_id
        else:
            segment_id = self._add_segment(concept.concept, number)
            yield WORKING
            self._present(segment_id)
        neighbours = self.writer.overwritten_by(segment_id)
        before = yield from self._volumes(neighbours)
        provenance = segment_provenance(self.result, concept, part.instance)
        if number is not None:
            provenance["instance"] = number
        if home is None or self.only_slice is None:
            is_written = yield from self.writer.write(segment_id, part.mask, self.to_segmentation @ part.ijk_to_ras)
            # Views may have drawn it by now, which the window feels.
            yield WORKING
            written = yield from self._written(part, self._present(segment_id))
        else:
            provenance = provenance_of_both(provenance, read_provenance(self._segment(segment_id)))
            mask = concept.mask
            if part.instance is not None:
                mask = yield from run_in_thread(lambda: concept.instance_map == part.instance)
            score = part.written.scores.get(self.only_slice)
            is_written, written = yield from self._write_slice(segment_id, self.only_slice, mask, score)
        segment, name = self._present(segment_id), concept.concept.strip()
        write_provenance(segment, provenance)
        write_written(segment, written)
        sentences = [said or describe_other_segment(name, segment.GetName())]
        if "joined_to" in provenance:
            sentences.append(describe_other_slices())
        sentences += self._words_on_lost(before, (yield from self._volumes(neighbours)))
        if not is_written:
            sentences.append(describe_masked(name))
        outcome = Outcome.CREATED if home is None else Outcome.UPDATED
        return WrittenConcept(concept.concept, outcome, segment_id, joined(sentences))

    def _write_slice(
        self, segment_id: str, index: int, mask: BoolMask, score: float | None
    ) -> StepGenerator[tuple[bool, WrittenSlices]]:
        """Let one slice of a segment take ``mask`` ``[k, j, i]`` and leave the others.

        Returns:
            Whether it could be written, as ``SegmentWriter.write``, and what is to be remembered of the segment.
        """
        segmentation, stack = self.segmentation_node.GetSegmentation(), self.result.stack
        ijk_to_segmentation = self.to_segmentation @ stack.grid.ijk_to_ras
        change = StackSliceChange(stack, index)
        version = labelmap = taken = held = None
        is_emptied = False
        # Worked out again when it was edited meanwhile.
        while version is None or content_version(segmentation) != version:
            version, held = content_version(segmentation), content_of(self._present(segment_id))
            lattice = edited_lattice(segmentation, held, ijk_to_segmentation)
            work = partial(changed_and_new, change, mask, held, lattice, self.to_segmentation)
            labelmap, taken = yield from run_in_thread(work)
            self._present(segment_id)
            is_emptied = labelmap is None
            if not is_emptied:
                labelmap, taken = yield from self.writer.as_far_as_editable(segment_id, labelmap, taken)
        before, is_written = read_written(self._present(segment_id)), True
        if is_emptied:
            yield from self.writer.clear(segment_id)
        else:
            is_written = self.writer.replace(segment_id, labelmap, taken)
        # In the same step, so that nothing a person does meanwhile is remembered as written.
        holds = content_of(self._present(segment_id))
        masks = (partial(labelmap_mask, content, stack.grid, ijk_to_segmentation) for content in (held, holds))
        is_masked = self.writer.is_masking
        written = yield from run_in_thread(
            lambda: remembered_of_both(
                before, *(of() for of in masks), slices_only(stack, (index,)), stack, score, is_masked
            )
        )
        return is_written, written

    def _clear(self, segment_id: str) -> StepGenerator[None]:
        """Take out of a segment what the run before this one had written."""
        if self.only_slice is None:
            yield from self.writer.clear(segment_id)
            return
        nothing = np.zeros(self.result.stack.grid.shape, bool)
        _, written = yield from self._write_slice(segment_id, self.only_slice, nothing, None)
        write_written(self._present(segment_id), written)

    def _written(self, part: SegmentMask, segment: Any) -> StepGenerator[WrittenSlices]:
        """What is to be remembered of a segment that a part was written into, as far as masking let it."""
        if not self.writer.is_masking:
            return part.written
        content, stack, written = content_of(segment), self.result.stack, part.written
        lattice = self.to_segmentation @ stack.grid.ijk_to_ras
        drawn = tuple(index for index, checksum in written.checksums.items() if not checksum)
        return (
            yield from run_in_thread(
                lambda: written_slices(labelmap_mask(content, stack.grid, lattice), stack, drawn, written.scores)
            )
        )

    def _add_segment(self, concept: str, number: int | None) -> str:
        segmentation, vocabulary, name = self.segmentation_node.GetSegmentation(), self.vocabulary, concept.strip()
        segment_id = segmentation.AddEmptySegment("", segment_name(name, number), vocabulary.color_for(name))
        segment = segmentation.GetSegment(segment_id)
        # Segments that share a label map are written together, which takes ever longer the more of them there are.
        segment.AddRepresentation(binary_labelmap_name(), slicer.vtkOrientedImageData())
        # Otherwise choosing a terminology in Slicer would overwrite both.
        segment.SetNameAutoGenerated(False)
        segment.SetColorAutoGenerated(False)
        segment.SetTag(segment.GetTerminologyEntryTagName(), terminology_entry(vocabulary.find(name)))
        return str(segment_id)

    def _present(self, segment_id: str) -> Any:
        """The vtkSegment of an ID, while something is written into it.

        Raises:
            Cancelled: it was removed, or the segmentation was.
        """
        require_present(self.segmentation_node)
        segment = self._segment(segment_id)
        if segment is None:
            raise Cancelled("A segment was removed while it was written.")
        return segment

    def _volumes(self, segment_ids: Sequence[str]) -> StepGenerator[dict[str, float]]:
        """How much each of some segments holds, cubic millimeters."""
        present = {segment_id: self._segment(segment_id) for segment_id in segment_ids}
        present = {segment_id: segment for segment_id, segment in present.items() if segment is not None}
        if not present:
            return {}
        return (
            yield from run_in_thread(lambda: {one: segment_volume_mm3(segment) for one, segment in present.items()})
        )

    def _words_on_lost(self, before: Mapping[str, float], after: Mapping[str, float]) -> list[Message]:
        """What there is to say of other segments that lost voxels, because the Segment Editor overwrites them."""
        lost = {one: volume - after[one] for one, volume in before.items() if one in after and after[one] < volume}
        return [describe_loss(self._segment(one).GetName(), volume) for one, volume in lost.items()]

    def _segment(self, segment_id: str) -> Any:
        return self.segmentation_node.GetSegmentation().GetSegment(segment_id)
