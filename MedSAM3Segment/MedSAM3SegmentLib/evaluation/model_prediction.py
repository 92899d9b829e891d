"""Predictions of a model, by words (T) or by words and an oracle box (T+I); its masks are kept beside the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.progress import RunCallbacks
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS, BoxReading, TargetPrompts
from MedSAM3SegmentLib.prompts.slice_prompts import placed_on
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.volume import Volume

from .cases.case import EvaluationCase, Reference
from .kept_masks import KeptMasks
from .prediction import Prediction, Prompt

#: How far the shapes of two pictures may differ and one still be a smaller copy of the other.
_SHAPE_TOLERANCE = 0.02


class PromptKind(StrEnum):
    """How a concept is asked for."""

    WORDS = "T"
    WORDS_AND_BOX = "T+I"


@dataclass(eq=False)
class ModelPredictions:
    """A loaded model.

    Attributes:
        segmenter: asked case by case.
        model: its identity, plain JSON values.
        phrases: by concept the phrases that it is asked with, each by itself.
        kinds: ways of asking.
        threshold: None for the model's own.
        masks: folder for the masks, one file for each case, concept and prompt.
    """

    segmenter: SegmenterProtocol
    model: Mapping[str, Any]
    phrases: Mapping[str, Sequence[str]]
    kinds: Sequence[PromptKind]
    threshold: float | None
    masks: Path
    callbacks: RunCallbacks = field(default_factory=RunCallbacks)
    notes: list[str] = field(default_factory=list, init=False)
    needs_image: bool = field(default=True, init=False)
    kept: KeptMasks = field(init=False)

    def __post_init__(self) -> None:
        asked = [
            (concept, Prompt(kind.value, phrase))
            for kind in self.kinds
            for concept, phrases in self.phrases.items()
            for phrase in phrases
        ]
        self.kept = KeptMasks(self.masks, asked)

    def describe(self) -> dict[str, Any]:
        return {
            "model": dict(self.model),
            "phrases": {concept: list(some) for concept, some in self.phrases.items()},
            "prompts": [kind.value for kind in self.kinds],
            "threshold": self.threshold,
        }

    def predict(
        self, case: EvaluationCase, references: Mapping[str, Reference], volume: Volume | None
    ) -> tuple[list[Prediction], list[str]]:
        """Segment a case.

        Raises:
            InputError: image and reference do not fit each other.
            ModelError: the model cannot do what is asked.
        """
        if volume is None:
            raise ValueError("A model needs an image.")
        notes = [str(message) for message in volume.messages]
        predictions = []
        for kind in self.kinds:
            for concept, phrase, result in self._answers(kind, references, volume):
                mask, objects = _on_reference(result, volume, references[concept], case, notes)
                predictions.append(Prediction(concept, Prompt(kind.value, phrase), mask, objects))
        return predictions, notes

    def predict_again(self, case: EvaluationCase, references: Mapping[str, Reference]) -> list[Prediction]:
        """What was kept of a case."""
        return self.kept.read(case, references)

    def _answers(
        self, kind: PromptKind, references: Mapping[str, Reference], volume: Volume
    ) -> list[tuple[str, str, ConceptResult]]:
        """Concept, phrase and result of all that is asked of one image in one way."""
        asked = [(concept, phrase) for concept in references for phrase in self.phrases[concept]]
        if kind is PromptKind.WORDS:
            # All phrases at once, so that the image is encoded once.
            found = self._segment(volume, tuple(dict.fromkeys(phrase for _, phrase in asked)), {})
            return [(concept, phrase, found[phrase]) for concept, phrase in asked]
        answers = []
        for concept, reference in references.items():
            box = oracle_box(reference, volume)
            if box is None:
                continue  # there is nothing to draw a box around
            shown = TargetPrompts(boxes=(box,), reading=BoxReading.THINGS_LIKE_THIS)
            phrases = tuple(dict.fromkeys(self.phrases[concept]))
            found = self._segment(volume, phrases, dict.fromkeys(phrases, shown))
            answers += [(concept, phrase, found[phrase]) for phrase in phrases]
        return answers

    def _segment(
        self, volume: Volume, phrases: tuple[str, ...], prompts: Mapping[str, TargetPrompts]
    ) -> dict[str, ConceptResult]:
        # Objects of a film are followed, as SAM 3 does; slices are detected one by one.
        mode = Mode.PROPAGATE if volume.is_sequence else Mode.SLICES
        request = SegmentRequest(phrases, threshold=self.threshold, prompts=prompts, mode=mode)
        result = self.segmenter.segment(volume, request, self.callbacks)
        return {one.concept: one for one in result.concepts}


def oracle_box(reference: Reference, volume: Volume) -> BoxPromptRAS | None:
    """The box around the largest part of a reference, on the slice that has most of it; None where there is none.

    As the paper's second prompt (MedSAM-3, section 4.2): it is made of the truth, which nobody has in practice.

    Args:
        volume: whose frame the box is in; a picture of another size than its reference is taken for a scaled copy.
    """
    mask = reference.mask
    if reference.is_picture and mask.shape != volume.grid.shape:
        mask = resize_nearest(mask, volume.grid.shape)
    elif not reference.is_picture:
        placed = placed_on(volume.grid, mask, reference.grid)
        mask = np.zeros(volume.grid.shape, bool) if placed is None else placed
    if not mask.any():
        return None
    from scipy import ndimage

    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    stack = SliceStack.along(volume.grid, Plane.ACQUIRED)
    part = stack.extract(labels == sizes.argmax())
    on_slice = np.zeros(volume.grid.shape, bool)
    index = int(part.sum(axis=(1, 2)).argmax())
    stack.extract(on_slice)[index] = part[index]
    places = np.argwhere(on_slice)[:, ::-1].astype(float)
    low, high = places.min(axis=0), places.max(axis=0)
    # To the rims of the outermost voxels, but not across to the next slice.
    rim = np.where(np.arange(3) == stack.axis, 0.0, 0.5)
    corners = [tuple(volume.grid.to_ras(corner).tolist()) for corner in (low - rim, high + rim)]
    return BoxPromptRAS(tuple(corners))


def resize_nearest(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An array at another size, each voxel that of the nearest center."""
    places = [
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
        for old, new in zip(array.shape, shape, strict=True)
    ]
    return array[np.ix_(*places)]


