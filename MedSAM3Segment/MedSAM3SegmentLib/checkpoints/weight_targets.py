"""Where a weight of Meta's goes in transformers' ``Sam3VideoModel``, and how the simplest layers correspond."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import torch

#: Prefixes of Meta's full file; the file of an image model has the detector's names without one.
DETECTOR, TRACKER = "detector.", "tracker."

#: Prefixes of transformers' ``Sam3VideoModel``.
DETECTOR_MODEL, TRACKER_MODEL, TRACKER_NECK = "detector_model.", "tracker_model.", "tracker_neck."


class TensorTransform(Enum):
    """How a tensor is changed on its way."""

    NONE = "as it is"
    QUERY = "first third of the rows"
    KEY = "second third of the rows"
    VALUE = "last third of the rows"
    TRANSPOSE = "transposed"
    WITHOUT_FIRST = "without the class token's position, which SAM 3 never uses"
    AS_ROW = "one row of the target"

    def apply(self, tensor: torch.Tensor) -> torch.Tensor:
        """The changed tensor; a view where it can be."""
        if self in (TensorTransform.QUERY, TensorTransform.KEY, TensorTransform.VALUE):
            third = (TensorTransform.QUERY, TensorTransform.KEY, TensorTransform.VALUE).index(self)
            return tensor.chunk(3, dim=0)[third]
        if self is TensorTransform.TRANSPOSE:
            return tensor.t().contiguous()
        if self is TensorTransform.WITHOUT_FIRST:
            return tensor[:, 1:].contiguous()
        return tensor


@dataclass(frozen=True)
class KeyTarget:
    """Where a Meta tensor goes in ``Sam3VideoModel``; ``row`` counts where several Meta tensors make one."""

    name: str
    change: TensorTransform = TensorTransform.NONE
    row: int = 0


#: The name of a Meta tensor, ``*`` standing for a layer's number, and what it becomes.
Entry = tuple[str, tuple[KeyTarget, ...]]


def same(meta: str, ours: str) -> Iterator[Entry]:
    """A module with weight and bias."""
    for leaf in ("weight", "bias"):
        yield f"{meta}.{leaf}", (KeyTarget(f"{ours}.{leaf}"),)


def weight(meta: str, ours: str) -> Iterator[Entry]:
    """A module with weight alone."""
    yield f"{meta}.weight", (KeyTarget(f"{ours}.weight"),)


def fused(meta: str, ours: str) -> Iterator[Entry]:
    """Query, key and value in one; ``meta`` ends where ``weight`` or ``bias`` begins."""
    for leaf in ("weight", "bias"):
        yield (
            meta + leaf,
            (
                KeyTarget(f"{ours}.q_proj.{leaf}", TensorTransform.QUERY),
                KeyTarget(f"{ours}.k_proj.{leaf}", TensorTransform.KEY),
                KeyTarget(f"{ours}.v_proj.{leaf}", TensorTransform.VALUE),
            ),
        )
