"""Two segmentations side by side, in slice views that move together, with what differs between them in two colors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import slicer

from MedSAM3AgentSceneLib.editing.edit_geometry import labelmap_of
from MedSAM3SceneLib.coroutines import WORKING, StepGenerator, run_in_thread, run_steps_to_end
from MedSAM3SceneLib.editing.write_result import check_segmentation_node
from MedSAM3SceneLib.mrml.labelmaps import binary_labelmap_name
from MedSAM3SceneLib.mrml.nodes import call_on_close
from MedSAM3SceneLib.mrml.segmentation_nodes import (
    remove_segmentation,
    require_present,
    segmentation_nodes,
    visibilities_kept,
)
from MedSAM3SceneLib.mrml.transforms import node_to_node, node_to_world
from MedSAM3SceneLib.mrml.volumes import check_volume_node
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix

from .segment_pairs import Named, named_segments, pair_segments
from .side_views import SideViews

#: What was added and what was taken away: names of segments, and colors that also color-blind people can tell apart.
DIFFERENCES = (("added", (0.0, 0.72, 0.92)), ("taken away", (0.95, 0.45, 0.0)))

#: Marks the temporary segmentation, so that one left behind is found.
DIFFERENCE_ATTRIBUTE = "MedSAM3.Difference"


@dataclass(frozen=True, eq=False)
class _Shown:
    """A display node as it was."""

    display: Any
    is_visible: bool
    is_visible_in_2d: bool
    views: tuple[str, ...]

    @classmethod
    def of(cls, display: Any) -> _Shown:
        views = tuple(display.GetNthViewNodeID(n) for n in range(display.GetNumberOfViewNodeIDs()))
        return cls(display, bool(display.GetVisibility()), bool(display.GetVisibility2D()), views)

    def restore(self) -> None:
        self.display.RemoveAllViewNodeIDs()
        for view in self.views:
            self.display.AddViewNodeID(view)
        self.display.SetVisibility2D(self.is_visible_in_2d)
        self.display.SetVisibility(self.is_visible)


@dataclass(eq=False)
class BesideView:
    """Shows one pair at a time; ``hide`` gives layout and displays back as they were."""

    _views: SideViews = field(default_factory=SideViews)
    _before: list[_Shown] = field(default_factory=list)
    _difference: Any | None = None
    _is_shown: bool = False
    #: Of what is being shown; another or none where that was hidden meanwhile.
    _turn: object | None = None

    def __post_init__(self) -> None:
        call_on_close(slicer.mrmlScene, self._scene_closes)

    @property
    def is_shown(self) -> bool:
        return self._is_shown

    @property
    def legend(self) -> tuple[tuple[str, tuple[float, float, float]], ...]:
        """What the colors mean: words and red, green, blue from 0 to 1."""
        return DIFFERENCES

    def show(self, first_node: Any, second_node: Any, volume_node: Any) -> None:
        """As ``show_in_steps``, all of them, with the window alive."""
        run_steps_to_end(self.show_in_steps(first_node, second_node, volume_node), slicer.app.processEvents)

    def show_in_steps(self, first_node: Any, second_node: Any, volume_node: Any) -> StepGenerator[None]:
        """Show the first segmentation in the left view and the second in the right one, over the volume.

        What the second has more and what it has no more is shown in both, of the segments that are visible. ``hide``
        ends it in mid-way too.

        Raises:
            InputError: a node cannot be used.
            Cancelled: a node was removed or all hidden meanwhile; nothing is shown then.
        """
        self.hide()
        for node in (first_node, second_node):
            check_segmentation_node(node)
        check_volume_node(volume_node)
        turn = self._turn = object()
        images = yield from self._difference_of(first_node, second_node)
        # Pieces that the window does not stand still for.
        for step in (
            # Before there are views that all segmentations would be drawn in.
            lambda: self._keep_displays(first_node, second_node),
            lambda: self._views.open(volume_node.GetScene()),
            *(partial(self._views.show, number, volume_node) for number in (0, 1)),
            *(partial(self._views.fit, number) for number in (0, 1)),
            self._views.link,
            lambda: self._show_in_views(first_node, second_node),
            lambda: self._show_difference(first_node, images),
            lambda: self._views.show_legend(DIFFERENCES),
            lambda: self._jump_to_middle(first_node, images),
        ):
            if self._turn is not turn:
                raise Cancelled
            try:
                for node in (first_node, second_node, volume_node):
                    require_present(node)
                self._is_shown = True
                step()
            except Exception:
                self.hide()
                raise
            yield WORKING

    def hide(self) -> None:
        """Show layout and segmentations as they were before; nothing where nothing is shown."""
        self._turn = None
        if not self._is_shown:
            return
        self._is_shown = False
        difference, self._difference = self._difference, None
        if difference is not None:
            remove_segmentation(difference)
        before, self._before = self._before, []
        for shown in before:
            if shown.display.GetScene() is not None:
                shown.restore()
        self._views.hide()

    def _scene_closes(self) -> None:
        self.hide()

    def _difference_of(self, first_node: Any, second_node: Any) -> StepGenerator[list[Any | None]]:
        second_to_first = node_to_node(second_node, first_node)
        first, second = (named_segments(node, _visible_ids(node)) for node in (first_node, second_node))
        return (yield from run_in_thread(partial(_differences, first, second, second_to_first)))

    def _show_in_views(self, first_node: Any, second_node: Any) -> None:
        left, right = self._views.nodes
        self._show_only(first_node, [left] if first_node is not second_node else [left, right])
        if second_node is not first_node:
            self._show_only(second_node, [right])

    def _jump_to_middle(self, node: Any, images: Sequence[Any | None]) -> None:
        place = _middle_of(images, node)
        if place is not None:
            self._views.jump_to(place)

    def _show_difference(self, first_node: Any, images: Sequence[Any | None]) -> None:
        self._difference = _difference_node(first_node, images, self._views.nodes)

    def _keep_displays(self, first_node: Any, second_node: Any) -> None:
        """Remember how segmentations are displayed, and hide all but these two."""
        for node in segmentation_nodes(first_node.GetScene()):
            is_compared = node is first_node or node is second_node
            if node.GetDisplayNode() is None and is_compared:
                node.CreateDefaultDisplayNodes()
            for number in range(node.GetNumberOfDisplayNodes()):
                display = node.GetNthDisplayNode(number)
                if display is None:
                    continue
                self._before.append(_Shown.of(display))
                if not is_compared:
                    display.SetVisibility(False)

    def _show_only(self, segmentation_node: Any, views: Sequence[Any]) -> None:
        for number in range(segmentation_node.GetNumberOfDisplayNodes()):
            display = segmentation_node.GetNthDisplayNode(number)
            _show_in(display, views)
            display.SetVisibility2D(True)
            display.SetVisibility(True)


def _visible_ids(segmentation_node: Any) -> list[str]:
    display = segmentation_node.GetDisplayNode()
    ids = [str(one) for one in segmentation_node.GetSegmentation().GetSegmentIDs()]
    return [one for one in ids if display is None or display.GetSegmentVisibility(one)]


def _differences(first: Named, second: Named, second_to_first: Matrix) -> list[Any | None]:
    """What was added and what was taken away, as oriented images of all segments together; touches no scene."""
    pairs = []
    for name in dict.fromkeys([*first, *second]):
        pair = pair_segments(first.get(name), second.get(name), second_to_first)
        if pair is not None:
            pairs.append(pair)
    if not pairs:
        return [None, None]
    block = min(pairs, key=lambda pair: pair.voxel_mm3).block
    for pair in pairs:
        block = block.with_block(pair.block)
    images = []
    for part in (lambda pair: pair.second & ~pair.first, lambda pair: pair.first & ~pair.second):
        total = np.zeros(block.shape, bool)
        for pair in pairs:
            total |= block.mask_of(labelmap_of(part(pair), pair.block))
        images.append(labelmap_of(total, block))
    return images


def _difference_node(first_node: Any, images: Sequence[Any | None], views: Sequence[Any]) -> Any:
    """A temporary segmentation of the differences, which is never saved and shown in these views only."""
    scene = first_node.GetScene()
    display = slicer.vtkMRMLSegmentationDisplayNode()
    display.SetSaveWithScene(False)
    display.SetVisibility3D(False)
    display.SetOpacity2DFill(0.6)
    display = scene.AddNode(display)
    _show_in(display, views)
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName("MedSAM3 difference")
    node.SetAttribute(DIFFERENCE_ATTRIBUTE, "1")
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    node.SetSelectable(False)
    node.SetAndObserveTransformNodeID(first_node.GetTransformNodeID())
    node.SetAndObserveDisplayNodeID(display.GetID())
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(binary_labelmap_name())
    for (name, color), image in zip(DIFFERENCES, images, strict=True):
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.SetColor(*color)
        segment.AddRepresentation(binary_labelmap_name(), image or slicer.vtkOrientedImageData())
        segmentation.AddSegment(segment, name)
    # Last, when all is in it: the subject hierarchy has no item for a node that is hidden from editors.
    node.SetScene(scene)
    node.GetDisplayNode()
    with visibilities_kept(scene):
        return scene.AddNode(node)


def _show_in(display: Any, views: Sequence[Any]) -> None:
    display.RemoveAllViewNodeIDs()
    for view in views:
        display.AddViewNodeID(view.GetID())


def _middle_of(images: Sequence[Any | None], node: Any) -> np.ndarray | None:
    """The middle of what differs, in the world; None where nothing does."""
    bounds = [image.GetBounds() for image in images if image is not None]
    if not bounds:
        return None
    corners = np.array(bounds).reshape(-1, 3, 2)
    middle = (corners[:, :, 0].min(axis=0) + corners[:, :, 1].max(axis=0)) / 2
    return np.asarray((node_to_world(node) @ [*middle, 1.0])[:3])
