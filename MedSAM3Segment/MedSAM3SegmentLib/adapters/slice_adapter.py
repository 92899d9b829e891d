"""An adapter that lets the image encoder see neighboring slices, which a model of single pictures does not.

After MA-SAM (Chen et al. 2024, arXiv 2309.08842): a bottleneck with a convolution across slices, added to features,
zero at first. There it is in every layer of the encoder; here it comes behind the last one, so that each slice goes
through the encoder once by itself, its features are kept as before, and the tracker, which was trained on those, gets
them unchanged. The convolution treats the slice before and the slice behind alike: which of them is which depends on
how a volume is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import gelu

from MedSAM3SegmentLib.errors import ModelError

#: Before the names of its weights in the file of an adapter.
SLICE_ADAPTER = "slice_adapter."

#: Modules one after another where a new one is trained, so that a slice's features depend on so many on each side.
REACH = 2

#: Channels of the encoder for each channel of the bottleneck.
_NARROWING = 4


class _Block(nn.Module):
    """Features plus what a slice and its two neighbors say about them; nothing at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = max(8, width // _NARROWING)
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, narrow)
        self.slice_conv = nn.Conv2d(narrow, narrow, 3, padding=1, groups=narrow)
        self.neighbor_conv = nn.Conv2d(narrow, narrow, 3, padding=1, groups=narrow, bias=False)
        self.up = nn.Linear(narrow, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        runs, slices, count, _ = tokens.shape
        edge = round(count**0.5)
        hidden = self.down(self.norm(tokens))
        shape = (runs * slices, -1, edge, edge)
        pictures = hidden.flatten(0, 1).transpose(1, 2).reshape(shape)
        beside = _mean_of_neighbors(hidden, there).flatten(0, 1).transpose(1, 2).reshape(shape)
        mixed = gelu(self.slice_conv(pictures) + self.neighbor_conv(beside))
        added: torch.Tensor = self.up(mixed.flatten(2).transpose(1, 2).reshape(runs, slices, count, -1))
        return tokens + added


class SliceAdapter(nn.Module):
    """Modules between slices behind an image encoder.

    Args:
        width: channels of the encoder's features.
        blocks: modules one after another.
    """

    def __init__(self, width: int, blocks: int = REACH) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))

    @property
    def reach(self) -> int:
        """Slices on each side that the features of a slice depend on."""
        return len(self.blocks)

    def forward(self, tokens: torch.Tensor, there: torch.Tensor | None = None) -> torch.Tensor:
        """Features of slices that know of their neighbors.

        Args:
            tokens: ``[run, slice, token, channel]``, tokens of a square picture; slices of a run are neighbors.
            there: bool ``[run, slice]``, False for places beyond an end of the volume, or None for none such.
        """
        if there is None:
            there = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        for block in self.blocks:
            tokens = block(tokens, there)
        return tokens

    def of_slices(
        self, tokens_of: Callable[[Sequence[int]], torch.Tensor], indices: Sequence[int], depth: int
    ) -> torch.Tensor:
        """Features ``[slice, token, channel]`` of some slices of a volume.

        Args:
            tokens_of: gives the encoder's features of slices by themselves, ``[slice, token, channel]``.
            indices: the slices wanted.
            depth: how many slices the volume has.
        """
        needed = sorted({n for i in indices for n in range(max(0, i - self.reach), min(depth, i + self.reach + 1))})
        alone = dict(zip(needed, tokens_of(needed), strict=True))
        found: dict[int, torch.Tensor] = {}
        for run in _runs(needed):
            found.update(zip(run, self(torch.stack([alone[index] for index in run])[None])[0], strict=True))
        return torch.stack([found[index] for index in indices])

    @classmethod
    def from_weights(cls, weights: Mapping[str, torch.Tensor], width: int, path: Path) -> SliceAdapter:
        """The adapter of a file.

        Args:
            weights: by name, without ``SLICE_ADAPTER``.
            width: channels of the base's image features.
            path: the file, for the error.

        Raises:
            ModelError: the weights are not whole, or of another base.
        """
        numbers = {name.split(".")[1] for name in weights if name.startswith("blocks.")}
        adapter = cls(width, len(numbers))
        expected = {name: tuple(value.shape) for name, value in adapter.state_dict().items()}
        if expected != {name: tuple(value.shape) for name, value in weights.items()}:
            wrong = sorted(name for name in {*expected, *weights} if expected.get(name) != _shape(weights.get(name)))
            raise ModelError(
                "The adapter {path} works between slices, but its weight '{name}' is missing, unknown or of another "
                "shape than the base has room for; use the base that it was trained on.",
                path=path,
                name=wrong[0],
            )
        adapter.load_state_dict({name: value.float() for name, value in weights.items()})
        return adapter.requires_grad_(False).eval()


def _mean_of_neighbors(hidden: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """The mean of the slices before and behind each; at an end the only one, and a lone slice itself."""
    weight = there.to(hidden.dtype)[..., None, None]
    beside, count = torch.zeros_like(hidden), torch.zeros_like(weight)
    beside[:, 1:] += (hidden * weight)[:, :-1]
    beside[:, :-1] += (hidden * weight)[:, 1:]
    count[:, 1:] += weight[:, :-1]
    count[:, :-1] += weight[:, 1:]
    return torch.where(count > 0, beside / count.clamp(min=1), hidden)


def _runs(indices: Sequence[int]) -> list[list[int]]:
    """Rising numbers as runs without a gap."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs


def _shape(value: torch.Tensor | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(value.shape)
