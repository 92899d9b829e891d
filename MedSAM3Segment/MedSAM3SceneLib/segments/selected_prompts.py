"""The marks of the segment that is selected in a segment editor, at their places in the world."""

from __future__ import annotations

from typing import Any

import numpy as np

from MedSAM3SceneLib.mrml.transforms import node_to_world

from .prompts import (
    Prompt,
    move_prompt,
    read_prompts,
    write_prompts,
)


class SelectedPrompts:
    """Reads and changes the marks of the segment that a vtkMRMLSegmentEditorNode has selected.

    All positions are millimeters in the world, as slice views show it.

    Args:
        editor: the segment editor node, or None.
    """

    def __init__(self, editor: Any | None) -> None:
        self._editor = editor

    @property
    def segmentation_node(self) -> Any | None:
        return self._editor.GetSegmentationNode() if self._editor is not None else None

    @property
    def segment(self) -> Any | None:
        """The vtkSegment, or None where none is selected or it is gone."""
        node = self.segmentation_node
        segment_id = self._editor.GetSelectedSegmentID() if node is not None else None
        return node.GetSegmentation().GetSegment(segment_id) if segment_id else None

    def read(self) -> tuple[Prompt, ...]:
        """The marks in the order they were drawn.

        Raises:
            InputError: the segmentation is under a non-linear transform.
        """
        segment = self.segment
        if segment is None:
            return ()
        to_world = node_to_world(self.segmentation_node)
        return tuple(move_prompt(prompt, to_world) for prompt in read_prompts(segment))

    def add(self, prompt: Prompt) -> None:
        """Add a mark; nothing happens where no segment is selected.

        Raises:
            InputError: the segmentation is under a non-linear transform.
        """
        self._write(len(self._kept), prompt)

    def replace(self, index: int, prompt: Prompt) -> None:
        """Put ``prompt`` in the place of one that is there.

        Raises:
            InputError: the segmentation is under a non-linear transform.
        """
        self._write(index, prompt)

    def remove(self, index: int) -> None:
        """Remove a mark; nothing happens where it is not there."""
        kept = self._kept
        if 0 <= index < len(kept):
            write_prompts(self.segment, (*kept[:index], *kept[index + 1 :]))

    def remove_all(self) -> None:
        """Remove all marks of the selected segment."""
        if self._kept:
            write_prompts(self.segment, ())

    @property
    def _kept(self) -> tuple[Prompt, ...]:
        return read_prompts(self.segment) if self.segment is not None else ()

    def _write(self, index: int, prompt: Prompt) -> None:
        if self.segment is not None:
            own = move_prompt(prompt, np.linalg.inv(node_to_world(self.segmentation_node)))
            kept = self._kept
            write_prompts(self.segment, (*kept[:index], own, *kept[index + 1 :]))
