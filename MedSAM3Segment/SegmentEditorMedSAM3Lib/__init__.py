"""The MedSAM3 effect of Slicer's Segment Editor: phrases, boxes and points for the selected segment.

Slicer looks in this package for ``SegmentEditorEffect``; all else here is imported when the effect is first used.
Read as: a mouse event -> ``prompt_interaction`` -> marks of the segment; a click on an action -> ``session`` ->
``actions`` -> the engine -> the segment.
"""

from .SegmentEditorEffect import SegmentEditorEffect

__all__ = ["SegmentEditorEffect"]
