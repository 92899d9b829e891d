"""From the engine's result to segments: which segment is made, which is updated, and what is left alone and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from MedSAM3SegmentLib.concepts import Vocabulary
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.grid import Matrix
from MedSAM3SegmentLib.report import segment_provenance
from MedSAM3SegmentLib.request import Grouping
from MedSAM3SegmentLib.result import ConceptResult, SegmentResult

from .edited_slices import WrittenSlices, write_written, written_slices
from .editing import SegmentWriter
from .frames import matrix_of, node_to_node, require_linear
from .labelmaps import binary_labelmap, binary_labelmap_name, cropped
from .provenance import read_provenance, write_provenance
from .steps import WORKING, Steps, finish
from .volumes import PlacedVolume

#: More objects of one concept are not looked for.
_MOST_INSTANCES = 1000


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
        segment_id: the segment that holds it; when not found the one of an earlier run that was left alone, or None.
        message: one sentence for the user.
    """

    concept: str
    outcome: Outcome
    segment_id: str | None
    message: str


@dataclass(frozen=True)
class WrittenResult:
    """What ``write_result`` did.

    Attributes:
        segmentation_node: the vtkMRMLSegmentationNode that was made or updated.
        concepts: in the order of the result.
    """

    segmentation_node: Any
    concepts: tuple[WrittenConcept, ...]


@dataclass(frozen=True, eq=False)
class SegmentMask:
    """The voxels of one segment, cropped.

    Attributes:
        instance: the number of the object, or None for all of a concept.
        mask: bool ``[k, j, i]``, not empty.
        ijk_to_ras: where its voxels lie, in the frame of the volume that was segmented.
        written: by which slices that are corrected later will be known.
    """

    instance: int | None
    mask: NDArray[np.bool_]
    ijk_to_ras: Matrix
    written: WrittenSlices


def check_segmentation_node(segmentation_node: Any) -> None:
    """Check that a result can be written into ``segmentation_node``, before a model runs for it.

    Raises:
        InputError: it is not a segmentation, is under a non-linear transform, or its segments are not label maps.
    """
    if not segmentation_node.IsA("vtkMRMLSegmentationNode"):
        raise InputError(f"'{segmentation_node.GetName()}' is not a segmentation; select one or let a new one be made.")
    require_linear(segmentation_node)
    segmentation = segmentation_node.GetSegmentation()
    stored = segmentation.GetSourceRepresentationName()
    if segmentation.GetNumberOfSegments() and stored != binary_labelmap_name():
        raise InputError(
            f"The segments of '{segmentation_node.GetName()}' are stored as {stored}; "
            "make Binary labelmap their source in the Segmentations module, or choose a new segmentation."
        )


def write_result(
    result: SegmentResult,
    placed: PlacedVolume,
    volume_node: Any,
    segmentation_node: Any | None,
    vocabulary: Vocabulary,
    writer: SegmentWriter,
    save_state: Callable[[], None] | None = None,
    grouping: Grouping = Grouping.CONCEPT,
) -> WrittenResult:
    """Put what was found into a segmentation at once, as ``write_in_steps`` does a segment at a time."""
    masks = masks_of(result, grouping)
    return finish(write_in_steps(result, masks, placed, volume_node, segmentation_node, vocabulary, writer, save_state))


