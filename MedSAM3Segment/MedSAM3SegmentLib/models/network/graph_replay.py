"""Parts of the network recorded as CUDA graphs: hundreds of kernels that one call queues in place of each its own.

Python takes longer to queue what a phrase adds than a large GPU takes to compute it, and longer still beside a busy
Slicer. A graph computes where it was recorded: inputs are copied to the same places, weights are read where they lay,
and answers are copied away before they are written over. Anything that does not come out as without it turns recording
off. Written by PyTorch's documentation of CUDA graphs and not run on a GPU yet, so that ``--cuda-graphs`` asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from MedSAM3SegmentLib.messages.message import Message, message

Tensors = tuple[torch.Tensor, ...]

#: Computes tensors from tensors, the same from the same, without asking the GPU what is in them.
Compute = Callable[[Tensors], Tensors]

#: Each shape of the inputs is a recording of its own, with memory of its own for what goes in and comes out.
MOST_RECORDINGS = 8

#: The largest difference from the answer without a graph, of the largest number in it: rounding of bfloat16.
_TOLERANCE = 2**-7


@dataclass(frozen=True, eq=False)
class Recording:
    """A part that was recorded.

    Attributes:
        inputs: where it reads.
        outputs: where it writes.
        replay: queues all of it.
    """

    inputs: Tensors
    outputs: Tensors
    replay: Callable[[], None]


Recorder = Callable[[Compute, Tensors], Recording]


class CudaGraphRecorder:
    """Records on the GPU that the inputs are on; all graphs compute in the same memory, one after the other."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, compute: Compute, inputs: Tensors) -> Recording:
        """Record ``compute``."""
        kept = tuple(tensor.clone() for tensor in inputs)
        device = kept[0].device
        current, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            # Libraries choose how to compute, and ask for memory, when they are called first.
            for _ in range(2):
                compute(kept)
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device), torch.cuda.graph(graph, pool=self._pool):
            outputs = compute(kept)
        self._pool = graph.pool()
        return Recording(kept, outputs, graph.replay)


class GraphReplay:
    """Records parts of a network, each when it is asked a second time with inputs of the same shapes.

    Args:
        weights: what the parts read besides their inputs; where one of them moves, as adapters are merged, what was
            recorded is forgotten.
        record: how they are recorded; by default as CUDA graphs.

    Attributes:
        given_up: why nothing is recorded any more, one sentence; None while all is well.
    """

    def __init__(self, weights: Iterable[torch.Tensor], record: Recorder | None = None) -> None:
        self._weights, self._record = tuple(weights), record or CudaGraphRecorder()
        self._places: tuple[int, ...] = ()
        self._seen: set[Hashable] = set()
        self._recordings: dict[Hashable, Recording] = {}
        self.given_up: Message | None = None

    def run(self, name: Hashable, compute: Compute, inputs: Tensors) -> Tensors:
        """``compute(inputs)``, by a recording where there is one.

        Args:
            name: of the part, with all that it depends on besides its inputs and the weights.
        """
        if self.given_up is not None or torch.is_grad_enabled():
            return compute(inputs)
        places = tuple(weight.data_ptr() for weight in self._weights)
        if places != self._places:
            self._places = places
            self._recordings.clear()
            self._seen.clear()
        shapes = tuple((tensor.shape, tensor.dtype, tensor.stride()) for tensor in inputs)
        # What was made in inference mode cannot be written to outside of it.
        key = (name, shapes, torch.is_inference_mode_enabled())
        recording = self._recordings.get(key)
        if recording is not None:
            return _replay(recording, inputs)
        answer = compute(inputs)
        if key in self._seen and len(self._recordings) < MOST_RECORDINGS:
            self._add(key, compute, inputs, answer)
        self._seen.add(key)
        return answer

    def _add(self, key: Hashable, compute: Compute, inputs: Tensors, answer: Tensors) -> None:
        try:
            recording = self._record(compute, inputs)
            replayed = _replay(recording, inputs)
        except RuntimeError as error:  # CUDA's errors, too little memory among them
            self._give_up(str(error).splitlines()[0])
            return
        if all(map(_are_alike, answer, replayed)):
            self._recordings[key] = recording
        else:
            self._give_up("a recorded graph gave another answer")

    def _give_up(self, why: str) -> None:
        self._recordings.clear()
        self.given_up = message("CUDA graphs are not used: {why}. Answers are the same without them.", why=why)


def _replay(recording: Recording, inputs: Tensors) -> Tensors:
    for place, given in zip(recording.inputs, inputs, strict=True):
        place.copy_(given)
    recording.replay()
    return tuple(tensor.clone() for tensor in recording.outputs)


def _are_alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    largest = float(one.abs().amax()) if one.numel() else 0.0
    return torch.allclose(one, other, rtol=0.0, atol=_TOLERANCE * largest, equal_nan=True)
