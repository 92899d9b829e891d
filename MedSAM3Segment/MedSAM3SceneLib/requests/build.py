"""What a door knows of a request as the task of a run, which reads the nodes that add to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from MedSAM3SceneLib.coroutines import StepGenerator, run_in_thread
from MedSAM3SceneLib.mrml.slice_planes import (
    ViewPlane,
    mask_on_slice,
    oblique_slice,
    shown_slice,
    stack_slice,
    view_plane,
)
from MedSAM3SceneLib.mrml.volumes import SceneVolume
from MedSAM3SceneLib.runs.segmentation_run import RunTask
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.preprocessing.windowing import choose_window, is_ct
from MedSAM3SegmentLib.progress import ProgressCallback
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS
from MedSAM3SegmentLib.request import (
    SegmentRequest,
)
from MedSAM3SegmentLib.search_region import box_of

from .drawn_prompts import (
    box_of_roi,
    drawn_prompts,
    mask_of_segment,
)
from .example_nodes import (
    locate_in_steps,
    read_example_nodes,
)
from .request_spec import RequestSpec


def build_task(spec: RequestSpec, save_state: Callable[[], None] | None = None) -> RunTask:
    """The task of a run that writes segments.

    Args:
        save_state: see ``write_result.write_in_steps``.
    """

    def prepare(placed: SceneVolume, tell: ProgressCallback) -> StepGenerator[tuple[SceneVolume, SegmentRequest]]:
        request = _resolve(spec, placed)
        if spec.locate:
            request = yield from locate_in_steps(spec.locate, request, spec.volume_node, placed, tell)
        return placed, request

    task = RunTask(
        spec.volume_node,
        prepare,
        spec.segmentation_node,
        spec.model,
        spec.device,
        save_state,
        only_slice=spec.view is not None,
        replace_completed=spec.replace_completed,
    )
    if not spec.like:
        return task
    return replace(task, examples=partial(read_example_nodes, spec.like, spec.request.concepts, spec.volume_node))


def build_preview_task(spec: RequestSpec) -> RunTask:
    """The task for the one slice that a view shows, at any angle; nothing is written.

    The answer is what a run with the same choices gives on that slice, as far as it alone can tell. What a run does
    with its neighbors (faint slices kept, gaps filled, short objects dropped, objects tracked) or along other planes
    may add to it or take from it, and on an oblique slice the model sees what it sees on none of the volume's own.
    """
    plain = spec.request

    def prepare(placed: SceneVolume, _tell: ProgressCallback) -> StepGenerator[tuple[SceneVolume, SegmentRequest]]:
        plane = view_plane(spec.view, spec.volume_node, placed)
        shown = stack_slice(plane, placed.volume.grid)
        region = _region(spec, placed)
        mask = _mask(spec, placed)
        if shown is not None:
            own = replace(plain, plane=shown.plane, slices=(shown.index, shown.index + 1), region=region)
            return placed, own if mask is None else replace(own, inside=mask)
        if region is not None and plain.inside is not None:
            raise InputError(
                "An oblique slice cannot be looked at in a region and inside of a phrase at once; choose one."
            )
        return (yield from run_in_thread(lambda: _oblique(plain, plane, placed, region, mask)))

    return RunTask(spec.volume_node, prepare, None, spec.model, spec.device, is_written=False)


def _resolve(spec: RequestSpec, placed: SceneVolume) -> SegmentRequest:
    """The whole request, now that the volume is read."""
    request = spec.request
    if spec.view is not None:
        shown = shown_slice(spec.view, spec.volume_node, placed)
        request = replace(request, plane=shown.plane, slices=(shown.index, shown.index + 1), more_planes=())
    drawn = request.prompts
    if spec.is_drawn:
        stack = SliceStack.along(placed.volume.grid, request.plane)
        drawn = drawn_prompts(spec.segmentation_node, request.concepts, spec.volume_node, placed, stack)
    mask = _mask(spec, placed)
    within = request.inside if mask is None else mask
    return replace(request, mode=spec.mode, prompts=drawn, region=_region(spec, placed), inside=within)


def _region(spec: RequestSpec, placed: SceneVolume) -> BoxPromptRAS | None:
    return None if spec.roi is None else box_of_roi(spec.roi, spec.volume_node, placed)


def _mask(spec: RequestSpec, placed: SceneVolume) -> BoolMask | None:
    return None if spec.inside is None else mask_of_segment(*spec.inside, spec.volume_node, placed)


def _oblique(
    plain: SegmentRequest, plane: ViewPlane, placed: SceneVolume, region: BoxPromptRAS | None, mask: BoolMask | None
) -> tuple[SceneVolume, SegmentRequest]:
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
    return SceneVolume(cut, placed.to_node), request
