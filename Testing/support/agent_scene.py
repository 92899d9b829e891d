"""The agent in a scene, for tests: a body as a volume node, scripted answers, and edits as a person makes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.progress import NO_CALLBACKS, RunCallbacks

from .nodes import add_volume, segments
from .scene import boot
from .scripted_segmenter import GRID, Mask, ScriptedSegmenter, abdomen
from .slicer_modules import load_module

ABDOMEN, MASKS = abdomen()

#: What a model that is right says of each phrase.
ANSWERS: dict[str, Mask] = {
    **dict.fromkeys(("liver", "hepatic tissue", "liver tissue"), MASKS["liver"]),
    **dict.fromkeys(("spleen", "splenic tissue", "spleen tissue"), MASKS["spleen"]),
    "right kidney": MASKS["right kidney"],
    **dict.fromkeys(("kidney", "renal tissue", "kidney tissue"), MASKS["kidney"]),
    **dict.fromkeys(("mass", "kidney tumor", "renal mass", "kidney mass"), MASKS["kidney tumor"]),
}

LATTICE = GRID.ijk_to_ras


def add_abdomen(parent: Any = None, name: str = "ct") -> Any:
    """The body as a CT volume node."""
    node = add_volume(ABDOMEN.array, ijk_to_ras=LATTICE, parent=parent, name=name)
    node.SetAttribute("DICOM.Modality", "CT")
    return node


def renew_hierarchy(scene: Any) -> None:
    """Empty the subject hierarchy and put it into a scene that was cleared, as Slicer's window does."""
    hierarchy = boot().vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    hierarchy.RemoveAllItems(False)
    if not scene.IsNodePresent(hierarchy):
        scene.AddNode(hierarchy)


def make_logic(answers: Mapping[str, Mask] | None = None, fails: Callable[[int], None] | None = None) -> Any:
    """The logic with a scripted segmenter."""
    segmenter = ScriptedSegmenter(ANSWERS if answers is None else answers, fails)
    return load_module("MedSAM3Agent").MedSAM3AgentLogic(segmenter)


def mask_of(node: Any, name: str) -> Mask:
    """What the segment of a name holds, on the voxels of the body ``[k, j, i]``, read from its own labelmap."""
    segment = node.GetSegmentation().GetSegment(segments(node)[name])
    mask = np.zeros(GRID.shape, bool)
    image = segment.GetRepresentation("Binary labelmap")
    if image is None or image.IsEmpty():
        return mask
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    found = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    assert np.allclose(found, LATTICE, atol=1e-6), "stands on the voxels of the volume"
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    i, j, k = image.GetExtent()[::2]
    block = voxels == segment.GetLabelValue()
    mask[k : k + block.shape[0], j : j + block.shape[1], i : i + block.shape[2]] = block
    return mask


def draw(node: Any, name: str, mask: Mask) -> None:
    """Make a segment hold ``mask`` as Slicer's Segment Editor would; one of a new name is added."""
    slicer = boot()
    segment_id = segments(node).get(name) or node.GetSegmentation().AddEmptySegment("", name)
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*mask.shape[::-1])
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([float(element) for element in LATTICE.ravel()])
    image.SetImageToWorldMatrix(matrix)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = mask.ravel()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(image, node, segment_id, logic.MODE_REPLACE)


def edit_slice(node: Any, name: str, index: int) -> Mask:
    """Move what a segment holds on one slice, by hand; gives what it holds then."""
    mask = mask_of(node, name)
    mask[index] = np.roll(mask[index], 3, axis=1)
    draw(node, name, mask)
    return mask


def round_content(node: Any) -> list[tuple[Any, ...]]:
    """All that a round must keep: name, color, visibility and voxels of each segment."""
    display = node.GetDisplayNode()
    found = []
    for name, segment_id in segments(node).items():
        segment = node.GetSegmentation().GetSegment(segment_id)
        shown = bool(display.GetSegmentVisibility(segment_id))
        color = tuple(round(part, 5) for part in segment.GetColor())  # as files have it
        found.append((segment_id, name, color, shown, mask_of(node, name).tobytes()))
    return found


def save_and_load(scene: Any, folder: Path) -> None:
    """Save all of a scene as Slicer does, close it, and load it again."""
    for kind, ending in (("vtkMRMLScalarVolumeNode", "nrrd"), ("vtkMRMLSegmentationNode", "seg.nrrd")):
        for number in range(scene.GetNumberOfNodesByClass(kind)):
            node = scene.GetNthNodeByClass(number, kind)
            node.AddDefaultStorageNode()
            node.GetStorageNode().SetFileName(str(folder / f"{kind}{number}.{ending}"))
            assert node.GetStorageNode().WriteData(node)
    scene.SetURL(str(folder / "scene.mrml"))
    assert scene.Commit()
    scene.Clear(False)
    renew_hierarchy(scene)
    scene.SetURL(str(folder / "scene.mrml"))
    assert scene.Import()


class HeldScripted(ScriptedSegmenter):
    """Answers as the scripted one, and waits before one request until it may go on or is cancelled.

    Args:
        hold: number of that request, from 1.

    Attributes:
        asked: set when it waits.
        may: lets it go on.
    """

    def __init__(self, answers: Mapping[str, Mask], hold: int) -> None:
        super().__init__(answers)
        self._hold = hold
        self.asked, self.may = threading.Event(), threading.Event()

    def segment(self, volume: Any, request: Any, callbacks: RunCallbacks = NO_CALLBACKS) -> Any:
        if len(self.requests) + 1 == self._hold:
            self.asked.set()
            until = time.monotonic() + 60
            while not self.may.wait(0.005):
                if callbacks.cancel is not None and callbacks.cancel():
                    raise Cancelled
                assert time.monotonic() < until, "nobody let it go on"
        return super().segment(volume, request, callbacks)
