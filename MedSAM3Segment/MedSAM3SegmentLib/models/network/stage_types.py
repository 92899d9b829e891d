"""What goes into the detector's stages, between them, and comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers.models.sam3.modeling_sam3 import Sam3ImageSegmentationOutput

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

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the tokens."""
        rows, columns = self.pyramid.levels[-2].shape[-2:]
        return rows, columns

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


@dataclass(frozen=True, eq=False)
class DenseMasks:
    """The mask logits of all queries, as transformers' own forward pass gives them.

    Attributes:
        logits: float32 ``[pair, query, row, column]``.
    """

    logits: torch.Tensor

    def of(self, pair: int, queries: Sequence[int]) -> torch.Tensor:
        """Those of some queries, float32 ``[query, row, column]``."""
        return self.logits[pair, list(queries)]

    def all(self) -> torch.Tensor:
        """Those of all pairs and queries."""
        return self.logits


@dataclass(frozen=True, eq=False)
class QueryMasks:
    """Mask logits that are computed for the queries that are asked for: most score too low for anybody to look at them.

    Attributes:
        kernels: what each query looks for in a pixel, ``[pair, query, channel]``.
        constants: what is added for each, ``[pair, query]``.
        pixels: the pixel decoder's features, ``[pair, channel, row, column]``.
    """

    kernels: torch.Tensor
    constants: torch.Tensor
    pixels: torch.Tensor

    def of(self, pair: int, queries: Sequence[int]) -> torch.Tensor:
        """Those of some queries, float32 ``[query, row, column]``."""
        some = list(queries)
        kernels, constants = self.kernels[pair, some], self.constants[pair, some]
        return QueryMasks(kernels[None], constants[None], self.pixels[pair : pair + 1]).all()[0]

    def all(self) -> torch.Tensor:
        """Those of all pairs and queries, float32 ``[pair, query, row, column]``."""
        # In the order in which the pixels lie.
        pixels = self.pixels.permute(0, 2, 3, 1).flatten(1, 2).to(self.kernels.dtype)
        logits = torch.baddbmm(self.constants[:, None], pixels, self.kernels.transpose(1, 2)).float()
        return logits.view(len(logits), *self.pixels.shape[-2:], -1).permute(0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class DetectorOutput:
    """The network's answer for pairs of image and phrase, before any threshold, float32.

    Attributes:
        pred_logits: ``[pair, query]``, without presence.
        presence_logits: ``[pair]``.
        pred_boxes: ``[pair, query, 4]`` as ``(x0, y0, x1, y1)`` fractions of the slice.
        masks: logits of each query's mask, which take time and memory: ask for those that are looked at.
        semantic_seg: logits ``[pair, row, column]``.
    """

    pred_logits: torch.Tensor
    presence_logits: torch.Tensor
    pred_boxes: torch.Tensor
    masks: DenseMasks | QueryMasks
    semantic_seg: torch.Tensor

    @property
    def pred_masks(self) -> torch.Tensor:
        """The logits of all masks, ``[pair, query, row, column]``."""
        return self.masks.all()

    @classmethod
    def of(cls, output: Sam3ImageSegmentationOutput) -> DetectorOutput:
        """What transformers' own forward pass gives."""
        return cls(
            output.pred_logits.float(),
            output.presence_logits[:, 0].float(),
            output.pred_boxes.float(),
            DenseMasks(output.pred_masks.float()),
            output.semantic_seg[:, 0].float(),
        )
