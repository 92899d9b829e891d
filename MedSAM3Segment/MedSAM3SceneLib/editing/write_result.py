"""From the engine's result to a segmentation: all of it is written, as one action, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from MedSAM3SceneLib.coroutines import StepGenerator, run_in_thread
from MedSAM3SceneLib.mrml.labelmaps import binary_labelmap_name, cropped
from MedSAM3SceneLib.mrml.nodes import require_node
from MedSAM3SceneLib.mrml.segment_masks import segment_volume_mm3
from MedSAM3SceneLib.mrml.segmentation_nodes import (
    geometry_kept,
    new_segmentation,
    prepare_lattice,
    remove_segmentation,
    require_present,
)
from MedSAM3SceneLib.mrml.transforms import node_to_node, require_linear
from MedSAM3SceneLib.mrml.volumes import SceneVolume, has_namesake
from MedSAM3SceneLib.segments.edited_slices import written_slices
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import Message, joined
from MedSAM3SegmentLib.reporting.sentences import describe_cut_off
from MedSAM3SegmentLib.request import Grouping
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.tracking.correction import slice_scores
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .segment_writer import SegmentWriter
from .write_concept import ConceptWriter
from .written_concept import Outcome, SegmentMask, WrittenConcept


@dataclass(frozen=True)
class WrittenResult:
    """What ``write_in_steps`` did.

    Attributes:
        segmentation_node: the vtkMRMLSegmentationNode that was made or updated.
        concepts: in the order of the result.
    """

    segmentation_node: Any
    concepts: tuple[WrittenConcept, ...]


def check_segmentation_node(segmentation_node: Any) -> None:
    """Check that a result can be written into ``segmentation_node``, before a model runs for it.

    Raises:
        InputError: it is not a segmentation, is under a non-linear transform, or its segments are not label maps.
    """
    require_node(segmentation_node)
    if not segmentation_node.IsA("vtkMRMLSegmentationNode"):
        raise InputError(
            "'{segmentation}' is not a segmentation; select one or let a new one be made.",
            segmentation=segmentation_node.GetName(),
        )
    require_linear(segmentation_node)
    segmentation = segmentation_node.GetSegmentation()
    stored = segmentation.GetSourceRepresentationName()
    if segmentation.GetNumberOfSegments() and stored != binary_labelmap_name():
        raise InputError(
            "The segments of '{segmentation}' are stored as {stored}; make Binary labelmap their source in the "
            "Segmentations module, or choose a new segmentation.",
            segmentation=segmentation_node.GetName(),
            stored=stored,
        )


def write_in_steps(
    result: SegmentResult,
    masks: Sequence[Sequence[SegmentMask]],
    placed: SceneVolume,
    volume_node: Any,
    segmentation_node: Any | None,
    vocabulary: Vocabulary,
    writer: SegmentWriter,
    save_state: Callable[[], None] | None = None,
    clear_missing: bool = False,
    only_slice: int | None = None,
) -> StepGenerator[WrittenResult]:
    """Put what was found into a segmentation, as one action that undo takes back whole.

    A concept that was found becomes a segment with the vocabulary's color and terminology, named as it was typed. A
    segment that an earlier run made of the same phrase in the same volume, and of the same object where each has one,
    is given the new voxels and keeps the name and color it has by now. Where another volume has the same name, it is
    the same one as long as its voxels are. What was not found makes no segment. Segments
    of earlier runs that nothing was written into are left alone, which the concept's message says.

    All of it is written or nothing: an error takes back what was written until then, and so does closing the steps
    before their end.

    Args:
        result: of ``placed.volume``.
        masks: of each concept of ``result``, from ``masks_of``.
        placed: the volume node as it was when the run began; the segments go where its voxels were then.
        volume_node: the node it came from.
        segmentation_node: where to write, or None for a new node beside the volume, under the same transform.
        vocabulary: gives colors and terminology.
        writer: keeps the undo states; must not be writing already.
        save_state: called once, after all checks and before the segmentation changes, for another undo history.
        clear_missing: empty what the same run wrote before and does not hold any more, as a moved threshold asks for.
        only_slice: the only slice of the result's stack that was looked at, if segments of earlier runs shall keep what
            they hold on the others.

    Raises:
        InputError: as ``check_segmentation_node``; nothing has changed then.
        Cancelled: the segmentation was removed meanwhile.
    """
    if segmentation_node is not None:
        check_segmentation_node(segmentation_node)
    require_linear(volume_node)
    target = segmentation_node or new_segmentation(volume_node)
    try:
        to_segmentation = node_to_node(volume_node, target) @ placed.to_node
        if save_state is not None:
            save_state()
        with writer.action(target, volume_node), geometry_kept(target):
            grid = result.stack.grid
            prepare_lattice(target, volume_node, grid.shape, to_segmentation @ grid.ijk_to_ras)
            source = result.provenance
            content_hash = source.input_sha256 if has_namesake(volume_node, source.input_name) else None
            writing = ConceptWriter(
                result, target, to_segmentation, vocabulary, writer, clear_missing, only_slice, content_hash
            )
            written: list[WrittenConcept] = []
            for concept, parts in zip(result.concepts, masks, strict=True):
                written += yield from writing.write_concept(concept, parts)
            written = yield from _with_volumes(target, written)
    except BaseException:
        if segmentation_node is None:
            remove_segmentation(target)
        raise
    return WrittenResult(target, tuple(written))


def _with_volumes(segmentation_node: Any, written: Sequence[WrittenConcept]) -> StepGenerator[list[WrittenConcept]]:
    """``written`` with what each segment holds in the end, as far as masks and overwriting let it."""
    segmentation = segmentation_node.GetSegmentation()
    segments = {
        part.segment_id: segmentation.GetSegment(part.segment_id)
        for part in written
        if part.segment_id is not None and part.outcome is not Outcome.NOT_FOUND
    }
    there = {segment_id: segment for segment_id, segment in segments.items() if segment is not None}
    held = yield from run_in_thread(lambda: {one: segment_volume_mm3(segment) for one, segment in there.items()})
    require_present(segmentation_node)
    return [replace(part, volume_mm3=held.get(part.segment_id)) for part in written]


def masks_of(result: SegmentResult, grouping: Grouping = Grouping.CONCEPT) -> list[list[SegmentMask]]:
    """The masks of each concept's segments, none where it was not found. Touches no scene; takes a while."""
    masks = []
    for concept in result.concepts:
        drawn = tuple(sorted({index for track in concept.tracks for index in track.drawn}))
        scores = slice_scores(concept)
        parts: dict[int | None, BoolMask] = {}
        if concept.found and grouping is Grouping.CONCEPT:
            parts[None] = concept.mask
        elif concept.found:
            parts = {item.label: concept.instance_map == item.label for item in concept.instances}
        masks.append(
            [
                SegmentMask(
                    instance,
                    *cropped(mask, result.stack.grid.ijk_to_ras),
                    written_slices(mask, result.stack, drawn, scores),
                )
                for instance, mask in parts.items()
            ]
        )
    return masks


def messages_of(result: SegmentResult, written: WrittenResult) -> list[Message]:
    """What the user should know of a run, one sentence each: of the run, then of each concept."""
    messages = list(result.messages)
    for concept in result.concepts:
        said = [part.message for part in written.concepts if part.concept == concept.concept]
        said += [*describe_cut_off(concept), *concept.messages]
        messages += [_of_concept(concept.concept, message) for message in said]
    return messages


def _of_concept(concept: str, message: Message) -> Message:
    """A sentence on a concept that says on which."""
    return message if f"'{concept.strip()}'" in message else joined([concept.strip(), message], ": ")
