"""Two segmentations beside each other, on Slicer's own layout logic: each in its view, and all as before afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3AgentSceneLib.comparison.compare_rounds import BesideView
from MedSAM3AgentSceneLib.comparison.side_views import LAYOUT
from MedSAM3SceneLib.mrml.segmentation_nodes import segmentation_nodes
from MedSAM3SegmentLib.errors import InputError
from support.nodes import add_segmentation, add_volume, misplaced, remove_slice_views, rigid, snapshot
from support.segment_writing import boxes

SHAPE = (10, 12, 14)
OBLIQUE = rigid((7, -12, 31), (30.5, -12.25, 8.0)) @ np.diag([0.9, 0.8, 2.5, 1.0])
OLD, NEW, OTHER = boxes(((1, 1, 1), (5, 8, 8)), ((2, 1, 1), (7, 8, 8)), ((8, 8, 8), (9, 11, 12)), shape=SHAPE)


@pytest.fixture
def layout(scene):
    """Slicer's layout node, with its logic that makes the views of a layout."""
    import slicer

    logic = slicer.vtkMRMLLayoutLogic()
    logic.SetMRMLScene(scene)
    node = logic.GetLayoutNode()
    node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    yield node
    logic.SetMRMLScene(None)
    remove_slice_views(scene)
    while scene.GetNumberOfNodesByClass("vtkMRMLLayoutNode"):
        scene.RemoveNode(scene.GetFirstNodeByClass("vtkMRMLLayoutNode"))
    while scene.GetNumberOfNodesByClass("vtkMRMLViewNode"):
        scene.RemoveNode(scene.GetFirstNodeByClass("vtkMRMLViewNode"))


def rounds():
    volume = add_volume(np.zeros(SHAPE, np.int16), OBLIQUE)
    first = add_segmentation(volume, {"liver": OLD, "spleen": OTHER})
    second = add_segmentation(volume, {"liver": NEW, "not: spleen": OTHER})
    second.GetDisplayNode().SetSegmentVisibility("not: spleen", False)
    third = add_segmentation(volume, {"bone": OTHER})
    first.GetDisplayNode().SetVisibility(False)
    return volume, first, second, third


def displays(scene) -> list[object]:
    """All that is restored: of each display which views it is in, and what is visible."""
    found = []
    for node in segmentation_nodes(scene):
        display = node.GetDisplayNode()
        views = [display.GetNthViewNodeID(n) for n in range(display.GetNumberOfViewNodeIDs())]
        ids = node.GetSegmentation().GetSegmentIDs()
        shown = [bool(display.GetSegmentVisibility(one)) for one in ids]
        found.append((node.GetName(), bool(display.GetVisibility()), bool(display.GetVisibility2D()), views, shown))
    return found


def all_nodes(scene) -> list[str]:
    return sorted(scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes()))


def test_each_is_in_its_own_view_with_what_differs_in_both(scene, layout) -> None:
    volume, first, second, third = rounds()
    before = displays(scene), all_nodes(scene), [snapshot(node) for node in (first, second, third)]
    arrangement = layout.GetViewArrangement()
    view = BesideView()

    view.show(first, second, volume)

    assert view.is_shown
    assert layout.GetViewArrangement() == LAYOUT
    left, right = (scene.GetSingletonNode(name, "vtkMRMLSliceNode") for name in ("MedSAM3First", "MedSAM3Second"))
    for node, own, foreign in ((first, left, right), (second, right, left)):
        display = node.GetDisplayNode()
        assert display.GetVisibility()
        assert display.IsDisplayableInView(own.GetID())
        assert not display.IsDisplayableInView(foreign.GetID())
    assert not third.GetDisplayNode().GetVisibility()
    (difference,) = [node for node in segmentation_nodes(scene) if node.GetAttribute("MedSAM3.Difference")]
    assert all(difference.GetDisplayNode().IsDisplayableInView(one.GetID()) for one in (left, right))
    # The spleen is only in the first; in the second it was rejected and is hidden.
    assert misplaced(difference, "added", volume, NEW & ~OLD) == 0
    assert misplaced(difference, "taken away", volume, OLD & ~NEW | OTHER) == 0
    colors = [difference.GetSegmentation().GetSegment(words).GetColor() for words, _ in view.legend]
    assert colors == [pytest.approx(color) for _, color in view.legend]
    assert not difference.GetSaveWithScene()
    assert left.GetViewGroup() == right.GetViewGroup() != 0

    view.hide()
    assert not view.is_shown
    assert layout.GetViewArrangement() == arrangement
    assert (displays(scene), all_nodes(scene), [snapshot(node) for node in (first, second, third)]) == before
    view.hide()
    assert displays(scene) == before[0]