def write_in_steps(
    result: SegmentResult,
    masks: Sequence[Sequence[SegmentMask]],
    placed: PlacedVolume,
    volume_node: Any,
    segmentation_node: Any | None,
    vocabulary: Vocabulary,
    writer: SegmentWriter,
    save_state: Callable[[], None] | None = None,
    clear_missing: bool = False,
) -> Steps[WrittenResult]:
    """Put what was found into a segmentation, as one action that undo takes back whole.

    A concept that was found becomes a segment with the vocabulary's colour and terminology, named as it was typed. A
    segment that an earlier run made of the same phrase in the same volume is given the new voxels and keeps the name
    and colour it has by now. A concept that was not found makes no segment and leaves an earlier one alone, which its
    message says.

    Args:
        result: of ``placed.volume``.
        masks: of each concept of ``result``, from ``masks_of``.
        placed: the volume node as it was when the run began; the segments go where its voxels were then.
        volume_node: the node it came from.
        segmentation_node: where to write, or None for a new node beside the volume, under the same transform.
        vocabulary: gives colours and terminology.
        writer: keeps the undo states.
        save_state: called once, after all checks and before the segmentation changes, for another undo history.
        clear_missing: empty an earlier segment of a concept that was not found, as a moved threshold asks for.

    Raises:
        InputError: as ``check_segmentation_node``; nothing has changed then.
    """
    if segmentation_node is not None:
        check_segmentation_node(segmentation_node)
    require_linear(volume_node)
    if segmentation_node is None:
        segmentation_node = _new_segmentation(volume_node)
    to_segmentation = node_to_node(volume_node, segmentation_node) @ placed.to_node
    ijk_to_segmentation = to_segmentation @ result.stack.grid.ijk_to_ras
    if segmentation_node.GetSegmentation().GetNumberOfSegments() == 0:
        segmentation_node.GetSegmentation().SetSourceRepresentationName(binary_labelmap_name())
    if _is_empty(segmentation_node.GetSegmentation()):
        _take_geometry(segmentation_node, volume_node, result.stack.grid.shape, ijk_to_segmentation)
    if save_state is not None:
        save_state()
    writer.begin(segmentation_node, volume_node)
    written = []
    for concept, parts in zip(result.concepts, masks, strict=True):
        if clear_missing:
            _clear_others(result, concept, parts, segmentation_node, writer)
        if not parts:
            written.append(_not_found(result, concept, segmentation_node, clear_missing))
        for part in parts:
            yield WORKING
            written.append(_write_part(result, concept, part, to_segmentation, segmentation_node, vocabulary, writer))
    return WrittenResult(segmentation_node, tuple(written))


def masks_of(result: SegmentResult, grouping: Grouping = Grouping.CONCEPT) -> list[list[SegmentMask]]:
    """The masks of each concept's segments, none where it was not found. Touches no scene; takes a while."""
    masks = []
    for concept in result.concepts:
        drawn = tuple(sorted({index for track in concept.tracks for index in track.drawn}))
        parts: dict[int | None, NDArray[np.bool_]] = {}
        if concept.found and grouping is Grouping.CONCEPT:
            parts[None] = concept.mask
        elif concept.found:
            parts = {item.label: concept.instance_map == item.label for item in concept.instances}
        masks.append(
            [
                SegmentMask(
                    instance,
                    *cropped(mask, result.stack.grid.ijk_to_ras),
                    written_slices(mask, result.stack, drawn),
                )
                for instance, mask in parts.items()
            ]
        )
    return masks


def messages_of(result: SegmentResult, written: WrittenResult) -> list[str]:
    """What the user should know of a run, one sentence each: of the run, then of each concept."""
    messages = list(result.messages)
    for concept in result.concepts:
        messages += [part.message for part in written.concepts if part.concept == concept.concept]
        messages += concept.messages
    return messages


def find_segment(segmentation_node: Any, prompt: str, volume_name: str, instance: int | None = None) -> str | None:
    """The ID of the segment that an earlier run made in the volume called ``volume_name``, or None.

    Args:
        segmentation_node: a vtkMRMLSegmentationNode.
        prompt: the phrase as the model is asked.
        volume_name: as in the segment's provenance.
        instance: the number of one object of several, or None for the segment of the whole concept.
    """
    segmentation = segmentation_node.GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        provenance = read_provenance(segmentation.GetSegment(segment_id)) or {}
        same_phrase = str(provenance.get("prompt", "")).casefold() == prompt.casefold()
        same_object = provenance.get("instance") == instance
        if same_phrase and same_object and (provenance.get("input") or {}).get("name") == volume_name:
            return str(segment_id)
    return None


def _not_found(result: SegmentResult, concept: ConceptResult, segmentation_node: Any, cleared: bool) -> WrittenConcept:
    segment_id = find_segment(segmentation_node, concept.prompt, result.provenance.input_name)
    message = concept.reason
    if segment_id is not None and not cleared:
        name = segmentation_node.GetSegmentation().GetSegment(segment_id).GetName()
        message += f" The segment '{name}' of an earlier run was left as it was."
    return WrittenConcept(concept.concept, Outcome.NOT_FOUND, segment_id, message)


