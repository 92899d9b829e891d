"""From the engine's result to segments: which segment is made, which is updated, and what is left alone and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import slicer

from MedSAM3SegmentLib.concepts import Vocabulary
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.grid import Matrix
from MedSAM3SegmentLib.report import segment_provenance
from MedSAM3SegmentLib.result import ConceptResult, SegmentResult

from .editing import SegmentWriter
from .frames import matrix_of, node_to_node, require_linear
from .labelmaps import binary_labelmap, binary_labelmap_name
from .provenance import read_provenance, write_provenance
from .volumes import PlacedVolume


class Outcome(StrEnum):
    """What became of one concept in the scene."""

    CREATED = "created"
    UPDATED = "updated"
    NOT_FOUND = "not found"


@dataclass(frozen=True)
class WrittenConcept:
    """One concept of a result in a segmentation node.

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
) -> WrittenResult:
    """Put what was found into a segmentation, as one action that undo takes back whole.

    A concept that was found becomes a segment with the vocabulary's colour and terminology, named as it was typed. A
    segment that an earlier run made of the same phrase in the same volume is given the new voxels and keeps the name
    and colour it has by now. A concept that was not found makes no segment and leaves an earlier one alone, which its
    message says.

    Args:
        result: of ``placed.volume``.
        placed: the volume node as it was when the run began; the segments go where its voxels were then.
        volume_node: the node it came from.
        segmentation_node: where to write, or None for a new node beside the volume, under the same transform.
        vocabulary: gives colours and terminology.
        writer: keeps the undo states.
        save_state: called once, after all checks and before the segmentation changes, for another undo history.

    Raises:
        InputError: as ``check_segmentation_node``; nothing has changed then.
    """
    if segmentation_node is None:
        segmentation_node = _new_segmentation(volume_node)
    else:
        check_segmentation_node(segmentation_node)
    to_segmentation = node_to_node(volume_node, segmentation_node) @ placed.to_node
    ijk_to_segmentation = to_segmentation @ result.stack.grid.ijk_to_ras
    if segmentation_node.GetSegmentation().GetNumberOfSegments() == 0:
        segmentation_node.GetSegmentation().SetSourceRepresentationName(binary_labelmap_name())
    if _is_empty(segmentation_node.GetSegmentation()):
        _take_geometry(segmentation_node, volume_node, result.stack.grid.shape, ijk_to_segmentation)
    if save_state is not None:
        save_state()
    writer.begin(segmentation_node, volume_node)
    written = tuple(
        _write_concept(result, concept, ijk_to_segmentation, segmentation_node, vocabulary, writer)
        for concept in result.concepts
    )
    return WrittenResult(segmentation_node, written)


def messages_of(result: SegmentResult, written: WrittenResult) -> list[str]:
    """What the user should know of a run, one sentence each: of the run, then of each concept."""
    messages = list(result.messages)
    for concept, written_concept in zip(result.concepts, written.concepts, strict=True):
        messages += [written_concept.message, *concept.messages]
    return messages


def find_segment(segmentation_node: Any, prompt: str, volume_name: str) -> str | None:
    """The ID of the segment that an earlier run made in the volume called ``volume_name``, or None.

    Args:
        segmentation_node: a vtkMRMLSegmentationNode.
        prompt: the phrase as the model is asked.
        volume_name: as in the segment's provenance.
    """
    segmentation = segmentation_node.GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        provenance = read_provenance(segmentation.GetSegment(segment_id)) or {}
        same_phrase = str(provenance.get("prompt", "")).casefold() == prompt.casefold()
        if same_phrase and (provenance.get("input") or {}).get("name") == volume_name:
            return str(segment_id)
    return None


def _write_concept(
    result: SegmentResult,
    concept: ConceptResult,
    ijk_to_segmentation: Matrix,
    segmentation_node: Any,
    vocabulary: Vocabulary,
    writer: SegmentWriter,
) -> WrittenConcept:
    segment_id = find_segment(segmentation_node, concept.prompt, result.provenance.input_name)
    segmentation = segmentation_node.GetSegmentation()
    if not concept.found:
        message = concept.reason
        if segment_id is not None:
            name = segmentation.GetSegment(segment_id).GetName()
            message += f" The segment '{name}' of an earlier run was left as it was."
        return WrittenConcept(concept.concept, Outcome.NOT_FOUND, segment_id, message)
    outcome = Outcome.CREATED if segment_id is None else Outcome.UPDATED
    if segment_id is None:
        segment_id = _add_segment(segmentation, concept.concept.strip(), vocabulary)
    resampled = writer.write(segment_id, concept.mask, ijk_to_segmentation)
    write_provenance(segmentation.GetSegment(segment_id), segment_provenance(result, concept))
    message = f"{concept.reason} '{concept.concept.strip()}' {resampled}" if resampled else concept.reason
    return WrittenConcept(concept.concept, outcome, segment_id, message)


def _add_segment(segmentation: Any, name: str, vocabulary: Vocabulary) -> str:
    segment_id = segmentation.AddEmptySegment("", name, vocabulary.colour_for(name))
    segment = segmentation.GetSegment(segment_id)
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
