"""How well a model's tracker carries organs through phantoms it has never seen, from one mask on the middle slice.

It is the tracker alone that is measured, with no other reason to stop than its own object score; numbers speak of
synthetic pictures only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from ..errors import ModelError
from ..grid import Plane, SliceStack
from ..intensity import choose_window, prepare_slices
from ..models.concept_model import ConceptModel
from ..models.tracker import MaskPrompt, TrackedMask, Tracker, TrackerFeatures
from ..models.tracking_session import TrackingSession
from ..training.phantom import ORGANS, make_phantom, tilted_grid
from ..volume import Volume
from .metrics import dice

Mask = NDArray[np.bool_]

#: Millimetres from the first slice to the last, and rows and columns of a slice with their spacing.
_HEIGHT_MM, _PIXELS, _PIXEL_MM = 200.0, 128, 2.9

#: Slices encoded together.
_BATCH = 8


@dataclass(frozen=True)
class PropagationScore:
    """One organ carried through one phantom.

    Attributes:
        dice: over the whole volume, the slice that was given included.
        seed_slice: where its mask was given.
        true_ends: its first and last slice.
        found_ends: the first and last slice to which it was carried.
        depth: slices of the phantom.
    """

    seed: int
    spacing_mm: float
    organ: str
    dice: float
    seed_slice: int
    true_ends: tuple[int, int]
    found_ends: tuple[int, int]
    depth: int

    @property
    def misses(self) -> tuple[int, int]:
        """By how many slices it stopped too early (below 0) or too late, downwards and upwards."""
        return self.true_ends[0] - self.found_ends[0], self.found_ends[1] - self.true_ends[1]

    @property
    def stops(self) -> tuple[int, ...]:
        """``misses`` at those ends that are not the stack's own, where anything stops."""
        inside = (self.true_ends[0] > 0, self.true_ends[1] < self.depth - 1)
        return tuple(miss for miss, judged in zip(self.misses, inside, strict=True) if judged)


@dataclass(frozen=True)
class PropagationScores:
    """All scores of one evaluation."""

    scores: tuple[PropagationScore, ...]

    def mean_dice(self, organ: str | None = None) -> float:
        """Over all cases, or those of one organ."""
        values = [score.dice for score in self.scores if organ in (None, score.organ)]
        return sum(values) / len(values) if values else float("nan")

    def stop_rate(self, within: int = 1, organ: str | None = None) -> float:
        """Share of the ends inside the stack at which it stopped at most ``within`` slices from the truth."""
        misses = [miss for score in self.scores if organ in (None, score.organ) for miss in score.stops]
        return sum(abs(miss) <= within for miss in misses) / len(misses) if misses else float("nan")


def score_propagation(
    model: ConceptModel, seeds: Sequence[int], spacing_mm: float, organs: Sequence[str] = ORGANS
) -> PropagationScores:
    """Carry every organ of the phantoms of ``seeds`` from its middle slice both ways.

    Args:
        spacing_mm: distance between slices.

    Raises:
        ModelError: the model has no tracker.
    """
    if model.tracker is None:
        raise ModelError(f"The model {model.card.name} has no tracker; give one that has.")
    scores = []
    depth = round(_HEIGHT_MM / spacing_mm) + 1
    grid = tilted_grid((depth, _PIXELS, _PIXELS), (_PIXEL_MM, _PIXEL_MM, spacing_mm))
    for seed in seeds:
        phantom = make_phantom(seed, grid)
        stack = SliceStack.along(grid, Plane.AXIAL)
        truth = {
            name: np.ascontiguousarray(stack.extract(phantom.masks[name]))
            for name in organs
            if phantom.masks[name].any()
        }
        for name, (middle, found) in _propagate(model, phantom.volume, stack, truth).items():
            mask = truth[name]
            scores.append(
                PropagationScore(
                    seed, spacing_mm, name, dice(found, mask), middle, _ends(mask), _ends(found), len(mask)
                )
            )
    return PropagationScores(tuple(scores))


def _propagate(
    model: ConceptModel, volume: Volume, stack: SliceStack, truth: Mapping[str, Mask]
) -> dict[str, tuple[int, Mask]]:
    """Per organ the slice that was given and the mask ``[slice, row, column]`` that was made from it."""
    assert model.tracker is not None
    tracker = Tracker(model.tracker)
    features = list(_features(model, tracker, volume, stack))
    results = {}
    for name, mask in truth.items():
        first, last = _ends(mask)
        middle, found = (first + last) // 2, np.zeros_like(mask)
        session = TrackingSession(tracker, len(features))
        session.prompt(name, middle, features[middle], MaskPrompt(torch.from_numpy(mask[middle])))
        found[middle] = mask[middle]
        for order in (range(middle + 1, len(features)), range(middle - 1, -1, -1)):
            for index in order:
                tracked = session.step(index, features[index], reverse=order.step < 0)[name]
                here = _at_size(tracked, mask.shape[1:])
                if not here.any():
                    break
                found[index] = here
        results[name] = (middle, found)
    return results


@torch.inference_mode()
def _features(model: ConceptModel, tracker: Tracker, volume: Volume, stack: SliceStack) -> Iterator[TrackerFeatures]:
    slices, window = stack.extract(volume.array), choose_window(volume)
    for start in range(0, len(slices), _BATCH):
        encoded = model.encode_images(prepare_slices(slices[start : start + _BATCH], window, model.image_size))
        for number in range(len(encoded.tokens)):
            yield tracker.build_features(encoded[number : number + 1])


def _at_size(tracked: TrackedMask, shape: tuple[int, ...]) -> Mask:
    """The mask ``[row, column]`` at the volume's resolution; empty where the tracker says the object is gone."""
    logits = interpolate(tracked.logits[None, None], size=shape, mode="bilinear", align_corners=False)[0, 0]
    return np.asarray((logits > 0).numpy(force=True))


def _ends(mask: Mask) -> tuple[int, int]:
    """First and last slice with anything on it."""
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    return int(slices[0]), int(slices[-1])
