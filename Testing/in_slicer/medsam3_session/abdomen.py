"""Synthetic abdomens in the scene, whose organs are known, and a segmenter that knows them too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

#: The organs that are asked for.
ORGANS = ("liver", "left kidney", "spleen", "aorta")

#: (k, j, i) of a large CT.
LARGE = (300, 512, 512)

_SEED = 24


@dataclass(frozen=True, eq=False)
class Abdomen:
    """A volume and where its organs are.

    Attributes:
        node: the volume node.
        labels: uint8 ``[k, j, i]``: ``n`` in organ ``n`` of ``ORGANS``, from 1.
        ijk_to_ras: 4x4.
    """

    node: Any
    labels: NDArray[np.uint8]
    ijk_to_ras: NDArray[np.float64]

    def mask(self, organ: str) -> NDArray[np.bool_]:
        """Bool ``[k, j, i]``."""
        return self.labels == 1 + ORGANS.index(organ)

    def middle(self, *organs: str) -> NDArray[np.float64]:
        """A place in the world: the middle of the first organ in the slice that shows most of all of them."""
        masks = [self.mask(organ) for organ in organs]
        most = int(np.argmax(np.min([mask.sum((1, 2)) for mask in masks], axis=0)))
        j, i = np.argwhere(masks[0][most]).mean(0)
        return (self.ijk_to_ras @ np.array([i, j, most, 1.0]))[:3]


@cache
def _phantom() -> Any:
    from MedSAM3SegmentLib.synthetic.phantom import Contrast, make_phantom

    return make_phantom(_SEED, contrast=Contrast.CT, absence=0.0)


@cache
def _labels() -> NDArray[np.uint8]:
    masks: Mapping[str, NDArray[np.bool_]] = _phantom().masks
    labels = np.zeros(_phantom().volume.grid.shape, np.uint8)
    for number, organ in enumerate(ORGANS, start=1):
        labels[masks[organ]] = number
    return labels


def add_abdomen() -> Abdomen:
    """The sample *MedSAM3SyntheticCT*, shown in the slice views."""
    from MedSAM3SceneLib.mrml.sample_data import add_synthetic_abdomen

    node = add_synthetic_abdomen("MedSAM3SyntheticCT")
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return sample_as_shown(node)


def sample_as_shown(node: Any) -> Abdomen:
    """The sample, which is in the scene already; the views stay as they are."""
    return Abdomen(node, _labels(), _phantom().volume.grid.ijk_to_ras)


def add_large_abdomen() -> Abdomen:
    """The same abdomen on as many voxels as a large CT has, shown in the slice views."""
    from MedSAM3SceneLib.mrml.transforms import matrix_of

    small = _phantom().volume
    picks = [np.arange(many) * few // many for many, few in zip(LARGE, small.grid.shape, strict=True)]
    # Voxels of either grid fill the same box.
    scale = np.array(small.grid.shape[::-1]) / LARGE[::-1]
    finer = np.diag([*scale, 1.0])
    finer[:3, 3] = scale / 2 - 0.5
    ijk_to_ras = small.grid.ijk_to_ras @ finer
    node = slicer.util.addVolumeFromArray(small.array[np.ix_(*picks)], name="large CT")
    node.SetIJKToRASMatrix(matrix_of(ijk_to_ras))
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevelMinMax(-160, 240)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return Abdomen(node, _labels()[np.ix_(*picks)], ijk_to_ras)


def knowing_segmenter(abdomen: Abdomen, seconds_a_slice: float = 0.02) -> Any:
    """A segmenter without a model that finds the organs of ``abdomen`` where they are.

    Args:
        seconds_a_slice: how long it pretends to work on each.
    """
    from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter

    class KnowingSegmenter(FakeSegmenter):
        def segment(self, volume: Any, request: Any, *told: Any, **named: Any) -> Any:
            known = replace(volume, array=_labels_on(abdomen, volume.grid))
            result = super().segment(known, request, *told, **named)
            concepts = result.concepts
            if request.prompts:
                # What was only drawn is asked for by no words, and the model calls all of it the same.
                concepts = tuple(replace(concept, prompt="visual") for concept in concepts)
            provenance = replace(result.provenance, input_sha256=volume.content_hash)
            return replace(result, concepts=concepts, provenance=provenance)

    return KnowingSegmenter({organ: number for number, organ in enumerate(ORGANS, start=1)}, seconds_a_slice)


def _labels_on(abdomen: Abdomen, grid: Any) -> NDArray[np.uint8]:
    """The organs on the voxels of another grid in the same place, such as a slice of a view."""
    if grid.shape == abdomen.labels.shape and np.allclose(grid.ijk_to_ras, abdomen.ijk_to_ras):
        return abdomen.labels
    to_known = np.linalg.inv(abdomen.ijk_to_ras) @ grid.ijk_to_ras
    labels = np.zeros(grid.shape, np.uint8)
    j, i = np.indices(grid.shape[1:])
    for k in range(grid.shape[0]):
        places = to_known @ np.array([i.ravel(), j.ravel(), np.full(i.size, k), np.ones(i.size)])
        index = np.rint(places[2::-1]).astype(int)
        ends = np.array(abdomen.labels.shape)[:, None]
        is_inside = np.all((index >= 0) & (index < ends), axis=0)
        labels[k].ravel()[is_inside] = abdomen.labels[tuple(index[:, is_inside])]
    return labels


def overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice's coefficient."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


def held(segmentation: Any, segment_id: str, volume: Any) -> NDArray[np.bool_]:
    """What a segment holds on the voxels of a volume; nothing where it is empty."""
    array = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, volume)
    if array is None:
        return np.zeros(slicer.util.arrayFromVolume(volume).shape[:3], bool)
    return np.asarray(array) > 0


def add_segmentation(abdomen: Abdomen, name: str) -> Any:
    """An empty segmentation node of its own over the volume."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(abdomen.node)
    return node


def add_segment(abdomen: Abdomen, segmentation: Any, name: str, mask: NDArray[np.bool_]) -> str:
    """The ID of a new segment that holds ``mask`` ``[k, j, i]`` of the volume."""
    segment_id = str(segmentation.GetSegmentation().AddEmptySegment("", name))
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), segmentation, segment_id, abdomen.node)
    return segment_id


def contents(segmentation: Any, abdomen: Abdomen) -> dict[str, NDArray[np.bool_]]:
    """What each segment holds, by its name."""
    return {name: held(segmentation, one, abdomen.node) for name, one in segment_ids(segmentation).items()}


def are_equal(one: Mapping[str, NDArray[np.bool_]], other: Mapping[str, NDArray[np.bool_]]) -> bool:
    """Whether two ``contents`` are the same."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def segment_ids(segmentation: Any) -> dict[str, str]:
    """The IDs of the segments by their names."""
    of = segmentation.GetSegmentation()
    return {of.GetSegment(one).GetName(): str(one) for one in of.GetSegmentIDs()}


def segmentations(scene: Any) -> Sequence[Any]:
    """The segmentation nodes that a user sees in selectors."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    nodes = [scene.GetNthNodeByClass(number, "vtkMRMLSegmentationNode") for number in range(count)]
    return [node for node in nodes if not node.GetHideFromEditors()]