@pytest.mark.usefixtures("layout")
def test_views_run_along_the_volume_and_show_the_place_that_differs(scene) -> None:
    volume, first, second, _ = rounds()
    view = BesideView()
    view.show(first, second, volume)
    node = scene.GetSingletonNode("MedSAM3First", "vtkMRMLSliceNode")
    matrix = node.GetSliceToRAS()
    normal = np.array([matrix.GetElement(row, 2) for row in range(3)])
    assert abs(normal @ OBLIQUE[:3, 2] / 2.5) == pytest.approx(1.0, abs=1e-6)
    place = np.linalg.inv(OBLIQUE) @ [*(matrix.GetElement(row, 3) for row in range(3)), 1.0]
    assert 1 <= place[2] <= 8
    view.hide()


@pytest.mark.usefixtures("layout")
def test_a_second_pair_takes_the_place_of_the_first_and_all_comes_back(scene) -> None:
    volume, first, second, third = rounds()
    before, nodes = displays(scene), all_nodes(scene)
    view = BesideView()
    view.show(first, second, volume)
    view.show(second, third, volume)
    assert not first.GetDisplayNode().GetVisibility()
    view.hide()
    assert (displays(scene), all_nodes(scene)) == (before, nodes)


def test_a_layout_that_was_chosen_meanwhile_stays(layout) -> None:
    import slicer

    volume, first, second, _ = rounds()
    view = BesideView()
    view.show(first, second, volume)
    layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    view.hide()
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView


def test_a_round_that_was_removed_meanwhile_is_no_trouble(scene, layout) -> None:
    volume, first, second, third = rounds()
    arrangement = layout.GetViewArrangement()
    view = BesideView()
    view.show(first, second, volume)
    scene.RemoveNode(second)
    view.hide()
    assert layout.GetViewArrangement() == arrangement
    assert third.GetDisplayNode().GetVisibility()
    assert not first.GetDisplayNode().GetVisibility()


def test_a_closed_scene_ends_it_and_gives_the_layout_back(scene, layout) -> None:
    volume, first, second, _ = rounds()
    arrangement = layout.GetViewArrangement()
    view = BesideView()
    view.show(first, second, volume)
    scene.Clear(False)
    assert not view.is_shown
    assert layout.GetViewArrangement() == arrangement
    assert segmentation_nodes(scene) == []
    view.hide()


def test_what_cannot_be_shown_changes_nothing(scene, layout) -> None:
    volume, first, second, _ = rounds()
    before, nodes, arrangement = displays(scene), all_nodes(scene), layout.GetViewArrangement()
    view = BesideView()
    for given in ((first, None, volume), (first, second, None), (first, volume, volume), (first, second, first)):
        with pytest.raises(InputError):
            view.show(*given)
        assert (displays(scene), all_nodes(scene), layout.GetViewArrangement()) == (before, nodes, arrangement)


@pytest.mark.usefixtures("layout")
def test_equal_segmentations_have_no_difference(scene) -> None:
    volume, first, _, _ = rounds()
    view = BesideView()
    view.show(first, first, volume)
    (difference,) = [node for node in segmentation_nodes(scene) if node.GetAttribute("MedSAM3.Difference")]
    for words, _ in view.legend:
        assert misplaced(difference, words, volume, np.zeros(SHAPE, bool)) == 0
    view.hide()
