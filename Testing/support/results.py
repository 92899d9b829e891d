"""Results as the segmenter gives them, made from masks that a test knows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.preprocessing.windowing import Window, choose_window
from MedSAM3SegmentLib.provenance import ModelIdentity, Provenance
from MedSAM3SegmentLib.results.result import ConceptResult, Instance, SegmentResult
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.volume import Volume


def axial_grid(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> VoxelGrid:
    """A grid as axial CT has it: i to the patient's left, j to posterior, k to superior; spacing along (i, j, k)."""
    return VoxelGrid(shape, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]))


def result_of(
    volume: Volume,
    masks: Mapping[str, NDArray[np.bool_]],
    plane: Plane = Plane.ACQUIRED,
    *,
    is_demo: bool = False,
    windows: Mapping[str, Window] | None = None,
) -> SegmentResult:
    """One concept per mask ``[k, j, i]``; an empty mask is a concept that was not found. Scores are 0.9 or 0.1."""
    stack = SliceStack.along(volume.grid, plane)
    concepts = []
    for name, mask in masks.items():
        on = np.flatnonzero(stack.extract(mask).any(axis=(1, 2))).tolist()
        voxels = int(mask.sum())
        instance = Instance(1, voxels, voxels * volume.grid.voxel_volume_mm3, min(on), max(on), 0.9) if on else None
        concepts.append(
            ConceptResult(
                concept=name,
                prompt=name,
                window=(windows or {}).get(name) or choose_window(volume),
                evidence=tuple(SliceDetections(n, 0.9 if n in on else 0.1, 0.9) for n in range(stack.count)),
                found=bool(on),
                reason=message("It is there." if on else "Not found: the best score is 0.10."),
                mask=mask,
                instance_map=mask.astype(np.uint16),
                instances=(instance,) if instance else (),
            )
        )
    provenance = Provenance(
        model=ModelIdentity("a model", "0" * 64, is_demo),
        device="cpu",
        plane=stack.plane.value,
        threshold=0.5,
        input_name=volume.name,
        input_sha256=volume.content_hash,
        created="2026-01-01T00:00:00+00:00",
        versions={"medsam3": "0"},
    )
    return SegmentResult(stack, tuple(concepts), provenance, {"segmenting": 1.0})


def concept_with(stack: SliceStack, evidence: list[SliceDetections]) -> ConceptResult:
    """A liver with its evidence, before it is assembled."""
    shape = stack.grid.shape
    return ConceptResult(
        "liver",
        "liver",
        Window(0, 1),
        tuple(evidence),
        False,
        "",
        np.zeros(shape, bool),
        np.zeros(shape, np.uint16),
        (),
    )
