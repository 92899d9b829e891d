"""Slicer and the engine agree on real files: the same volume in, and a saved segmentation on the same voxels out."""

import numpy as np
import pytest

from MedSAM3SceneLib.mrml.volumes import read_volume_node
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.io.segmentation import read_segmentation
from support.external_data import DATA, needs_shared
from support.nodes import unmatched
from support.scene import load_volume, save_node
from support.slicer_modules import load_module

FILES = (
    ("ct_abdomen/ct.nii.gz", "ct_abdomen/labels.nii.gz"),
    ("ct_vertebra/ct.nii.gz", "ct_vertebra/labels.nii.gz"),
    ("mr_abdomen/mr.nii.gz", "mr_abdomen/labels.nii.gz"),
    ("mr_breast/mr.nrrd", "mr_breast/labels.nrrd"),
    ("mr_spinal_cord/t2s.nii.gz", "mr_spinal_cord/labels.nii.gz"),
)

pytestmark = [needs_shared, pytest.mark.usefixtures("scene")]


def places(array, grid):
    """RAS of the voxels that are set, ``[n, 3]``."""
    return grid.to_ras(np.argwhere(array)[:, ::-1].astype(float))


@pytest.mark.parametrize("image", [image for image, _ in FILES])
def test_slicer_and_the_engine_read_the_same_volume(image):
    ours = read_volume(DATA / image)
    theirs = read_volume_node(load_volume(DATA / image)).volume

    # Slicer may store the same voxels in another order.
    bright = np.percentile(ours.array, 99.9)
    assert unmatched(places(ours.array > bright, ours.grid), places(theirs.array > bright, theirs.grid)) == 0
    np.testing.assert_array_equal(np.sort(ours.array, axis=None), np.sort(theirs.array, axis=None))


@pytest.mark.parametrize("labels", [labels for _, labels in FILES])
def test_what_slicer_saves_is_on_the_voxels_of_the_input(labels, tmp_path):
    expected = read_volume(DATA / labels)
    value = int(np.bincount(expected.array.ravel().astype(int))[1:].argmax()) + 1
    logic = load_module("MedSAM3Segment").MedSAM3SegmentLogic(FakeSegmenter({"organ": value}))

    node = logic.segment(load_volume(DATA / labels), ["organ"])
    save_node(node, tmp_path / "result.seg.nrrd")

    (segment,), grid = read_segmentation(tmp_path / "result.seg.nrrd")
    assert segment.name == "organ"
    assert unmatched(places(segment.mask, grid), places(expected.array == value, expected.grid)) == 0
