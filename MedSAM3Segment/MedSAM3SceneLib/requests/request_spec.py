"""What panel, console or another door of Slicer knows of a request before the volume is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from MedSAM3SegmentLib.request import Mode, SegmentRequest


@dataclass(frozen=True, eq=False)
class RequestSpec:
    """A request, and the nodes of the scene that add to it once the volume is read.

    Attributes:
        volume_node: what to segment.
        request: all of it that needs no node, in the mode ``slices``: what was drawn is read later.
        mode: the mode that was chosen.
        segmentation_node: where segments go, or None for a new node. In the mode ``from prompts`` its segments with the
            concepts' names are what was drawn, unless the request has prompts.
        roi: a vtkMRMLMarkupsROINode; only its box is segmented. None for all.
        inside: a segmentation node and the ID of its segment that everything must lie in, or None.
        view: a vtkMRMLSliceNode; only the slice that it shows is segmented, in its plane. Segments of earlier runs keep
            what they hold on the others. None for all slices that are asked for.
        like: volume nodes and segmentation nodes that show what to find in place of words.
        locate: volume nodes and segmentation nodes, templates that say where the concepts lie.
        model, device: as ``medsam3 segment`` takes them.
        replace_completed: whether segments that are marked as completed may be written without a question.
    """

    volume_node: Any
    request: SegmentRequest
    mode: Mode = Mode.SLICES
    segmentation_node: Any | None = None
    roi: Any | None = None
    inside: tuple[Any, str] | None = None
    view: Any | None = None
    like: Sequence[tuple[Any, Any]] = ()
    model: str = "demo"
    device: str = "auto"
    replace_completed: bool = False
    locate: Sequence[tuple[Any, Any]] = ()

    @property
    def is_drawn(self) -> bool:
        """Whether what is to be tracked was drawn in segments."""
        return self.mode is Mode.FROM_PROMPTS and not self.request.prompts
