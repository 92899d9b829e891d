"""Which segments of the scene can be learnt from, and why others cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from MedSAM3SceneLib.editing.preview_node import PREVIEW_ATTRIBUTE
from MedSAM3SceneLib.mrml.labelmaps import binary_labelmap
from MedSAM3SceneLib.mrml.segmentation_nodes import segmentation_nodes
from MedSAM3SceneLib.mrml.volumes import check_volume_node
from MedSAM3SceneLib.segments.phrases import phrase_of
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import Message, message


@dataclass(frozen=True, eq=False)
class LearnableSegment:
    """A segment with the volume that it was drawn on.

    Attributes:
        phrase: what the model will be asked for.
    """

    segmentation_node: Any
    segment_id: str
    phrase: str
    volume_node: Any

    @property
    def key(self) -> tuple[str, str]:
        """What tells it apart in its scene."""
        return str(self.segmentation_node.GetID()), self.segment_id

    @property
    def segment(self) -> Any | None:
        """The vtkSegment, or None where it is gone."""
        return self.segmentation_node.GetSegmentation().GetSegment(self.segment_id)


def learnable_segments(scene: Any) -> tuple[list[LearnableSegment], list[Message]]:
    """The segments that can be learnt from, in the order of the scene, and why others cannot, in sentences.

    A segment has a name that says what it is, is stored as a labelmap, and its segmentation has a source volume.
    Segments without a labelmap's voxels are left out without a word; whether one that shares its labelmap with others
    is empty is seen only when it is read.
    """
    found: list[LearnableSegment] = []
    why_not: list[Message] = []
    for node in segmentation_nodes(scene):
        segmentation = node.GetSegmentation()
        if node.GetAttribute(PREVIEW_ATTRIBUTE) or not segmentation.GetNumberOfSegments():
            continue
        volume_node = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
        if volume_node is None:
            why_not.append(
                message(
                    "'{name}' has no source volume; choose one in the Segment Editor to learn from it.",
                    name=node.GetName(),
                )
            )
            continue
        try:
            check_volume_node(volume_node)
        except InputError as error:
            why_not.append(error.message)
            continue
        for segment_id in map(str, segmentation.GetSegmentIDs()):
            segment = segmentation.GetSegment(segment_id)
            labelmap = binary_labelmap(segment)
            phrase = phrase_of(segment)
            if labelmap is None:
                why_not.append(
                    message(
                        "The segment '{segment}' is no label map; create its Binary labelmap in the Segmentations "
                        "module to learn from it.",
                        segment=segment.GetName(),
                    )
                )
            elif not phrase:
                if not labelmap.IsEmpty():
                    why_not.append(
                        message(
                            "The segment '{segment}' does not say what it is; give it a name to learn from it.",
                            segment=segment.GetName(),
                        )
                    )
            elif not labelmap.IsEmpty():
                found.append(LearnableSegment(node, segment_id, phrase, volume_node))
    return found, why_not
