"""Segmenting without words: what was segmented in one volume, or on some slices, is found in another.

As FATE-SAM does with SAM 2 (arXiv 2501.09138): each slice of the new volume is compared with the labelled slices by
its image features, the most similar ones are put into the tracker's memory as if they had been prompted, and the
tracker says where the same object is. What comes out is evidence, as from the detector; assembly is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d, normalize

from MedSAM3SegmentLib.detection.postprocess import EVIDENCE_FLOOR
from MedSAM3SegmentLib.errors import InputError, ModelError
from MedSAM3SegmentLib.features.slice_encoder import SliceFeatures
from MedSAM3SegmentLib.geometry.voxel_grid import SliceStack
from MedSAM3SegmentLib.models.detector import ImageFeatures
from MedSAM3SegmentLib.models.memory_bank import ObjectMemory, SliceMemory
from MedSAM3SegmentLib.models.tracker import Tracker
from MedSAM3SegmentLib.models.tracker_types import MaskPrompt, TrackedMask
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.progress import Watch
from MedSAM3SegmentLib.request import Stage
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.results.slice_detections import Detection, SliceEvidence, SoftMask
from MedSAM3SegmentLib.results.tracks import Track
from MedSAM3SegmentLib.search_region import Gate
from MedSAM3SegmentLib.volume import Volume

from .examples import Example

Mask = NDArray[np.bool_]

#: Labelled slices that are remembered for each new one. SAM 3's tracker looks at four prompted slices at most.
NEAREST = 4

#: Labelled slices with the object that are kept of each example, spread evenly; more of them say hardly more.
MOST_SUPPORT = 64

#: A labelled slice whose likeness is this much less than another's (of -1 to 1) has a vote e times smaller.
_LIKENESS_SCALE = 0.05

#: Fields along each side of a slice whose mean features are compared. Of 1, 2, 4 and all tokens, 4 tells best and with
#: little effort which slices of two phantoms show an organ (area under the curve 0.89, 1 field 0.86).
_FIELDS = 4

#: An example with fewer labelled slices has no mean of its own to speak of.
_ENOUGH_FOR_A_MEAN = 8

#: Lowest score that counts where a request names none.
LIKENESS_THRESHOLD = 0.5

#: Empty labelled slices on each side of the object that are compared with, to tell where it ends.
_BESIDE = 16


@dataclass(frozen=True, eq=False)
class _Support:
    """A labelled slice.

    Attributes:
        look: ``[feature]``, what the slice looks like.
        memory: what the tracker remembers of it, or None where the structure is not on it.
    """

    look: torch.Tensor
    memory: SliceMemory | None


@dataclass(eq=False)
class Supports:
    """The labelled slices of one structure, as the tracker remembers them."""

    by_example: list[list[_Support]] = field(default_factory=list)

    def add(self, example: Example, features: SliceFeatures, window: Window, tracker: Tracker, watch: Watch) -> None:
        """Remember the labelled slices of an example.

        Raises:
            InputError: the structure is on none of the slices that are said to be labelled.
            Cancelled: between two slices.
        """
        masks = features.stack.extract(example.mask)
        chosen = _chosen(masks, example)
        stage = watch.begin(Stage.SEGMENTING, len(chosen))
        slices = []
        for index in chosen:
            stage.check()
            image = features.of([index], window)
            memory = None
            if masks[index].any():
                seen = tracker.build_features(image)
                given = tracker.answer(seen, MaskPrompt(torch.from_numpy(np.ascontiguousarray(masks[index]))))
                memory = tracker.remember(seen, given, prompted=True, dtype=torch.float32)
            slices.append(_Support(_pooled(image), memory))
            stage.advance()
        self.by_example.append(slices)

    def nearest(self, looks: torch.Tensor) -> list[tuple[list[SliceMemory], float]]:
        """For each new slice the memories of the labelled ones most like it, and how far they say it is there.

        What all slices of a volume share tells them not apart, so their mean is taken away first.

        Args:
            looks: ``[slice, feature]`` of the whole new volume.

        Returns:
            Memories, best first, and the share of slices with the structure among all labelled ones, weighted by
            likeness, 0 to 1.
        """
        common = looks.mean(0)
        compared = []
        for slices in self.by_example:
            own = torch.stack([support.look for support in slices])
            compared.append(own - (own.mean(0) if len(slices) >= _ENOUGH_FOR_A_MEAN else common))
        supports = [support for slices in self.by_example for support in slices]
        there = torch.tensor([support.memory is not None for support in supports], device=looks.device)
        likeness = normalize(looks - common, dim=1) @ normalize(torch.cat(compared), dim=1).T
        shares = ((likeness / _LIKENESS_SCALE).softmax(1) * there).sum(1).tolist()
        orders = likeness.argsort(dim=1, descending=True, stable=True).tolist()
        return [
            ([memory for n in order if (memory := supports[n].memory) is not None][:NEAREST], share)
            for order, share in zip(orders, shares, strict=True)
        ]


def look_like(
    examples: Sequence[Example],
    features: SliceFeatures,
    window_of: Callable[[Volume], Window],
    gate: Gate,
    watch: Watch,
    show: Callable[[SliceEvidence], None],
) -> list[SliceEvidence]:
    """Where the structure of ``examples`` is on each slice that ``gate`` lets through.

    Args:
        examples: of one structure; they are cut in the same plane.
        features: of the volume, cut as the gate's stack is.
        window_of: the window to see a volume through.
        show: given each slice of the volume as soon as it is known.

    Returns:
        One item per slice of the gate.

    Raises:
        InputError: an example shows nothing.
        ModelError: the model has no tracker.
        Cancelled: between two slices.
    """
    model = features.model
    if model.tracker is None:
        raise no_tracker(model.card.name)
    if not gate.slices:
        return []
    tracker = Tracker(model.tracker)
    supports = Supports()
    for example in examples:
        shown = features.elsewhere(example.volume, SliceStack.along(example.volume.grid, gate.stack.plane))
        supports.add(example, shown, window_of(example.volume), tracker, watch)
    window = window_of(features.volume)
    stage = watch.begin(Stage.SEGMENTING, 2 * len(gate.slices))
    looks = []
    for index in gate.slices:
        stage.check()
        looks.append(_pooled(features.of([index], window)))
        stage.advance()
    evidence = []
    for index, (memories, share) in zip(gate.slices, supports.nearest(torch.stack(looks)), strict=True):
        stage.check()
        image = features.of([index], window)
        # As if they were the slices just before, the most similar one the nearest.
        prompted = {len(memories) - 1 - rank: memory for rank, memory in enumerate(memories)}
        place = len(memories)
        answer = tracker.track(tracker.build_features(image), place, place + 1, ObjectMemory(prompted), reverse=False)
        evidence.append(_evidence(index, answer, share))
        show(evidence[-1])
        stage.advance()
    return evidence


def no_tracker(model: str) -> ModelError:
    """The refusal where a model has no tracker."""
    return ModelError(
        "The model {model} has no tracker, which segmenting by examples needs; choose another one.", model=model
    )


def steps_like(examples: Sequence[Example], gate: Gate) -> int:
    """How many slices ``look_like`` looks at; each new one twice.

    Raises:
        InputError: as ``look_like``.
    """
    if not gate.slices:
        return 0
    stacks = [SliceStack.along(example.volume.grid, gate.stack.plane) for example in examples]
    chosen = [_chosen(stack.extract(one.mask), one) for stack, one in zip(stacks, examples, strict=True)]
    return sum(map(len, chosen)) + 2 * len(gate.slices)


def on_some_slices(example: Example, volume: Volume, stack: SliceStack) -> Example:
    """An example in ``volume`` itself as one of the slices with the structure.

    A whole volume that is labelled leaves nothing to do, so what is empty there is not known yet.
    """
    if example.slices is not None or example.volume.content_hash != volume.content_hash:
        return example
    there = np.flatnonzero(stack.extract(example.mask).any(axis=(1, 2)))
    return replace(example, slices=tuple(there.tolist()))


def labelled_slices(examples: Sequence[Example], volume: Volume, stack: SliceStack) -> dict[int, Mask]:
    """The slices ``[row, column]`` of ``volume`` itself that the examples label, by index."""
    labelled: dict[int, Mask] = {}
    for example in examples:
        if example.slices is not None and example.volume.content_hash == volume.content_hash:
            masks = stack.extract(example.mask)
            labelled |= {index: masks[index] for index in example.slices}
    return labelled


def with_labelled_slices(concept: ConceptResult, labelled: Mapping[int, Mask], stack: SliceStack) -> ConceptResult:
    """An assembled concept as tracks, whose labelled slices come back as they are when it is assembled again."""
    if not labelled:
        return concept
    tracks = list(concept.tracks)
    if not tracks:
        labels = stack.extract(concept.instance_map)
        for instance in concept.instances:
            extent = range(instance.first_slice, instance.last_slice + 1)
            masks = {index: SoftMask.of(labels[index] == instance.label) for index in extent}
            scores = {index: concept.score_by_slice.get(index, instance.score) for index in extent}
            tracks.append(Track((), instance.score, masks, scores))
    first = tracks[0] if tracks else Track((), 1.0, {}, {})
    drawn = tuple(sorted(labelled))
    masks = {**first.masks, **{index: SoftMask.of(mask) for index, mask in labelled.items()}}
    scores = {**first.object_scores, **{index: float(mask.any()) for index, mask in labelled.items()}}
    labelled_track = replace(first, seeds=drawn, score=1.0, masks=masks, object_scores=scores, drawn=drawn, shown=True)
    return replace(concept, tracks=(labelled_track, *tracks[1:]))


def _evidence(index: int, answer: TrackedMask, share: float) -> SliceEvidence:
    """What the tracker found, as a detection.

    The score is the geometric mean of what the tracker says and of what the labelled slices like this one say.
    """
    there = float(answer.object_score.sigmoid())
    score = (there * share) ** 0.5
    soft = SoftMask.of(answer.logits.sigmoid().float().numpy(force=True))
    if score < EVIDENCE_FLOOR or soft.probability.size == 0:
        return SliceEvidence(index, min(score, EVIDENCE_FLOOR), share)
    rows, columns = soft.size
    height, width = soft.probability.shape
    box = (soft.left / columns, soft.top / rows, (soft.left + width) / columns, (soft.top + height) / rows)
    return SliceEvidence(index, score, share, (Detection(score, there, share, box, soft),))


def _chosen(masks: Mask, example: Example) -> list[int]:
    """The labelled slices that are worth comparing with: some with the structure, and the empty ones beside it.

    Args:
        masks: bool ``[slice, row, column]`` of the example.
    """
    there = np.asarray(masks.any(axis=(1, 2)))
    count = len(there)
    labelled = range(count) if example.slices is None else example.slices
    if not all(0 <= index < count for index in labelled):
        raise InputError(
            "The labelled slices of {volume} are not all among its {count} slices.",
            volume=example.volume.name,
            count=count,
        )
    full = [index for index in labelled if there[index]]
    if not full:
        raise InputError(
            "The structure is on none of the labelled slices of {volume}; name others.", volume=example.volume.name
        )
    if len(full) > MOST_SUPPORT:
        places = np.linspace(0, len(full) - 1, MOST_SUPPORT).round().astype(int)
        full = [full[place] for place in places]
    below = [index for index in labelled if index < full[0]][-_BESIDE:]
    above = [index for index in labelled if index > full[-1]][:_BESIDE]
    return sorted({*full, *below, *above})


def _pooled(image: ImageFeatures) -> torch.Tensor:
    """What one slice looks like, ``[feature]``: the means of its tokens in each of a few fields."""
    tokens = image.tokens.float()
    edge = round(tokens.shape[1] ** 0.5)
    spatial = tokens.transpose(1, 2).reshape(1, -1, edge, edge)
    return adaptive_avg_pool2d(spatial, _FIELDS).flatten()
