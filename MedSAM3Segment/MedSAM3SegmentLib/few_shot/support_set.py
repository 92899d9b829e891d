"""The labeled slices of one structure as SAM 3's tracker remembers them, and which of them a new slice is most like."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d, normalize

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.features.slice_encoder import SliceFeatures
from MedSAM3SegmentLib.models.detector import VisionFeatures
from MedSAM3SegmentLib.models.memory_bank import MemoryEntry
from MedSAM3SegmentLib.models.tracker import Tracker
from MedSAM3SegmentLib.models.tracker_types import MaskPrompt
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.progress import RunReporter, Stage
from MedSAM3SegmentLib.prompts.examples import Example

#: Labelled slices that are remembered for each new one. SAM 3's tracker looks at four prompted slices at most.
SUPPORT_PER_SLICE = 4


#: Labelled slices with the object that are kept of each example, spread evenly; more of them say hardly more.
MAX_SUPPORT_SLICES = 64


#: A labeled slice whose likeness is this much less than another's (of -1 to 1) has a vote e times smaller.
_LIKENESS_SCALE = 0.05


#: Fields along each side of a slice whose mean features are compared. Of 1, 2, 4 and all tokens, 4 tells best and with
#: little effort which slices of two phantoms show an organ (area under the curve 0.89, 1 field 0.86).
_POOLING_GRID = 4


#: An example with fewer labeled slices has no mean of its own to speak of.
_ENOUGH_FOR_A_MEAN = 8


#: Empty labeled slices on each side of the object that are compared with, to tell where it ends.
_EMPTY_SLICES_BESIDE = 16


@dataclass(frozen=True, eq=False)
class _SupportSlice:
    """A labeled slice.

    Attributes:
        look: ``[feature]``, what the slice looks like.
        memory: what the tracker remembers of it, or None where the structure is not on it.
    """

    look: torch.Tensor
    memory: MemoryEntry | None


@dataclass(eq=False)
class SupportSet:
    """The labeled slices of one structure, as the tracker remembers them."""

    by_example: list[list[_SupportSlice]] = field(default_factory=list)

    def add(
        self, example: Example, features: SliceFeatures, window: Window, tracker: Tracker, reporter: RunReporter
    ) -> None:
        """Remember the labeled slices of an example.

        Raises:
            InputError: the structure is on none of the slices that are said to be labeled.
            Cancelled: between two slices.
        """
        masks = features.stack.extract(example.mask)
        chosen = choose_support_slices(masks, example)
        stage = reporter.begin(Stage.SEGMENTING, len(chosen))
        slices = []
        for index in chosen:
            stage.check()
            image = features.of([index], window)
            memory = None
            if masks[index].any():
                seen = tracker.build_features(image)
                given = tracker.answer(seen, MaskPrompt(torch.from_numpy(np.ascontiguousarray(masks[index]))))
                memory = tracker.encode_memory(seen, given, prompted=True, dtype=torch.float32)
            slices.append(_SupportSlice(pool_features(image), memory))
            stage.advance()
        self.by_example.append(slices)

    def nearest(self, looks: torch.Tensor) -> list[tuple[list[MemoryEntry], float]]:
        """For each new slice the memories of the labeled ones most like it, and how far they say it is there.

        What all slices of a volume share tells them not apart, so their mean is taken away first.

        Args:
            looks: ``[slice, feature]`` of the whole new volume.

        Returns:
            Memories, best first, and the share of slices with the structure among all labeled ones, weighted by
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
            ([memory for n in order if (memory := supports[n].memory) is not None][:SUPPORT_PER_SLICE], share)
            for order, share in zip(orders, shares, strict=True)
        ]


def choose_support_slices(masks: BoolMask, example: Example) -> list[int]:
    """The labeled slices that are worth comparing with: some with the structure, and the empty ones beside it.

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
    if len(full) > MAX_SUPPORT_SLICES:
        places = np.linspace(0, len(full) - 1, MAX_SUPPORT_SLICES).round().astype(int)
        full = [full[place] for place in places]
    below = [index for index in labelled if index < full[0]][-_EMPTY_SLICES_BESIDE:]
    above = [index for index in labelled if index > full[-1]][:_EMPTY_SLICES_BESIDE]
    return sorted({*full, *below, *above})


def pool_features(image: VisionFeatures) -> torch.Tensor:
    """What one slice looks like, ``[feature]``: the means of its tokens in each of a few fields."""
    tokens = image.tokens.float()
    edge = round(tokens.shape[1] ** 0.5)
    spatial = tokens.transpose(1, 2).reshape(1, -1, edge, edge)
    return adaptive_avg_pool2d(spatial, _POOLING_GRID).flatten()
