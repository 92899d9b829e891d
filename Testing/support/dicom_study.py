"""A DICOM study in the scene as Slicer's reader leaves it, with a drawn segmentation; for tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest

from MedSAM3SceneLib.coroutines import run_steps_to_end
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.volume import Volume

from .cohort_files import write_study
from .nodes import add_volume


@dataclass(frozen=True, eq=False)
class DicomStudy:
    """Nodes, and what they were made from.

    Attributes:
        masks: of the segments liver, spleen and empty, bool ``[k, j, i]`` on the volume's voxels.
        files: by SOP instance UID.
    """

    volume: Volume
    node: Any
    segmentation: Any
    masks: dict[str, Any]
    files: dict[str, str]


def load_study(slicer: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> DicomStudy:
    """Write a study into a folder, and let Slicer's database know it."""
    files = {}
    write_study(folder, 3)
    for file in sorted(folder.glob("*.dcm")):
        files[str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID)] = str(file)
    volume = read_volume(folder)
    node = add_volume(volume.array, volume.grid.ijk_to_ras)
    node.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    database = SimpleNamespace(fileForInstance=lambda uid: files.get(uid, ""))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "found")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
    masks = {}
    for number, name in enumerate(("liver", "spleen", "empty")):
        segment_id = segmentation.GetSegmentation().AddEmptySegment("", name, (0.1 * number, 0.5, 0.9))
        masks[name] = np.zeros(volume.grid.shape, bool)
        if name != "empty":
            masks[name][2 + number : 6, 4:9, 3 : 8 + number] = True
            writer = SegmentWriter()
            writer.begin(segmentation, node)
            run_steps_to_end(writer.write(segment_id, masks[name], volume.grid.ijk_to_ras))
    return DicomStudy(volume, node, segmentation, masks, files)
