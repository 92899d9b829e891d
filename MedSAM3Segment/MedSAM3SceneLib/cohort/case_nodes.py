"""A case of a cohort in the scene: its image and segmentation as nodes, and what a person made of it as a file.

Reading and writing touch no scene, so that they can be done on another thread; nodes are made of what was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from MedSAM3SceneLib.mrml.labelmaps import (
    binary_labelmap_name,
    content_of,
    content_version,
    labelmap_on_lattice,
)
from MedSAM3SceneLib.mrml.sample_data import add_volume
from MedSAM3SceneLib.mrml.segment_masks import labelmap_mask
from MedSAM3SceneLib.mrml.segmentation_nodes import remove_segmentation, visibilities_kept
from MedSAM3SegmentLib.cohort.case import Case
from MedSAM3SegmentLib.cohort.review import CohortCase, corrected_path, segmentation_of
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.segment import TERMINOLOGY_TAG, Segment
from MedSAM3SegmentLib.volume import Volume


@dataclass(frozen=True, eq=False)
class CaseFiles:
    """What the files of a case hold.

    Attributes:
        path: of the segmentation.
        volume: None where nobody said where the images are, or they are not there.
    """

    case: CohortCase
    path: Path
    segments: Sequence[Segment]
    grid: VoxelGrid
    volume: Volume | None = None


@dataclass(frozen=True, eq=False)
class OpenCase:
    """A case that is in the scene.

    Attributes:
        files: as they were read.
        volume_node: None without an image.
        content: of the segmentation as it was read, to tell whether it was edited.
    """

    files: CaseFiles
    segmentation_node: Any
    volume_node: Any | None
    content: object

    @property
    def is_in_scene(self) -> bool:
        """Whether its segmentation was not removed."""
        return self.segmentation_node.GetScene() is not None

    @property
    def is_edited(self) -> bool:
        """Whether a voxel, a name or a segment is another one than in the file."""
        return self.is_in_scene and _content(self.segmentation_node) != self.content


def find_images(images: Path, ids: Sequence[str], output: Path) -> dict[str, Case]:
    """The images of cases, by their ids, in a folder, archive or list that 'medsam3 cohort' was given.

    Touches no scene.

    Raises:
        InputError: there is no image at all.
    """
    # It needs packages that are there once the panel has installed them.
    from MedSAM3SegmentLib.cohort.find_cases import find_cases

    for by_name in (False, True):
        found = {case.id: case for case in find_cases([images], output=output, by_name=by_name).cases}
        known = {name: found[name] for name in ids if name in found}
        if known:
            return known
    return {}


def read_case(output: Path, case: CohortCase, image: Case | None) -> CaseFiles:
    """Read a case; touches no scene.

    Raises:
        InputError: a file is missing or cannot be read.
        PackageError: a package that reads it is not installed.
    """
    from MedSAM3SegmentLib.io.read_volume import read_volume
    from MedSAM3SegmentLib.io.segmentation import read_segmentation

    path = segmentation_of(output, case)
    segments, grid = read_segmentation(path)
    volume = None if image is None else read_volume(image.path, image.series, image.modality, image.files)
    return CaseFiles(case, path, segments, grid, volume)


def add_case(files: CaseFiles) -> OpenCase:
    """Put a case into the scene, called by its id, which says nothing of a patient."""
    name = files.case.record.case
    volume_node = None if files.volume is None else add_volume(files.volume, name)
    scene = slicer.mrmlScene
    with visibilities_kept(scene):
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} segmentation")
        node.CreateDefaultDisplayNodes()
        if volume_node is not None:
            node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
        for segment in files.segments:
            _add_segment(node.GetSegmentation(), segment, files.grid)
    return OpenCase(files, node, volume_node, _content(node))


def remove_case(opened: OpenCase) -> None:
    """Take a case out of the scene, as far as it is still there."""
    remove_segmentation(opened.segmentation_node)
    if opened.volume_node is not None and opened.volume_node.GetScene() is not None:
        opened.volume_node.GetScene().RemoveNode(opened.volume_node)


def segments_now(opened: OpenCase) -> list[Segment]:
    """What the segmentation of a case holds now, on the voxels of its image, or of its file where there is none."""
    grid = grid_of(opened)
    segmentation = opened.segmentation_node.GetSegmentation()
    kept = {segment.name: segment for segment in opened.files.segments}
    now = []
    for segment_id in segmentation.GetSegmentIDs():
        node_segment = segmentation.GetSegment(segment_id)
        before = kept.get(node_segment.GetName())
        mask = labelmap_mask(content_of(node_segment), grid, grid.ijk_to_ras)
        tags = {} if before is None else before.tags
        red, green, blue = node_segment.GetColor()
        terminology = "" if before is None else before.terminology
        now.append(Segment(node_segment.GetName(), mask, (red, green, blue), terminology, tags))
    return now


def grid_of(opened: OpenCase) -> VoxelGrid:
    """The voxels that a corrected segmentation is written on."""
    return opened.files.grid if opened.files.volume is None else opened.files.volume.grid


def write_corrected(output: Path, opened: OpenCase, segments: Sequence[Segment]) -> str:
    """Write a corrected segmentation beside the original, whole; its path below the output folder.

    Touches no scene. The original stays; an earlier corrected one is replaced.

    Raises:
        InputError: the disk failed.
    """
    from MedSAM3SegmentLib.io.segmentation import write_segmentation

    case = opened.files.case.record.case
    path = corrected_path(output, case)
    write_segmentation(path, segments, grid_of(opened), {"corrected_from": opened.files.path.name, "case": case})
    return path.relative_to(output).as_posix()


def _add_segment(segmentation: Any, segment: Segment, grid: VoxelGrid) -> None:
    segment_id = segmentation.AddEmptySegment("", segment.name, segment.color)
    added = segmentation.GetSegment(segment_id)
    for key, value in segment.tags.items():
        added.SetTag(key, value)
    if segment.terminology:
        added.SetTag(TERMINOLOGY_TAG, segment.terminology)
    if segment.mask.any():
        # Empty segments share one labelmap, each with a value of its own; this one gets a labelmap of 0 and 1.
        added.SetLabelValue(1)
        added.AddRepresentation(
            binary_labelmap_name(), labelmap_on_lattice(segment.mask, grid.ijk_to_ras, grid.ijk_to_ras)
        )


def _content(segmentation_node: Any) -> object:
    segmentation = segmentation_node.GetSegmentation()
    names = [(str(one), segmentation.GetSegment(one).GetName()) for one in segmentation.GetSegmentIDs()]
    return names, content_version(segmentation)
