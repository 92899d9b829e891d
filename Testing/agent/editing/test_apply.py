"""Commands done to masks: sides in the patient whatever way voxels are stored, other segments, and refusals."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from MedSAM3AgentLib.editing.apply import apply_commands
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.volume import Volume


def stored(order: tuple[int, ...], signs: tuple[int, ...]) -> VoxelGrid:
    """A grid whose index axes i, j, k run along the RAS axes in ``order``, each forward or backward."""
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    for axis, (ras, sign) in enumerate(zip(order, signs, strict=True)):
        matrix[ras, axis] = sign * (1.0, 1.1, 1.3)[ras]
    counts = [(20, 18, 16)[ras] for ras in order]
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(counts) - 1) / 2)
    return VoxelGrid((counts[2], counts[1], counts[0]), matrix)


ALL_48 = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def ball(grid: VoxelGrid, center: tuple[float, float, float], radius: float) -> np.ndarray:
    k, j, i = np.indices(grid.shape)
    places = grid.to_ras(np.stack([i, j, k], axis=-1).astype(float))
    return np.asarray(np.square(places - np.array(center)).sum(-1) < radius**2)


@pytest.mark.parametrize(("order", "signs"), ALL_48)
def test_sides_and_parts_are_the_patients(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    grid = stored(order, signs)
    at = {
        "right": (6, 0, 0),
        "left": (-6, 0, 0),
        "front": (0, 6, 0),
        "back": (0, -6, 0),
        "upper": (0, 0, 6),
        "lower": (0, 0, -6),
    }
    balls = {name: ball(grid, place, 3) for name, place in at.items()}
    for one, other in (("right", "left"), ("front", "back"), ("upper", "lower")):
        both = balls[one] | balls[other]
        for wanted, unwanted in ((one, other), (other, one)):
            assert np.array_equal(apply_commands(both, grid, f"keep the {wanted} one").mask, balls[wanted])
            assert np.array_equal(apply_commands(both, grid, f"remove the {wanted} part").mask, balls[unwanted])


@pytest.mark.parametrize("sign", [1, -1])
def test_above_a_slice_is_superior_whichever_way_slices_are_stored(sign: int) -> None:
    grid = VoxelGrid((10, 6, 6), np.diag([1.0, 1.0, 5.0 * sign, 1.0]))
    mask = np.ones(grid.shape, bool)
    kept = apply_commands(mask, grid, "nothing above slice 4").mask.any(axis=(1, 2))
    assert np.flatnonzero(kept).tolist() == (list(range(5)) if sign > 0 else list(range(4, 10)))
    kept = apply_commands(mask, grid, "only slices 2 to 3").mask.any(axis=(1, 2))
    assert np.flatnonzero(kept).tolist() == [2, 3]


def test_one_piece_across_the_middle_is_cut_and_that_is_said() -> None:
    grid = stored((0, 1, 2), (1, 1, 1))
    whole = ball(grid, (0, 0, 0), 6)
    edited = apply_commands(whole, grid, "keep the left half")
    assert 0.4 < edited.mask.sum() / whole.sum() < 0.6
    assert "cut" in edited.said[0]


def test_other_segments_are_found_by_name_and_a_stranger_is_refused() -> None:
    grid = stored((0, 1, 2), (1, 1, 1))
    mask, liver = ball(grid, (0, 0, 0), 6), ball(grid, (4, 0, 0), 5)
    others = {"Liver": liver}
    assert np.array_equal(apply_commands(mask, grid, "only inside the liver", others=others).mask, mask & liver)
    assert np.array_equal(
        apply_commands(mask, grid, "remove what lies in the liver", others=others).mask, mask & ~liver
    )
    assert np.array_equal(apply_commands(mask, grid, "add liver", others=others).mask, mask | liver)
    with pytest.raises(InputError, match=r"spleen.*Liver"):
        apply_commands(mask, grid, "without spleen", others=others)


def test_intensities_need_the_image() -> None:
    grid = stored((0, 1, 2), (1, 1, 1))
    mask = np.ones(grid.shape, bool)
    array = np.random.default_rng(0).normal(0, 100, grid.shape)
    edited = apply_commands(mask, grid, "only above 50 HU", volume=Volume(array, grid, "CT"))
    assert np.array_equal(edited.mask, array >= 50)
    with pytest.raises(InputError, match="image"):
        apply_commands(mask, grid, "only above 50 HU")


def test_several_commands_are_all_done_or_none() -> None:
    grid = stored((0, 1, 2), (1, 1, 1))
    mask = ball(grid, (0, 0, 0), 6)
    before = mask.copy()
    with pytest.raises(InputError, match="piece 9"):
        apply_commands(mask, grid, "shrink 1 mm; keep piece 9")
    assert np.array_equal(mask, before)
    edited = apply_commands(mask, grid, "shrink 1 mm; how big is it; rename to core")
    assert edited.name == "core"
    assert "mL" in edited.said[1]
    assert edited.mask.sum() < mask.sum()
    assert len(apply_commands(mask, grid, "split").pieces) == 1
