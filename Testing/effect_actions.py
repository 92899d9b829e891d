"""Actions of the Segment Editor effect without its window: a segment editor node, Slicer's own logic, a fake model."""

from __future__ import annotations

from typing import Any

from MedSAM3SceneLib.fake_segmenter import FakeSegmenter
from MedSAM3SceneLib.local_jobs import LocalJobs
from MedSAM3SceneLib.scene_run import run_to_end
from MedSAM3SceneLib.segment_actions import Action, ActionWords
from MedSAM3SceneLib.segment_edit_run import EditOrder, SegmentEditRun
from MedSAM3SegmentLib.prompts import BoxReading


class EditorLogic:
    """Slicer's editor logic with a segment editor node of the scene, and how often it was asked for what.

    Attributes:
        editor: the node; masking and overwrite mode are set on it.
        calls: what the action did, in order.
    """

    def __init__(self, segmentation: Any, volume: Any) -> None:
        import slicer

        self.editor = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        self.editor.SetAndObserveSegmentationNode(segmentation)
        self.editor.SetAndObserveSourceVolumeNode(volume)
        self.editor.SetOverwriteMode(self.editor.OverwriteNone)
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.logic.SetSegmentEditorNode(self.editor)
        self.calls: list[str] = []

    def save_state(self) -> None:
        self.calls.append("save")
        self.logic.SaveStateForUndo()

    def set_voxels(self, segment_id: str, labelmap: Any) -> None:
        self.calls.append("set")
        self._modify(segment_id, labelmap, self.logic.ModificationModeSet, False)

    def add_voxels(self, segment_id: str, labelmap: Any) -> None:
        self.calls.append("add")
        self._modify(segment_id, labelmap, self.logic.ModificationModeAdd, False)

    def remove_voxels(self, segment_id: str, labelmap: Any) -> None:
        self.calls.append("remove")
        self._modify(segment_id, labelmap, self.logic.ModificationModeRemove, True)

    def _modify(self, segment_id: str, labelmap: Any, mode: Any, bypass_masking: bool) -> None:
        node = self.editor.GetSegmentationNode()
        self.logic.ModifySegmentByLabelmap(node, segment_id, labelmap, mode, False, bypass_masking)


def begin(
    logic: EditorLogic,
    segment_id: str,
    action: Action,
    segmenter: FakeSegmenter,
    phrase: str = "liver",
    slice_node: Any = None,
    reading: BoxReading = BoxReading.ONLY_THIS_ONE,
) -> SegmentEditRun:
    """An action that has not taken a step yet."""
    logic.editor.SetSelectedSegmentID(segment_id)
    name = logic.editor.GetSegmentationNode().GetSegmentation().GetSegment(segment_id).GetName()
    words = ActionWords(action, phrase, name, reading)
    volume = logic.editor.GetSourceVolumeNode()
    order = EditOrder(words, logic.editor, segment_id, volume, slice_node, logic.save_state)
    return SegmentEditRun(order, LocalJobs(segmenter), logic)


def act(logic: EditorLogic, segment_id: str, action: Action, segmenter: FakeSegmenter, **options: Any) -> Any:
    """As ``begin``, and to its end.

    Raises:
        MedSAM3Error: why it did not end well.
    """
    run = begin(logic, segment_id, action, segmenter, **options)
    run_to_end(run, lambda: None)
    return run
