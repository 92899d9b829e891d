"""*This slice* of the effect in an oblique view leaves the segment on the voxels of the volume."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from .abdomen import Abdomen, add_abdomen
from .session import Session
from .steps import Steps, Until, pause
from .views import pixel_of, press_key, shown_views, turn

#: Of the view to the slices of the volume.
_DEGREES = 25.0

#: (k, j, i) of a voxel that no slice through the liver goes through.
_CORNER = (0, 0, 0)


def check_oblique_slice(session: Session) -> Steps:
    """The same slice into an empty segment and into one that lies on the volume's voxels already."""
    session.close_scene()
    session.open_panel()
    abdomen = add_abdomen()
    session.choose(abdomen, "liver")
    place = abdomen.middle("liver")
    view = shown_views().get("Red") or next(iter(shown_views().values()))
    turn(view, _DEGREES, place)
    yield pause(0.5)
    found: dict[str, Any] = {}
    for what, has_voxel in (("an empty segment", False), ("a segment with a voxel", True)):
        node, segment_id = _segmentation(abdomen, has_voxel)
        editor, effect = session.open_effect(node, abdomen.node, segment_id)
        yield pause(0.5)
        # The key goes to the view that the mouse is over.
        press_key(view, "Return", pixel_of(view, place))
        yield Until(lambda effect=effect: not effect.session.is_running, "an end of This slice")
        lattice, found[what] = _voxels(node, segment_id, abdomen)
        session.checks.check(
            f"This slice in an oblique view leaves {what} on the volume's voxels",
            lattice < 1e-3,
            f"{len(found[what])} voxels, {lattice:.3g} voxels off",
        )
        editor.setActiveEffect(None)
    empty, other = found.values()
    session.checks.check(
        "This slice in an oblique view gives an empty segment the voxels that it gives another",
        len(empty) > 0 and empty == other,
        f"{len(empty)} and {len(other)} voxels, {len(empty & other)} of them the same",
    )


def _segmentation(abdomen: Abdomen, has_voxel: bool) -> tuple[Any, str]:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "oblique")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(abdomen.node)
    segment_id = node.GetSegmentation().AddEmptySegment("liver", "liver")
    if has_voxel:
        mask = np.zeros(abdomen.labels.shape, np.uint8)
        mask[_CORNER] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment_id, abdomen.node)
    return node, str(segment_id)


def _voxels(node: Any, segment_id: str, abdomen: Abdomen) -> tuple[float, set[tuple[int, ...]]]:
    """How far a segment's own voxels are from those of the volume at most, in voxels, and where they are ``(i, j, k)``.

    The voxel in the corner is left out.
    """
    segment = node.GetSegmentation().GetSegment(segment_id)
    image = segment.GetRepresentation("Binary labelmap")
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_world = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    places = _set_voxels(image, segment.GetLabelValue()) @ to_world.T
    ijk = places @ np.linalg.inv(abdomen.ijk_to_ras).T
    index = np.rint(ijk[:, :3])
    off = float(np.abs(ijk[:, :3] - index).max(initial=0.0))
    return off, {tuple(int(n) for n in one) for one in index} - {_CORNER}


def _set_voxels(image: Any, label: int) -> NDArray[np.float64]:
    """``(i, j, k, 1)`` of the voxels of an image that have a label."""
    scalars = image.GetPointData().GetScalars()
    if scalars is None or image.GetNumberOfPoints() == 0:
        return np.zeros((0, 4))
    voxels = vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1])
    ijk = np.argwhere(voxels == label)[:, ::-1] + np.array(image.GetExtent()[::2])
    return np.column_stack([ijk, np.ones(len(ijk))])
