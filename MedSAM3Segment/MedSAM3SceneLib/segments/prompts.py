"""What a person drew to show the object of a segment: points and boxes, kept on the segment itself.

They stand in a tag of the segment, so they follow it through undo and redo, belong to no other segment, and are saved
with it in the scene and in its ``.seg.nrrd``. Positions are RAS millimeters of the segmentation's own frame, so a
transform that moves the segmentation moves them too.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import vtk

from MedSAM3SceneLib.mrml.transforms import node_to_node
from MedSAM3SceneLib.mrml.volumes import SceneVolume
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS, PointPromptRAS, PositionRAS

#: The tag of a segment that holds its marks.
MARKS_TAG = "MedSAM3.Marks"

Prompt = PointPromptRAS | BoxPromptRAS


def read_prompts(segment: Any) -> tuple[Prompt, ...]:
    """The marks of ``segment`` (a vtkSegment), in the order they were drawn; none where nothing readable is kept."""
    text = vtk.reference("")
    if not segment.GetTag(MARKS_TAG, text):
        return ()
    try:
        return tuple(_prompt_of(entry) for entry in json.loads(str(text)))
    except (ValueError, TypeError, KeyError, IndexError):
        return ()


def write_prompts(segment: Any, prompts: tuple[Prompt, ...]) -> None:
    """Keep ``prompts`` on ``segment`` (a vtkSegment) in place of those it has."""
    if prompts:
        segment.SetTag(MARKS_TAG, json.dumps([_entry_of(prompt) for prompt in prompts]))
    else:
        segment.RemoveTag(MARKS_TAG)


def positions_of(prompt: Prompt) -> tuple[PositionRAS, ...]:
    """The place of a point, or the corners of a box in the order they follow each other along its edge."""
    return (prompt.position,) if isinstance(prompt, PointPromptRAS) else prompt.corners


def with_positions(prompt: Prompt, positions: tuple[PositionRAS, ...]) -> Prompt:
    """``prompt`` at other places."""
    if isinstance(prompt, PointPromptRAS):
        return PointPromptRAS(positions[0], prompt.positive)
    return BoxPromptRAS(positions, prompt.positive)


def move_prompt(prompt: Prompt, matrix: Matrix) -> Prompt:
    """``prompt`` in another frame.

    Args:
        matrix: 4x4 from its frame to the other.
    """
    places = np.array(positions_of(prompt)) @ matrix[:3, :3].T + matrix[:3, 3]
    return with_positions(prompt, tuple((float(x), float(y), float(z)) for x, y, z in places))


def to_volume_frame(segmentation_node: Any, volume_node: Any, placed: SceneVolume) -> Matrix:
    """4x4 from the frame of a segmentation node, where marks are kept, to that of the volume's grid.

    Raises:
        InputError: a parent transform of either node is non-linear.
    """
    return np.asarray(np.linalg.inv(placed.to_node) @ node_to_node(segmentation_node, volume_node))


def _entry_of(prompt: Prompt) -> dict[str, Any]:
    places = [[round(coordinate, 4) for coordinate in place] for place in positions_of(prompt)]
    return {"kind": "point" if isinstance(prompt, PointPromptRAS) else "box", "positive": prompt.positive, "at": places}


def _prompt_of(entry: dict[str, Any]) -> Prompt:
    places = tuple((float(x), float(y), float(z)) for x, y, z in entry["at"])
    if entry["kind"] == "point":
        return PointPromptRAS(places[0], bool(entry["positive"]))
    if len(places) < 2:
        raise ValueError("A box has two corners at least.")
    return BoxPromptRAS(places, bool(entry["positive"]))
