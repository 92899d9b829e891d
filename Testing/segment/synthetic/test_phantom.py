"""Synthetic anatomy: the same patient through any grid, organs where they belong, labels that mean what they say."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.synthetic.phantom import (
    CONCEPTS,
    Contrast,
    make_phantom,
    tilted_grid,
)

COARSE = tilted_grid((25, 64, 64), (5.6, 5.6, 8.0))


def centre_ras(mask: np.ndarray, grid: VoxelGrid) -> np.ndarray:
    return grid.to_ras(np.argwhere(mask)[:, ::-1].astype(float)).mean(0)


@pytest.mark.parametrize("contrast", list(Contrast))
def test_same_seed_same_phantom(contrast: Contrast) -> None:
    first, again = (make_phantom(3, COARSE, contrast) for _ in range(2))
    assert np.array_equal(first.volume.array, again.volume.array)
    assert first.volume.modality == contrast.value
    assert not np.array_equal(first.volume.array, make_phantom(4, COARSE, contrast).volume.array)


def test_organs_lie_on_their_side_of_the_patient() -> None:
    for seed in range(5):
        phantom = make_phantom(seed, COARSE, absence=0.0)
        centre = {name: centre_ras(mask, COARSE) for name, mask in phantom.masks.items() if mask.any()}
        assert centre["liver"][0] > 20, "the liver is on the right, where RAS R is positive"
        assert centre["right kidney"][0] > 30 > -30 > centre["left kidney"][0]
        assert centre["spleen"][0] < -50
        assert centre["spine"][1] < centre["aorta"][1] < centre["stomach"][1], "from posterior to anterior"


def test_labels_agree_with_each_other() -> None:
    for seed in range(12):
        masks = make_phantom(seed, COARSE).masks
        assert tuple(masks) != ()
        assert set(masks) == set(CONCEPTS)
        assert np.array_equal(masks["kidney"], masks["left kidney"] | masks["right kidney"])
        assert not (masks["left kidney"] & masks["right kidney"]).any()
        assert np.array_equal(masks["tumor"], masks["liver tumor"] | masks["kidney tumor"])
        assert not (masks["liver tumor"] & ~masks["liver"]).any()
        assert not (masks["liver"] & masks["spleen"]).any()


def test_organs_come_and_go() -> None:
    absent = [make_phantom(seed, COARSE).absent for seed in range(40)]
    for organ in ("liver", "spleen", "left kidney", "right kidney", "aorta", "stomach"):
        missing = sum(organ in names for names in absent)
        assert 0 < missing < 20, f"{organ} is missing in {missing} of 40"
    assert not any("spine" in names for names in absent)
    assert 0 < sum("tumor" in names for names in absent) < 40


def test_anatomy_does_not_depend_on_the_grid() -> None:
    straight = make_phantom(5, COARSE)
    oblique_grid = tilted_grid((50, 80, 80), (4.6, 4.6, 4.0), (12, -8, 10))
    oblique = make_phantom(5, oblique_grid)
    for concept in straight.present:
        # The spine and the aorta run out of the field of view; small lesions have few voxels to average over.
        if concept in ("spine", "aorta") or straight.masks[concept].sum() < 200:
            continue
        distance = centre_ras(straight.masks[concept], COARSE) - centre_ras(oblique.masks[concept], oblique_grid)
        assert np.linalg.norm(distance) < 6, concept


def test_ct_is_in_hounsfield_units() -> None:
    phantom = make_phantom(2, COARSE, Contrast.CT, absence=0.0)
    array = phantom.volume.array
    assert np.median(array[:, :3, :3]) == pytest.approx(-1000, abs=60)
    assert 50 < np.median(array[phantom.masks["liver"] & ~phantom.masks["tumor"]]) < 160
    assert np.median(array[phantom.masks["spine"]]) > 120