def _clear_others(
    result: SegmentResult,
    concept: ConceptResult,
    parts: Sequence[SegmentMask],
    segmentation_node: Any,
    writer: SegmentWriter,
) -> None:
    """Empty the segments that an earlier run made of ``concept`` and that ``parts`` does not have."""
    volume_name = result.provenance.input_name
    kept = {part.instance for part in parts}
    gone: list[int | None] = [None, *range(1, _MOST_INSTANCES)]
    for instance in gone:
        segment_id = find_segment(segmentation_node, concept.prompt, volume_name, instance)
        if segment_id is None and instance is not None:
            return
        if segment_id is not None and instance not in kept:
            writer.clear(segment_id)


def _write_part(
    result: SegmentResult,
    concept: ConceptResult,
    part: SegmentMask,
    to_segmentation: Matrix,
    segmentation_node: Any,
    vocabulary: Vocabulary,
    writer: SegmentWriter,
) -> WrittenConcept:
    name = concept.concept.strip()
    segment_id = find_segment(segmentation_node, concept.prompt, result.provenance.input_name, part.instance)
    segmentation = segmentation_node.GetSegmentation()
    outcome = Outcome.CREATED if segment_id is None else Outcome.UPDATED
    if segment_id is None:
        segment_id = _add_segment(segmentation, name, vocabulary, part.instance)
    resampled = writer.write(segment_id, part.mask, to_segmentation @ part.ijk_to_ras)
    provenance = segment_provenance(result, concept)
    if part.instance is not None:
        provenance["instance"] = part.instance
    write_provenance(segmentation.GetSegment(segment_id), provenance)
    write_written(segmentation.GetSegment(segment_id), part.written)
    message = concept.reason if part.instance in (None, 1) else f"'{name}' has an object number {part.instance}."
    return WrittenConcept(
        concept.concept, outcome, segment_id, f"{message} '{name}' {resampled}" if resampled else message
    )


def _add_segment(segmentation: Any, name: str, vocabulary: Vocabulary, instance: int | None) -> str:
    shown = name if instance is None else f"{name} {instance}"
    segment_id = segmentation.AddEmptySegment("", shown, vocabulary.colour_for(name))
    segment = segmentation.GetSegment(segment_id)
    # Segments that share a label map are written together, which takes ever longer the more of them there are.
    segment.AddRepresentation(binary_labelmap_name(), slicer.vtkOrientedImageData())
    # Otherwise choosing a terminology in Slicer would overwrite both.
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    segment.SetTag(segment.GetTerminologyEntryTagName(), vocabulary.terminology_entry(vocabulary.find(name)))
    return str(segment_id)


def _new_segmentation(volume_node: Any) -> Any:
    scene = volume_node.GetScene()
    name = scene.GenerateUniqueName(f"{volume_node.GetName()} segmentation")
    segmentation_node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    segmentation_node.CreateDefaultDisplayNodes()
    segmentation_node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    return segmentation_node


def _is_empty(segmentation: Any) -> bool:
    """Whether no segment holds a voxel or surface, so that the lattice they would be on is still free to choose."""
    segments = [segmentation.GetSegment(segment_id) for segment_id in segmentation.GetSegmentIDs()]
    labelmaps = [binary_labelmap(segment) for segment in segments]
    return all(labelmap is not None and labelmap.IsEmpty() for labelmap in labelmaps)


def _take_geometry(segmentation_node: Any, volume_node: Any, shape: tuple[int, ...], ijk_to_ras: Matrix) -> None:
    """Let the segments be edited on the voxels of the result, which are those of the volume unless it was sheared."""
    segmentation_node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    converter = slicer.vtkSegmentationConverter
    k, j, i = shape
    wanted = slicer.vtkOrientedImageData()
    wanted.SetExtent(0, i - 1, 0, j - 1, 0, k - 1)
    wanted.SetImageToWorldMatrix(matrix_of(ijk_to_ras))
    reference = slicer.vtkOrientedImageData()
    name = converter.GetReferenceImageGeometryParameterName()
    converter.DeserializeImageGeometry(
        segmentation_node.GetSegmentation().GetConversionParameter(name), reference, False
    )
    same = slicer.vtkOrientedImageDataResample.DoGeometriesMatch(reference, wanted)
    if not same or reference.GetExtent() != wanted.GetExtent():
        segmentation_node.GetSegmentation().SetConversionParameter(name, converter.SerializeImageGeometry(wanted))
