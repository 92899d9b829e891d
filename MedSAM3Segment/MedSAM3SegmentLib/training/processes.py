"""Several processes that train one model together, as ``torchrun`` starts them.

Each draws the same batch from the same seed and takes its part of it; gradients are added up. Since the losses of a
part are divided by the counts of the whole batch, the sum is the gradient of the whole. DistributedDataParallel (and
accelerate, which wraps it) takes the mean over processes instead, which differs where a part shows fewer objects.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

    from .batch_plan import Batch

Item = TypeVar("Item")

#: The others wait while the first validates and writes.
_LONGEST_WAIT = timedelta(hours=12)


@dataclass(frozen=True)
class Processes:
    """How many there are, and which this one is.

    Attributes:
        rank: from 0; the first is the one that writes and speaks.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def parts_of(self, batch: Batch, accumulate: int = 1) -> Iterator[Batch]:
        """The slices of a batch that this one looks at, some at a time.

        Args:
            accumulate: parts that the batch is gone through in at least, as far as it has slices.
        """
        slices = len(batch.pictures)
        parts = min(max(accumulate, self.count), slices)
        edges = [slices * number // parts for number in range(parts + 1)]
        for number in range(self.rank, parts, self.count):
            yield batch.part(edges[number], edges[number + 1])

    def combine(self, parameters: Sequence[torch.nn.Parameter], losses: Mapping[str, float]) -> Mapping[str, float]:
        """Add up gradients and losses of all processes."""
        if self.count == 1:
            return losses
        import torch

        has_gradient = torch.tensor([float(p.grad is not None) for p in parameters])
        _add_up(has_gradient, parameters)
        for parameter, anywhere in zip(parameters, has_gradient.tolist(), strict=True):
            if anywhere and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        _add_up(flat, parameters)
        for gradient, part in zip(gradients, _parts(flat, gradients), strict=True):
            gradient.copy_(part.view_as(gradient))
        total: dict[str, float] = {}
        for own in self.gather(dict(losses)):
            for name, value in own.items():
                total[name] = total.get(name, 0.0) + value
        return total

    def gather(self, own: Item) -> list[Item]:
        """What each of them has, in their order; all must ask for it."""
        if self.count == 1:
            return [own]
        from torch import distributed

        gathered: list[Any] = [None] * self.count
        distributed.all_gather_object(gathered, own)
        return gathered


#: One process by itself.
ALONE = Processes()


def _parts(flat: torch.Tensor, like: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """One vector taken apart into as many numbers as each of some tensors has."""
    import torch

    return torch.split(flat, [one.numel() for one in like])  # type: ignore[no-untyped-call, no-any-return]


def _add_up(values: torch.Tensor, parameters: Sequence[torch.nn.Parameter]) -> None:
    """In place, over all processes, where the parameters are."""
    from torch import distributed

    there = values.to(parameters[0].device)
    distributed.all_reduce(there)
    values.copy_(there)


@contextmanager
def training_processes(device: str) -> Iterator[tuple[Processes, str]]:
    """The processes that ``torchrun`` started, or this one alone; and the device of this one."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or "RANK" not in os.environ:
        yield Processes(), device
        return
    import torch
    from torch import distributed

    if device.startswith("cuda"):
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=_LONGEST_WAIT)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size()), device
        # The first still writes; whoever ends before it may take what is not whole for a failure.
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
