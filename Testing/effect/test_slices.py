"""What a slice view shows of a volume, and the way back from a slice to voxels."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from MedSAM3SceneLib.mrml.oblique_voxels import find_oblique_voxels
from MedSAM3SceneLib.mrml.segment_masks import grid_to_segmentation, segment_mask
from MedSAM3SceneLib.mrml.slice_planes import (
    StackSlice,
    oblique_slice,
    stack_slice,
    touched_thickness,
    view_plane,
)
from MedSAM3SceneLib.mrml.volumes import read_volume_node
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from support.nodes import (
    add_segmentation,
    add_transform,
    add_volume,
    along,
    lattices,
    rigid,
    rigids,
    slice_view,
    to_world,
)

pytestmark = pytest.mark.usefixtures("scene", "no_view_is_left")

per_scene = settings(max_examples=25, deadline=None)


@per_scene
@given(lattice=lattices(), parent=st.none() | rigids, axis=st.integers(0, 2), data=st.data())
def test_a_view_along_the_voxels_shows_the_slice_it_is_on(lattice, parent, axis, data):
    shape = (4, 5, 6)
    volume = add_volume(np.zeros(shape, np.int16), lattice, None if parent is None else add_transform(parent))
    index = data.draw(st.integers(0, shape[2 - axis] - 1))
    off_centre = data.draw(st.floats(-0.4, 0.4))
    node = slice_view(along(to_world(volume) @ lattice, axis, index + off_centre))

    placed = read_volume_node(volume)
    shown = stack_slice(view_plane(node, volume, placed), placed.volume.grid)

    assert shown.index == index
    assert SliceStack.along(placed.volume.grid, shown.plane).axis == axis


def test_the_three_standard_views_of_slicer_show_their_planes():
    volume = add_volume(np.zeros((5, 6, 7), np.int16), np.diag([1.0, 1.0, 1.0, 1.0]))
    placed = read_volume_node(volume)

    shown = []
    for orientation in ("Axial", "Coronal", "Sagittal"):
        node = slice_view(orientation=orientation)
        node.JumpSliceByOffsetting(3.0, 3.0, 3.0)
        shown.append(stack_slice(view_plane(node, volume, placed), placed.volume.grid))

    assert shown == [StackSlice(Plane.AXIAL, 3), StackSlice(Plane.CORONAL, 3), StackSlice(Plane.SAGITTAL, 3)]


def test_a_view_beside_the_volume_is_refused_in_words():
    volume = add_volume(np.zeros((5, 6, 7), np.int16))
    placed = read_volume_node(volume)
    node = slice_view()
    node.SetSliceOffset(40.0)

    with pytest.raises(InputError, match="beside the volume"):
        stack_slice(view_plane(node, volume, placed), placed.volume.grid)
    turned = view_plane(slice_view(rigid((30, 0, 0), (0, 0, 40))), volume, placed)
    assert stack_slice(turned, placed.volume.grid) is None
    with pytest.raises(InputError, match="beside the volume"):
        oblique_slice(turned, placed.volume)


@per_scene
@given(lattice=lattices(), parent=st.none() | rigids, turn=st.tuples(*[st.floats(-180, 180)] * 3))
def test_an_oblique_slice_shows_what_the_volume_holds_there(lattice, parent, turn):
    """A volume whose value is a linear function of place has that very value at every pixel of any cut through it."""
    shape = (6, 7, 8)
    k, j, i = np.indices(shape).astype(np.float64)
    array = (3 * i - 2 * j + 5 * k + 100).astype(np.float32)
    volume = add_volume(array, lattice, None if parent is None else add_transform(parent))
    middle = (to_world(volume) @ lattice @ np.array([3.5, 3.0, 2.5, 1]))[:3]
    node = slice_view(rigid(turn, tuple(middle)))

    placed = read_volume_node(volume)
    view = view_plane(node, volume, placed)
    cut = oblique_slice(view, placed.volume)

    assert cut.grid.shape[0] == 1
    _, rows, columns = cut.grid.shape
    c, r = np.meshgrid(np.arange(columns), np.arange(rows))
    places = cut.grid.to_ras(np.stack([c, r, np.zeros_like(c)], axis=-1).astype(np.float64))
    assert np.abs((places - view.origin) @ view.normal).max() < 1e-6
    ijk = (places - placed.volume.grid.ijk_to_ras[:3, 3]) @ np.linalg.inv(placed.volume.grid.ijk_to_ras[:3, :3]).T
    inside = ((ijk >= 0) & (ijk <= np.array(shape[::-1]) - 1)).all(axis=-1)
    assert inside.any()
    expected = ijk @ [3, -2, 5] + 100
    assert cut.array[0][inside] == pytest.approx(expected[inside], abs=1e-2)


@per_scene
@given(lattice=lattices(), turn=st.tuples(*[st.floats(-180, 180)] * 3), seed=st.integers(0, 1000))
def test_a_cut_takes_the_voxels_it_touches_and_no_others(lattice, turn, seed):
    """Against the plain way: every voxel of the volume asked for its distance to the plane and its pixel."""
    shape = (6, 7, 8)
    volume = add_volume(np.zeros(shape, np.int16), lattice)
    node = slice_view(rigid(turn, tuple((lattice @ np.array([3.4, 3.1, 2.6, 1]))[:3])))
    placed = read_volume_node(volume)
    grid = placed.volume.grid
    view = view_plane(node, volume, placed)
    cut = oblique_slice(view, placed.volume)
    mask = np.random.default_rng(seed).random(cut.grid.shape[1:]) < 0.5
    k, j, i = np.indices(shape)
    places = grid.to_ras(np.stack([i, j, k], axis=-1).astype(np.float64))
    heights = (places - view.origin) @ view.normal
    half = touched_thickness(grid.ijk_to_ras, view.normal) / 2
    assume((np.abs(np.abs(heights) - half) > 1e-6).all())

    voxels = find_oblique_voxels(mask, cut.grid.ijk_to_ras, grid)

    taken = np.zeros(shape, int)
    np.add.at(taken, tuple(voxels.indices.T), 1)
    pixels = (places - cut.grid.ijk_to_ras[:3, 3]) @ np.linalg.inv(cut.grid.ijk_to_ras[:3, :3]).T
    columns, rows = np.floor(pixels[..., 0] + 0.5).astype(int), np.floor(pixels[..., 1] + 0.5).astype(int)
    # The slice covers the whole cut, so there is no voxel beside it.
    assert (taken == (np.abs(heights) < half)).all()
    held = mask[rows.clip(0, mask.shape[0] - 1), columns.clip(0, mask.shape[1] - 1)]
    assert (held[tuple(voxels.indices.T)] == voxels.inside).all()


@per_scene
@given(lattice=lattices(), volume_parent=rigids, segmentation_parent=rigids, seed=st.integers(0, 1000))
def test_a_segment_is_read_onto_the_volume_to_the_voxel(lattice, volume_parent, segmentation_parent, seed):
    """Drawn under the volume's transform, then hardened under another so that nothing moves in the world."""
    mask = np.random.default_rng(seed).random((4, 5, 6)) < 0.3
    mask[1, 2, 3] = True
    volume = add_volume(np.zeros(mask.shape, np.int16), lattice, add_transform(volume_parent))
    segmentation = add_segmentation(volume, {"drawn": mask})
    # Elsewhere in the scene, with the voxels where they were in the world.
    parent = add_transform(segmentation_parent)
    segmentation.SetAndObserveTransformNodeID(add_transform(np.linalg.inv(segmentation_parent) @ volume_parent).GetID())
    segmentation.HardenTransform()
    segmentation.SetAndObserveTransformNodeID(parent.GetID())
    placed = read_volume_node(volume)

    read = segment_mask(
        segmentation.GetSegmentation().GetSegment("drawn"),
        placed.volume.grid,
        grid_to_segmentation(segmentation, volume, placed),
    )

    assert (read == mask).all()
