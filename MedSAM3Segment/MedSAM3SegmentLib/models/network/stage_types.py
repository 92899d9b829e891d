"""What goes into the detector's stages and between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from MedSAM3SegmentLib.models.detector import FeaturePyramid

#: Label of a box that is only padding (transformers' convention).
PADDING_LABEL = -10


@dataclass(frozen=True, eq=False)
class BoxPrompts:
    """Exemplar boxes, one set per (image, phrase) pair.

    Attributes:
        boxes: ``[pair, box, 4]`` as center x, center y, width, height in fractions of the slice.
        labels: ``[pair, box]``: 1 things like this, 0 not like this, -10 padding.
    """

    boxes: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def none(cls, pairs: int) -> BoxPrompts:
        """One padding box per pair.

        Meta's SAM 3 appends the geometry encoder's CLS token even when no box is drawn; transformers leaves it out
        unless it is given a box. A masked one brings it back (largest logit difference 1e-5 instead of 4).
        """
        return cls(torch.zeros(pairs, 1, 4), torch.full((pairs, 1), PADDING_LABEL))

    @property
    def are_padding(self) -> bool:
        """Whether no box is drawn."""
        return bool((self.labels == PADDING_LABEL).all())


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """What the detector is asked, as tokens: words, or boxes.

    Attributes:
        tokens: ``[pair, token, channel]``.
        mask: bool ``[pair, token]``, False on padding.
    """

    tokens: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True, eq=False)
class SharedStages:
    """What all phrases on the same slices share.

    Attributes:
        pyramid: the neck's, each slice once.
        attended: the coarsest level that counts after the encoder's first self-attention, ``[slice, token, channel]``.
        positions: of its tokens, ``[slice or 1, token, channel]``.
        geometry: the tokens of no box at all.
        lateral: what each finer level adds inside the pixel decoder, coarse to fine, ``[slice, channel, row, column]``,
            each slice once.
        doubling: the kernel of each transposed convolution, ``[channel in, channel out, 4, 4]``; none where features
            are doubled and convolved one after the other.
        times: how often each slice comes in a row, to meet as many phrases.
    """

    pyramid: FeaturePyramid
    attended: torch.Tensor
    positions: torch.Tensor
    geometry: PromptTokens
    lateral: tuple[torch.Tensor, ...]
    doubling: tuple[torch.Tensor, ...]
    times: int = 1

    def repeat_each(self, times: int) -> SharedStages:
        """Every slice ``times`` times in a row, to meet as many phrases."""
        if times == 1:
            return self

        def repeat(part: torch.Tensor) -> torch.Tensor:
            return part.repeat_interleave(times, 0)

        # The large ones are not copied but met as they are.
        return replace(
            self,
            attended=repeat(self.attended),
            positions=self.positions if self.positions.shape[0] == 1 else repeat(self.positions),
            geometry=PromptTokens(repeat(self.geometry.tokens), repeat(self.geometry.mask)),
            times=self.times * times,
        )
