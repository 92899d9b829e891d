"""Synthetic abdomens for Slicer's Sample Data module: made on the spot, nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer

# Slicer imports this file when it starts, so numpy and what needs it come later.
if TYPE_CHECKING:
    from MedSAM3SegmentLib.volume import Volume


def add_synthetic_abdomen(name: str = "Synthetic CT", contrast: str = "CT", seed: int = 24) -> Any:
    """Make a synthetic abdomen and put it into the scene as a volume node.

    Args:
        contrast: ``CT`` or ``MR``.
        seed: decides the anatomy; the same seed is the same patient in both.
    """
    node = add_volume(synthetic_abdomen(contrast, seed), name)
    describe(node, contrast)
    return node


def synthetic_abdomen(contrast: str, seed: int) -> Volume:
    """The volume; see ``add_synthetic_abdomen``."""
    from MedSAM3SegmentLib.synthetic.phantom import Contrast, make_phantom

    return make_phantom(seed, contrast=Contrast(contrast), absence=0.0).volume


def describe(node: Any, contrast: str) -> None:
    """Give a volume node what a file has no place for: its modality, and for CT the window of soft tissue."""
    from MedSAM3SegmentLib.preprocessing.windowing import CT_WINDOWS

    _set_modality(node, contrast)
    if contrast == "CT":
        low, high = CT_WINDOWS["soft-tissue"]
        node.GetDisplayNode().AutoWindowLevelOff()
        node.GetDisplayNode().SetWindowLevelMinMax(low, high)


def show_along_its_planes(node: Any) -> None:
    """Show a volume in the slice views as a user wants to see it, tilted as the patient lay."""
    slicer.util.setSliceViewerLayers(
        background=node, fit=True, rotateToVolumePlane=slicer.app.layoutManager() is not None
    )


def add_volume(volume: Volume, name: str) -> Any:
    """A volume node of ``volume`` in the scene, with its modality."""
    from .transforms import matrix_of

    kind = "vtkMRMLVectorVolumeNode" if volume.is_color else "vtkMRMLScalarVolumeNode"
    node = slicer.util.addVolumeFromArray(volume.array, name=name, nodeClassName=kind)
    node.SetIJKToRASMatrix(matrix_of(volume.grid.ijk_to_ras))
    _set_modality(node, volume.modality)
    return node


def _set_modality(node: Any, modality: str) -> None:
    if modality:
        node.SetAttribute(slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName(), modality)
