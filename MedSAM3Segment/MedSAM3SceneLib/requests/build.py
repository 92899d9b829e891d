"""What a user chose, with nodes of the scene in it, as one order for a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SceneLib.coroutines import Steps, in_thread
from MedSAM3SceneLib.mrml.nodes import require_node
from MedSAM3SceneLib.mrml.slice_planes import (
    ViewPlane,
    mask_on_slice,
    oblique_slice,
    stack_slice,
    view_plane,
)
from MedSAM3SceneLib.mrml.slice_views import shown_slice
from MedSAM3SceneLib.mrml.volumes import PlacedVolume, check_volume_node
from MedSAM3SceneLib.runs.run_order import RunOrder
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import SliceStack
from MedSAM3SegmentLib.preprocessing.windowing import choose_window, is_ct
from MedSAM3SegmentLib.prompts.prompts import BoxMark, TargetPrompts
from MedSAM3SegmentLib.request import (
    AssemblyOptions,
    Grouping,
    Mode,
    SegmentRequest,
)
from MedSAM3SegmentLib.search_region import box_of

from .console import mode_named, request_from
from .drawn_prompts import (
    box_of_roi,
    drawn_prompts,
    mask_of_segment,
    segment_ids_named,
)
from .example_nodes import (
    check_shown,
    node_pairs,
    read_example_nodes,
    shown_concepts,
)

Mask = NDArray[np.bool_]


def order_for(
    volume_node: Any,
    concepts: str | Iterable[str] | None = None,
    segmentation_node: Any | None = None,
    *,
    plane: str = "acquired",
    window: str | tuple[float, float] | None = None,
    threshold: float | None = None,
    slices: tuple[int, int] | None = None,
    mode: str = Mode.SLICES,
    prompts: Mapping[str, TargetPrompts] | None = None,
    roi: Any | None = None,
    inside: tuple[Any, str] | str | None = None,
    more_planes: Iterable[str] = (),
    grouping: str = Grouping.CONCEPT,
    assembly: AssemblyOptions | Mapping[str, bool] | None = None,
    view: Any | None = None,
    like: Any | None = None,
    model: str = "demo",
    device: str = "auto",
    save_state: Callable[[], None] | None = None,
) -> RunOrder:
    """The order for a run; words as ``console.request_from`` takes them.

    Args:
        volume_node: what to segment.
        concepts: phrases; with ``like`` the names of segments, None for all of them.
        segmentation_node: where segments go, or None for a new node. In the mode ``from prompts`` its segments with the
            concepts' names are what was drawn, unless ``prompts`` says.
        roi: a vtkMRMLMarkupsROINode; only its box is segmented.
        inside: a segmentation node and the name or ID of its segment that everything must lie in, or words for a
            structure that is found first, as ``SegmentRequest.inside`` takes them.
        view: a vtkMRMLSliceNode; only the slice that it shows is segmented, in its plane. Segments of earlier runs keep
            what they hold on the others.
        like: a volume node and a segmentation node that show what to find in place of words, or several such pairs.
        save_state: see ``segmentations.write_in_steps``.

    Raises:
        InputError: something cannot be used; the message says which and why.
    """
    check_volume_node(volume_node)
    pairs = None if like is None else node_pairs(like)
    if concepts is None:
        concepts = () if pairs is None else shown_concepts(pairs)
    # What was drawn is read once the volume is, so until then nothing is followed yet.
    words = inside if isinstance(inside, str) else None
    plain = request_from(
        concepts,
        plane=plane,
        window=window,
        threshold=threshold,
        slices=slices,
        mode=Mode.SLICES,
        more_planes=more_planes,
        grouping=grouping,
        prompts=prompts,
        inside=words,
        assembly=assembly,
    )
    chosen_mode = mode_named(mode)
    is_drawn = chosen_mode is Mode.FROM_PROMPTS and not prompts
    if is_drawn and segmentation_node is None:
        raise InputError("Nothing was drawn; choose the segmentation in which you drew a slice of the object.")
    segment = _segment_in(inside)

    def prepare(placed: PlacedVolume) -> Steps[tuple[PlacedVolume, SegmentRequest]]:
        yield from ()
        request = plain
        if view is not None:
            shown = shown_slice(view, volume_node, placed)
            request = replace(request, plane=shown.plane, slices=(shown.index, shown.index + 1), more_planes=())
        drawn = request.prompts
        if is_drawn:
            stack = SliceStack.along(placed.volume.grid, request.plane)
            drawn = drawn_prompts(segmentation_node, request.concepts, volume_node, placed, stack)
        region = None if roi is None else box_of_roi(roi, volume_node, placed)
        within = words if segment is None else mask_of_segment(*segment, volume_node, placed)
        return placed, replace(request, mode=chosen_mode, prompts=drawn, region=region, inside=within)

    order = RunOrder(volume_node, prepare, segmentation_node, model, device, save_state, only_slice=view is not None)
    if pairs is None:
        return order
    check_shown(pairs, plain.concepts)
    return replace(order, examples=partial(read_example_nodes, pairs, plain.concepts, volume_node))


def preview_order(
    volume_node: Any,
    concepts: str | Iterable[str],
    view: Any,
    *,
    window: str | tuple[float, float] | None = None,
    threshold: float | None = None,
    roi: Any | None = None,
    inside: tuple[Any, str] | str | None = None,
    assembly: AssemblyOptions | Mapping[str, bool] | None = None,
    model: str = "demo",
    device: str = "auto",
) -> RunOrder:
    """The order for the one slice that a view shows, at any angle; nothing is written.

    The answer is what a run with the same choices gives on that slice, as far as it alone can tell. What a run does
    with its neighbours (faint slices kept, gaps filled, short objects dropped, objects followed) or along other planes
    may add to it or take from it, and on an oblique slice the model sees what it sees on none of the volume's own.

    Args:
        view: a vtkMRMLSliceNode.
        window, threshold, roi, inside, assembly, model, device: as ``order_for`` takes them.

    Raises:
        InputError: something cannot be used; the message says which and why.
    """
    check_volume_node(volume_node)
    words = inside if isinstance(inside, str) else None
    plain = request_from(concepts, window=window, threshold=threshold, inside=words, assembly=assembly)
    segment = _segment_in(inside)

    def prepare(placed: PlacedVolume) -> Steps[tuple[PlacedVolume, SegmentRequest]]:
        plane = view_plane(view, volume_node, placed)
        shown = stack_slice(plane, placed.volume.grid)
        region = None if roi is None else box_of_roi(roi, volume_node, placed)
        mask = None if segment is None else mask_of_segment(*segment, volume_node, placed)
        if shown is not None:
            own = replace(plain, plane=shown.plane, slices=(shown.index, shown.index + 1), region=region)
            return placed, own if mask is None else replace(own, inside=mask)
        if region is not None and words is not None:
            raise InputError(
                "An oblique slice cannot be looked at in a region and inside of a phrase at once; choose one."
            )
        return (yield from in_thread(lambda: _oblique(plain, plane, placed, region, mask)))

    return RunOrder(volume_node, prepare, None, model, device, is_written=False)


def _oblique(
    plain: SegmentRequest, plane: ViewPlane, placed: PlacedVolume, region: BoxMark | None, mask: Mask | None
) -> tuple[PlacedVolume, SegmentRequest]:
    """An oblique slice as a volume of its own, and the request for it; touches no scene.

    Args:
        region: that is looked in, in the frame of the volume's grid.
        mask: bool ``[k, j, i]`` that everything must lie in.
    """
    volume = placed.volume
    cut = oblique_slice(plane, volume)
    # Percentiles of one slice would show it through another window than the whole; presets hold for any part.
    request = plain if is_ct(volume) else replace(plain, window=choose_window(volume, override=plain.window))
    if region is not None or mask is not None:
        allowed = np.ones(volume.grid.shape, bool) if mask is None else mask
        if region is not None:
            in_box = np.zeros(volume.grid.shape, bool)
            in_box[box_of(region, volume.grid)] = True
            allowed = allowed & in_box
        on_slice = mask_on_slice(allowed, volume.grid, cut.grid)
        if not on_slice.any():
            raise InputError("The slice view shows a place beside the region to look in; scroll to where that is.")
        request = replace(request, inside=on_slice)
    return PlacedVolume(cut, placed.to_node), request


def _segment_in(inside: tuple[Any, str] | str | None) -> tuple[Any, str] | None:
    """The segmentation node and segment ID in what ``order_for`` takes; None for words.

    Raises:
        InputError: it is something else, or there is no such segment or more than one.
    """
    if inside is None or isinstance(inside, str):
        return None
    if not isinstance(inside, tuple | list) or len(inside) != 2 or not isinstance(inside[1], str):
        raise InputError(
            "{given} is nothing to look inside of; give a segmentation node and a segment's name.", given=repr(inside)
        )
    segmentation_node, segment = inside
    require_node(segmentation_node)
    if not segmentation_node.IsA("vtkMRMLSegmentationNode"):
        raise InputError(
            "'{segmentation}' is not a segmentation; give one and a segment's name.",
            segmentation=segmentation_node.GetName(),
        )
    segmentation = segmentation_node.GetSegmentation()
    if segmentation.GetSegment(segment) is not None:
        return segmentation_node, segment
    named = segment_ids_named(segmentation, segment)
    if not named:
        raise InputError(
            "'{segmentation}' has no segment '{segment}'; choose another one.",
            segmentation=segmentation_node.GetName(),
            segment=segment,
        )
    if len(named) > 1:
        raise InputError(
            "{count} segments are named '{segment}'; give the ID of one: {ids}.",
            count=len(named),
            segment=segment,
            ids=", ".join(named),
        )
    return segmentation_node, named[0]
