"""Volume nodes become volumes of the engine: same voxels, same places, same kind, or a sentence that says why not."""

import numpy as np
import pytest
from hypothesis import given, settings

from MedSAM3SceneLib.mrml.volumes import modality_of, read_volume_node
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from support.nodes import (
    add_transform,
    add_volume,
    add_warp,
    label_arrays,
    lattices,
    mask_in_world,
    rigid,
    rigids,
    unmatched,
)
from support.scene import load_volume, save_node

pytestmark = pytest.mark.usefixtures("scene")

per_scene = settings(max_examples=25, deadline=None)


@per_scene
@given(array=label_arrays(), lattice=lattices(), parent=rigids)
def test_every_voxel_lies_where_the_slice_views_show_it(array, lattice, parent):
    node = add_volume(array, lattice, add_transform(parent))

    placed = read_volume_node(node)

    np.testing.assert_array_equal(placed.volume.array, array)
    ours = placed.volume.grid.to_ras(np.argwhere(array == 1)[:, ::-1].astype(float))
    assert unmatched(ours, mask_in_world(node, array == 1)) == 0


@per_scene
@given(array=label_arrays(), lattice=lattices(), parent=rigids)
def test_the_way_back_to_the_node_is_exact(array, lattice, parent):
    node = add_volume(array, lattice, add_transform(parent))

    placed = read_volume_node(node)

    np.testing.assert_allclose(placed.to_node @ placed.volume.grid.ijk_to_ras, lattice, atol=1e-9)


def test_a_node_turned_by_a_transform_is_cut_as_it_is_shown():
    array = np.zeros((4, 5, 6), np.int16)
    upright = read_volume_node(add_volume(array))
    turned = read_volume_node(add_volume(array, parent=add_transform(rigid((90, 0, 0), (0, 0, 0)))))

    assert SliceStack.along(upright.volume.grid, Plane.AXIAL).axis == 2
    assert SliceStack.along(turned.volume.grid, Plane.AXIAL).axis == 1


def test_scaling_by_a_transform_does_not_bend_the_voxels():
    shear = np.array([[1.2, 0.3, 0, 5], [0, 0.9, 0.2, 6], [0, 0, 1.1, 7], [0, 0, 0, 1.0]])

    placed = read_volume_node(add_volume(np.zeros((3, 4, 5), np.int16), parent=add_transform(shear)))

    assert not placed.volume.grid.is_sheared
    np.testing.assert_allclose(placed.volume.grid.spacing, (1, 1, 1))


def test_the_voxels_are_a_copy():
    node = add_volume(np.zeros((2, 3, 4), np.int16))
    placed = read_volume_node(node)

    node.GetImageData().GetPointData().GetScalars().Fill(7)

    assert placed.volume.array.max() == 0


def test_a_sheared_lattice_is_made_perpendicular_and_says_so():
    sheared = np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])

    placed = read_volume_node(add_volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5), sheared))

    assert not placed.volume.grid.is_sheared
    assert "sheared" in placed.volume.messages[0]


@pytest.mark.parametrize("components", [3, 4])
def test_color_is_rgb(components):
    array = np.random.default_rng(0).integers(0, 256, (1, 4, 5, components), np.uint8)

    volume = read_volume_node(add_volume(array)).volume

    assert volume.is_color
    np.testing.assert_array_equal(volume.array, array[..., :3])


def test_modality_comes_from_dicom_import(scene):
    import slicer

    node = add_volume(np.zeros((2, 2, 2), np.int16))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert modality_of(node) == ""

    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "mr ")

    assert read_volume_node(node).volume.modality == "MR"


def test_hounsfield_units_mean_ct():
    import slicer

    node = add_volume(np.zeros((2, 2, 2), np.int16))
    units = slicer.vtkCodedEntry()
    units.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    node.SetVoxelValueUnits(units)

    assert modality_of(node) == "CT"


def test_a_file_read_by_slicer_and_by_the_engine_is_the_same_volume(tmp_path):
    from MedSAM3SegmentLib.io.read_volume import read_volume

    lattice = rigid((10, 20, 30), (4, 5, 6)) @ np.diag([-0.7, 0.7, 3.0, 1.0])
    array = np.random.default_rng(0).integers(-1000, 1000, (3, 4, 5)).astype(np.int16)
    save_node(add_volume(array, lattice), tmp_path / "ct.nrrd")

    from_file = read_volume(tmp_path / "ct.nrrd")
    from_scene = read_volume_node(load_volume(tmp_path / "ct.nrrd")).volume

    def voxels_by_place(volume):
        places = volume.grid.to_ras(np.argwhere(np.ones(volume.array.shape))[:, ::-1].astype(float))
        order = np.lexsort(np.rint(places * 100).T)
        return places[order], volume.array.ravel()[order]

    # Slicer stores a left-handed lattice with its slices in the opposite order.
    for ours, theirs in zip(voxels_by_place(from_file), voxels_by_place(from_scene), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_what_is_no_image_is_refused_in_words(scene):
    def refused(node):
        with pytest.raises(InputError) as error:
            read_volume_node(node)
        return str(error.value)

    import slicer

    assert "No volume" in refused(None)
    assert "not a volume" in refused(scene.AddNewNodeByClass("vtkMRMLModelNode", "skin"))
    assert "holds no image" in refused(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(labels, np.zeros((2, 2, 2), np.uint8))
    assert "label map" in refused(labels)
    assert "2 values" in refused(add_volume(np.zeros((2, 2, 2, 2), np.uint8)))
    assert "float64" in refused(add_volume(np.zeros((2, 2, 2, 3))))
    warped = add_volume(np.zeros((2, 2, 2), np.int16))
    warped.SetAndObserveTransformNodeID(add_warp().GetID())
    assert "non-linear transform 'warp'" in refused(warped)
    flat = add_volume(np.zeros((2, 2, 2), np.int16), np.diag([1.0, 1.0, 0.0, 1.0]))
    assert "spacing" in refused(flat)
