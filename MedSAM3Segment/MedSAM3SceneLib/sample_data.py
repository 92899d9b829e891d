"""Synthetic abdomens for Slicer's Sample Data module: made on the spot, nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer

# Slicer imports this file when it starts, so numpy and what needs it come later.
if TYPE_CHECKING:
    from MedSAM3SegmentLib.volume import Volume

_CATEGORY = "MedSAM3"

#: What is offered: name, contrast, and the seed of an anatomy with all organs and a tumour.
_SAMPLES = (("MedSAM3SyntheticCT", "CT", 24), ("MedSAM3SyntheticMR", "MR", 24))


def register_sample_data(thumbnail: str) -> None:
    """Offer the synthetic abdomens in the Sample Data module; does nothing when that was done already.

    Args:
        thumbnail: a picture file.
    """
    import SampleData

    known = slicer.modules.sampleDataSources.get(_CATEGORY, []) if hasattr(slicer.modules, "sampleDataSources") else []
    if any(source.sampleName == _SAMPLES[0][0] for source in known):
        return
    for name, contrast, seed in _SAMPLES:
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=_CATEGORY,
            sampleName=name,
            # Slicer counts these, also where nothing is downloaded.
            uris=[],
            fileNames=[],
            thumbnailFileName=thumbnail,
            customDownloader=lambda _source, name=name, contrast=contrast, seed=seed: [
                _show(add_synthetic_abdomen(name, contrast, seed))
            ],
        )


def _show(node: Any) -> Any:
    """Show a volume in the slice views, as Slicer shows what its own samples load."""
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node


def add_synthetic_abdomen(name: str = "Synthetic CT", contrast: str = "CT", seed: int = 24) -> Any:
    """Make a synthetic abdomen and put it into the scene as a volume node.

    Args:
        contrast: ``CT`` or ``MR``.
        seed: decides the anatomy; the same seed is the same patient in both.
    """
    from MedSAM3SegmentLib.intensity import CT_WINDOWS
    from MedSAM3SegmentLib.training.phantom import Contrast, make_phantom

    node = add_volume(make_phantom(seed, contrast=Contrast(contrast), absence=0.0).volume, name)
    if contrast == "CT":
        low, high = CT_WINDOWS["soft-tissue"]
        node.GetDisplayNode().AutoWindowLevelOff()
        node.GetDisplayNode().SetWindowLevelMinMax(low, high)
    return node


def add_volume(volume: Volume, name: str) -> Any:
    """A volume node of ``volume`` in the scene, with its modality."""
    from .frames import matrix_of

    node = slicer.util.addVolumeFromArray(volume.array, name=name)
    node.SetIJKToRASMatrix(matrix_of(volume.grid.ijk_to_ras))
    if volume.modality:
        node.SetAttribute(
            slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName(), volume.modality
        )
    return node
