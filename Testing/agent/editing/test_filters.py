"""Edits against Slicer's own filters, voxel for voxel: vtkITK and VTK with the settings of Segment Editor's effects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from MedSAM3AgentLib.editing.commands import ShellMode, SmoothingMethod
from MedSAM3AgentLib.editing.filters import grow, hollow, kernel_voxels, label_objects, shrink, smooth
from MedSAM3SegmentLib.errors import InputError

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]


def grids(count: int) -> list[tuple[int, Mask, Spacing, float]]:
    """Random masks, some at the image's edge, with spacings from cubes to thick slices and a length."""
    made = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        noise = ndimage.gaussian_filter(rng.normal(size=rng.integers(8, 22, 3)), rng.uniform(0.7, 2))
        mask = noise > np.quantile(noise, rng.uniform(0.5, 0.93))
        k, j, i = rng.uniform(0.6, 5, 3).tolist()
        made.append((seed, mask, (k, j, i), float(rng.uniform(1, 9))))
    return made


def vtk_image(mask: NDArray[Any], spacing: Spacing) -> Any:
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    image = vtk.vtkImageData()
    image.SetDimensions(*mask.shape[::-1])
    image.SetSpacing(*spacing[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(mask.astype(np.uint8).ravel(), deep=True))
    return image


def array_of(image: Any) -> NDArray[np.uint8]:
    from vtk.util.numpy_support import vtk_to_numpy

    return np.asarray(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]))


def slicer_margin(mask: Mask, spacing: Spacing, outer: float, inner: float | None = None) -> Mask:
    import slicer

    margin = slicer.vtkITKImageMargin()
    margin.SetInputData(vtk_image(mask, spacing))
    margin.CalculateMarginInMMOn()
    margin.SetOuterMarginMM(outer)
    if inner is not None:
        margin.SetInnerMarginMM(inner)
    margin.Update()
    return array_of(margin.GetOutput()) > 0


def slicer_smoothing(mask: Mask, spacing: Spacing, method: SmoothingMethod, mm: float) -> Mask:
    import vtk

    if method is SmoothingMethod.GAUSSIAN:
        gaussian = vtk.vtkImageGaussianSmooth()
        gaussian.SetInputData(vtk_image(mask * np.uint8(255), spacing))
        gaussian.SetStandardDeviation(*(mm / along for along in spacing[::-1]))
        gaussian.SetRadiusFactor(4.0)
        gaussian.Update()
        return array_of(gaussian.GetOutput()) >= 127
    kernel = [int(round((mm / along + 1) / 2) * 2 - 1) for along in spacing[::-1]]
    if method is SmoothingMethod.MEDIAN:
        used = vtk.vtkImageMedian3D()
    else:
        used = vtk.vtkImageOpenClose3D()
        opened = method is SmoothingMethod.OPENING
        used.SetOpenValue(int(opened))
        used.SetCloseValue(int(not opened))
    used.SetInputData(vtk_image(mask, spacing))
    used.SetKernelSize(*kernel)
    used.Update()
    return array_of(used.GetOutput()) > 0


@pytest.mark.parametrize("half", [0, 1])
def test_margin_smoothing_and_hollow_are_slicers_own_on_random_grids(half: int) -> None:
    cases = [case for case in grids(100) if case[0] % 2 == half]
    wrong = []
    for seed, mask, spacing, mm in cases:
        pairs = {
            "grow": (grow(mask, spacing, mm), slicer_margin(mask, spacing, mm)),
            "shrink": (shrink(mask, spacing, mm), ~slicer_margin(~mask, spacing, mm)),
        }
        for method in SmoothingMethod:
            pairs[method] = (smooth(mask, spacing, method, mm), slicer_smoothing(mask, spacing, method, mm))
        voxel = min(spacing)
        ends = {
            ShellMode.MEDIAL: (0.5 * mm, -0.5 * mm + 0.5 * voxel),
            ShellMode.INSIDE: (mm + 0.1 * voxel, 0.1 * voxel),
            ShellMode.OUTSIDE: (0.0, -mm + voxel),
        }
        for mode, (outer, inner) in ends.items():
            if mm >= voxel:  # Slicer offers no thinner shell
                pairs[mode] = (hollow(mask, spacing, mode, mm), slicer_margin(mask, spacing, outer, inner))
        wrong += [(seed, name) for name, (ours, theirs) in pairs.items() if not np.array_equal(ours, theirs)]
    assert not wrong


def test_islands_are_slicers_own() -> None:
    import slicer
    import vtk

    for _, mask, spacing, _ in grids(30):
        islands = slicer.vtkITKIslandMath()
        islands.SetInputData(vtk_image(mask, spacing))
        islands.SetFullyConnected(False)
        islands.SetMinimumSize(5)
        cast = vtk.vtkImageCast()
        cast.SetInputConnection(islands.GetOutputPort())
        cast.SetOutputScalarTypeToInt()
        cast.Update()
        theirs = array_of(cast.GetOutput())

        labels, count = label_objects(mask)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        assert np.array_equal(theirs > 0, (labels > 0) & (sizes[labels] >= 5))
        if count > 1 and sizes[1] > sizes[2]:
            assert np.array_equal(theirs == 1, labels == 1)


def test_empty_and_full_masks_stay_what_they_are() -> None:
    empty, full = np.zeros((4, 5, 6), bool), np.ones((4, 5, 6), bool)
    for mask in (empty, full):
        assert np.array_equal(grow(mask, (1, 1, 1), 3), mask)
        assert np.array_equal(shrink(mask, (1, 1, 1), 3), mask)
        assert label_objects(mask)[1] == int(mask.any())
        for method in SmoothingMethod:
            assert np.array_equal(smooth(mask, (1, 1, 1), method, 3), mask)


def test_a_kernel_is_odd_and_at_least_one_voxel() -> None:
    assert [kernel_voxels(3, spacing) for spacing in (0.5, 1.0, 3.0, 50.0)] == [7, 3, 1, 1]


@pytest.mark.parametrize("mode", list(ShellMode))
def test_a_shell_thinner_than_a_voxel_is_refused_as_in_slicer(mode: ShellMode) -> None:
    with pytest.raises(InputError, match="thinner"):
        hollow(np.ones((4, 4, 4), bool), (2.0, 2.0, 2.0), mode, 1.5)
