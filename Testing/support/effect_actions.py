"""Actions of the Segment Editor effect without its window: a segment editor node, Slicer's own logic, a fake model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from MedSAM3SceneLib.engine.local_engine import LocalEngine
from MedSAM3SceneLib.mrml.segment_masks import grid_to_segmentation, segment_mask
from MedSAM3SceneLib.mrml.volumes import read_volume_node
from MedSAM3SceneLib.runs.edit_actions import ActionOptions, EditAction
from MedSAM3SceneLib.runs.edit_run import EditRun, EditTask
from MedSAM3SceneLib.runs.run import RunState, run_to_end
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS, BoxReading
from MedSAM3SegmentLib.request import SegmentRequest

from .nodes import add_segmentation, add_transform, add_volume, along, slice_view, to_world


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
    action: EditAction,
    segmenter: FakeSegmenter,
    phrase: str = "liver",
    slice_node: Any = None,
    reading: BoxReading = BoxReading.ONLY_THIS_ONE,
    learns: bool = False,
    learnt_name: str = "",
) -> EditRun:
    """An action that has not taken a step yet."""
    logic.editor.SetSelectedSegmentID(segment_id)
    name = logic.editor.GetSegmentationNode().GetSegmentation().GetSegment(segment_id).GetName()
    words = ActionOptions(action, phrase, name, reading, learns, learnt_name)
    volume = logic.editor.GetSourceVolumeNode()
    task = EditTask(words, logic.editor, segment_id, volume, slice_node, logic.save_state)
    return EditRun(task, LocalEngine(segmenter), logic)


def act(logic: EditorLogic, segment_id: str, action: EditAction, segmenter: FakeSegmenter, **options: Any) -> Any:
    """As ``begin``, and to its end.

    Raises:
        MedSAM3Error: why it did not end well.
    """
    run = begin(logic, segment_id, action, segmenter, **options)
    run_to_end(run, lambda: None)
    return run


#: Slices, rows and columns of the volumes.
SHAPE = (8, 9, 10)


def box(
    first: tuple[int, int, int], end: tuple[int, int, int], shape: tuple[int, int, int] = SHAPE
) -> NDArray[np.bool_]:
    """Bool ``[k, j, i]`` of a box, ends not included."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(first, end, strict=True))] = True
    return mask


#: Where the liver is.
TRUTH = box((1, 2, 3), (7, 7, 8))


def held(segmentation: Any, segment_id: str, volume: Any) -> NDArray[np.bool_]:
    """What a segment holds on the voxels of the volume."""
    placed = read_volume_node(volume)
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    return segment_mask(segment, placed.volume.grid, grid_to_segmentation(segmentation, volume, placed))


class Setting:
    """A volume in which the liver has the value 1, and a segmentation with what was drawn."""

    def __init__(
        self,
        truth: NDArray[np.bool_] = TRUTH,
        lattice: Any = None,
        volume_parent: Any = None,
        segmentation_parent: Any = None,
        **drawn: NDArray[np.bool_],
    ) -> None:
        import slicer

        self.truth = truth
        self.lattice = np.diag([1.0, 1.0, 2.0, 1.0]) if lattice is None else lattice
        parent = None if volume_parent is None else add_transform(volume_parent)
        self.volume = add_volume(truth.astype(np.int16), self.lattice, parent)
        self.segmentation = add_segmentation(self.volume, drawn)
        if not self.segmentation.GetSegmentation().GetSegment("liver"):
            self.segmentation.GetSegmentation().AddEmptySegment("liver", "liver")
        if segmentation_parent is not None:
            # The voxels stay where they are in the world.
            node = add_transform(np.linalg.inv(segmentation_parent) @ to_world(self.volume))
            self.segmentation.SetAndObserveTransformNodeID(node.GetID())
            self.segmentation.HardenTransform()
            self.segmentation.SetAndObserveTransformNodeID(add_transform(segmentation_parent).GetID())
            self.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(self.volume)
        self.segmenter = FakeSegmenter({"liver": 1})
        self.logic = EditorLogic(self.segmentation, self.volume)
        self.slicer = slicer

    def view(self, axis: int, index: float) -> Any:
        """A slice view that shows slice ``index`` of an index axis."""
        return slice_view(along(to_world(self.volume) @ self.lattice, axis, index))

    def act(self, action: EditAction, **options: Any) -> Any:
        """As ``effect_actions.act``, on the liver."""
        return act(self.logic, "liver", action, self.segmenter, **options)

    @property
    def held(self) -> NDArray[np.bool_]:
        """What the liver holds now."""
        return held(self.segmentation, "liver", self.volume)

    @property
    def request(self) -> SegmentRequest:
        """The last one that the segmenter was sent."""
        return self.segmenter.requests[-1]


def rewrite(setting: Setting, mask: NDArray[np.bool_], image: Any) -> None:
    """Draw a segment anew, as a person with another effect does."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    matrix = vtk.vtkMatrix4x4()
    setting.volume.GetIJKToRASMatrix(matrix)
    image.SetDimensions(*mask.shape[::-1])
    image.SetImageToWorldMatrix(matrix)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = mask.ravel()
    setting.logic.save_state()
    setting.logic.set_voxels("liver", image)


def check_that_removing_ends(run: EditRun, setting: Setting, what: str) -> None:
    """Remove the segment, or a node by its name in ``setting``, and let the run go on."""
    if what == "segment":
        setting.segmentation.GetSegmentation().RemoveSegment("liver")
    else:
        setting.slicer.mrmlScene.RemoveNode(getattr(setting, what))

    with pytest.raises(Cancelled, match="removed"):
        run_to_end(run, lambda: None)

    assert run.state is RunState.CANCELLED
    assert setting.logic.calls == []


def flat_box(setting: Setting, k: int, positive: bool = True) -> BoxPromptRAS:
    """A box around the middle of axial slice ``k``."""
    corners = [setting.lattice @ np.array([i, j, k, 1]) for i, j in ((2, 2), (6, 2), (6, 6), (2, 6))]
    return BoxPromptRAS(tuple(tuple(corner[:3]) for corner in corners), positive)