def _on_reference(
    result: ConceptResult, volume: Volume, reference: Reference, case: EvaluationCase, notes: list[str]
) -> tuple[BoolMask, NDArray[Any]]:
    """Mask and objects on the voxels of the reference.

    Raises:
        InputError: they lie on other ones.
    """
    shape = reference.grid.shape
    if reference.is_picture:
        if volume.grid.shape == shape:
            return result.mask, result.instance_map
        ratios = [new / old for old, new in zip(volume.grid.shape[1:], shape[1:], strict=True)]
        if volume.grid.shape[0] == shape[0] and abs(ratios[0] / ratios[1] - 1) <= _SHAPE_TOLERANCE:
            notes.append("image and reference have other sizes; masks were brought to the reference's size.")
            return resize_nearest(result.mask, shape), resize_nearest(result.instance_map, shape)
    else:
        placed = placed_on(reference.grid, result.mask, volume.grid)
        if placed is not None and np.count_nonzero(placed) == np.count_nonzero(result.mask):
            return placed, _placed_objects(result, volume.grid, reference.grid)
    raise InputError(
        f"The reference {case.files[0]} does not lie on the voxels of {volume.name}; resample it onto them, nearest "
        "neighbor."
    )


def _placed_objects(result: ConceptResult, own: VoxelGrid, grid: VoxelGrid) -> NDArray[Any]:
    if own.same_as(grid):
        return result.instance_map
    objects = np.zeros(grid.shape, np.uint16)
    for number in np.unique(result.instance_map[result.instance_map > 0]):
        part = placed_on(grid, result.instance_map == number, own)
        if part is not None:
            objects[part] = number
    return objects
