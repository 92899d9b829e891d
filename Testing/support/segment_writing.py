"""Results of a fake model written into segments, as the logic does, with masks and editor settings; for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SceneLib.coroutines import run_steps_to_end
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.editing.write_result import WrittenResult, masks_of, write_in_steps
from MedSAM3SceneLib.mrml.volumes import SceneVolume, read_volume_node
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.request import Grouping, SegmentRequest
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .nodes import add_segmentation, add_volume, rigid, vtk_matrix

Mask = NDArray[np.bool_]
Corner = tuple[int, int, int]

#: The voxel value of each concept.
VALUES = {"liver": 1, "spleen": 2}


def write(
    volume: Any,
    segmentation: Any = None,
    concepts: Sequence[str] = ("liver", "spleen"),
    writer: SegmentWriter | None = None,
    **options: Any,
) -> WrittenResult:
    """Segment by voxel value and write: what the logic does, without the logic."""
    placed = read_volume_node(volume)
    result = FakeSegmenter(VALUES).segment(placed.volume, SegmentRequest(tuple(concepts)))
    return write_result(result, placed, volume, segmentation, writer, **options)


def write_result(
    result: SegmentResult,
    placed: SceneVolume,
    volume: Any,
    segmentation: Any = None,
    writer: SegmentWriter | None = None,
    save_state: Any = None,
    grouping: Grouping = Grouping.CONCEPT,
) -> WrittenResult:
    """All steps of writing at once."""
    masks, writer = masks_of(result, grouping), writer or SegmentWriter()
    return run_steps_to_end(
        write_in_steps(result, masks, placed, volume, segmentation, Vocabulary.load(), writer, save_state)
    )


def boxes(*corners: tuple[Corner, Corner], shape: Corner = (8, 9, 10)) -> list[Mask]:
    """Masks of boxes ``((k0, j0, i0), (k1, j1, i1))``, ends not included."""
    masks = []
    for first, end in corners:
        mask = np.zeros(shape, bool)
        mask[tuple(slice(a, b) for a, b in zip(first, end, strict=True))] = True
        masks.append(mask)
    return masks


def labels(**masks: Mask) -> NDArray[np.int16]:
    """An image whose voxel values are those of ``VALUES``."""
    array = np.zeros(next(iter(masks.values())).shape, np.int16)
    for name, mask in masks.items():
        array[mask] = VALUES[name]
    return array


def reference_lattice(segmentation: Any) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """The matrix and extent that Slicer edits ``segmentation`` on."""
    import slicer
    import vtk

    converter, matrix, extent = slicer.vtkSegmentationConverter, vtk.vtkMatrix4x4(), [0] * 6
    name = converter.GetReferenceImageGeometryParameterName()
    geometry = segmentation.GetSegmentation().GetConversionParameter(name)
    assert converter.DeserializeImageGeometry(geometry, matrix, extent)
    return np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)]), tuple(extent)


def edit_settings(segmentation: Any, volume: Any) -> Any:
    """The Segment Editor's own node, open on ``segmentation``."""
    import slicer

    editor = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetAndObserveSegmentationNode(segmentation)
    editor.SetAndObserveSourceVolumeNode(volume)
    return editor


def overlapping(tilted: bool) -> tuple[Any, Any, Mask]:
    """A volume whose liver overlaps two drawn segments, one of them hidden, on its own lattice or on another one."""
    liver, shown, hidden = boxes(((2, 2, 2), (6, 6, 6)), ((0, 0, 0), (4, 4, 4)), ((5, 5, 0), (8, 9, 10)))
    volume = add_volume(labels(liver=liver))
    segmentation = add_segmentation(volume, {"shown": shown, "hidden": hidden})
    segmentation.GetDisplayNode().SetSegmentVisibility("hidden", False)
    if tilted:
        volume.SetIJKToRASMatrix(vtk_matrix(rigid((0, 0, 30), (3.3, -1.1, 0.2))))
    return volume, segmentation, liver
