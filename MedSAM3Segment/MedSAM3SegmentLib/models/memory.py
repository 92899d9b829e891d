"""How much memory a run takes, how much is free, and what to do when it was not enough."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import psutil
import torch

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.units import format_bytes

if TYPE_CHECKING:
    from .detector import Sam3Detector

#: GPUs with less memory are those sold with 8 GB or less.
SMALL_GPU_BYTES = 9 * 1000**3

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a run needs on its device.

    Attributes:
        weights: the network's.
        working: what a batch needs besides.
    """

    weights: int
    working: int

    @property
    def total(self) -> int:
        return self.weights + self.working


def estimate_memory(model: Sam3Detector, batch: int) -> MemoryEstimate:
    """What running ``batch`` slices at a time takes.

    Counts the largest tensors that live at once: the image encoder's widest layer, the pyramid, and one phrase's mask
    head. Buffers of matrix products and the allocator's waste are the factor of 2: full-size SAM 3 in bfloat16 was
    measured at 604 MB besides its weights.
    """
    config = model.network.config
    vit = config.vision_config.backbone_config
    grid = model.image_size // int(vit.patch_size)
    width, queries = int(config.detr_decoder_config.hidden_size), int(config.detr_decoder_config.num_queries)
    size = model.network.dtype.itemsize
    encoder = grid**2 * (8 * int(vit.hidden_size) + 2 * int(vit.intermediate_size))
    levels = (16 + 4 + 1 + 0.25) * grid**2 * width * 2
    masks = 16 * grid**2 * (4 * width + 2 * queries)
    weights = sum(value.numel() * value.element_size() for value in model.network.parameters())
    return MemoryEstimate(weights, int(2 * batch * size * (max(encoder, levels + masks))))


def choose_batch_size(model: Sam3Detector, wanted: int) -> int:
    """The largest batch, at most ``wanted``, whose estimate fits into what is free beside the loaded weights.

    Raises:
        InputError: not even one slice fits.
    """
    free = free_memory(model.device)
    if free is None:
        return wanted
    needed = estimate_memory(model, 1).working
    if needed > free:
        raise InputError(
            "One slice needs about {needed} of memory on {device} and {free} are free; close other programs, or "
            "use a smaller --resolution or another --device.",
            needed=format_bytes(needed),
            device=str(model.device),
            free=format_bytes(free),
        )
    return max(1, min(wanted, free // needed))


def save_memory_on_small_gpu(model: Sam3Detector) -> bool:
    """Leave a GPU of 8 GB or less to what each slice needs; answers stay the same.

    The text encoder, four tenths of full-size SAM 3, goes to main memory, where phrases are encoded once a request, and
    so do the features that are kept. Returns whether the model is on such a GPU.
    """
    if model.device.type != "cuda" or torch.cuda.get_device_properties(model.device).total_memory > SMALL_GPU_BYTES:
        return False
    model.move_text_encoder_away()
    model.features_device = torch.device("cpu")
    torch.cuda.empty_cache()
    return True


def features_budget(device: torch.device, most: int) -> int:
    """Bytes of features to keep on a device: at most ``most``, and half of what is free, since runs need the rest."""
    free = free_memory(device)
    return most if free is None else min(most, free // 2)


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device, or None where that cannot be told."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What PyTorch holds in reserve is free for its own use.
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory()) - int(torch.mps.current_allocated_memory())
    return _free_main_memory()


def _free_main_memory() -> int | None:
    try:
        return int(psutil.virtual_memory().available)
    except OSError:
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        sign in text for sign in ("out of memory", "can't allocate memory", "alloc_failed", "not enough memory")
    )


@dataclass(frozen=True)
class MemoryReducer:
    """A way to free memory that costs only time.

    Attributes:
        done: one sentence for the user once it was taken.
    """

    take: Callable[[], None]
    done: Message


class BatchGuard:
    """Runs work in batches that shrink when memory runs out.

    Each time that happens the batch is halved; at one item the reliefs are taken in turn; after that the run ends with
    a sentence that says what to do. The smaller batch stays for the rest of the run.

    Args:
        size: items to begin with.
        reliefs: what can be moved out of the way.
        say: told each step, one sentence.
    """

    def __init__(
        self, size: int, reliefs: Sequence[MemoryReducer] = (), say: Callable[[Message], None] | None = None
    ) -> None:
        self.size = max(size, 1)
        self._reliefs = list(reliefs)
        self._say = say or _say_nothing

    def run(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Answer]]) -> list[Answer]:
        """The answers to all items, in order.

        Args:
            work: answers a batch, one answer per item; may be asked again for items it failed on.

        Raises:
            InputError: one item alone does not fit.
        """
        answers: list[Answer] = []
        while len(answers) < len(items):
            batch = items[len(answers) : len(answers) + self.size]
            failure = ""
            try:
                answers.extend(work(batch))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                failure = str(error)
            if failure:
                # Outside the handler, whose traceback would keep the failed batch alive.
                self._shrink(len(batch))
        return answers

    def _shrink(self, failed: int) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if failed > 1:
            self.size = max(failed // 2, 1)
            self._say(message("Memory ran out; going on with {count} at a time.", count=self.size))
        elif self._reliefs:
            relief = self._reliefs.pop(0)
            relief.take()
            self._say(relief.done)
        else:
            raise InputError(
                "Memory ran out on a single slice; close other programs, or use a smaller --resolution or --device cpu."
            )


def memory_reducers(model: Sam3Detector) -> tuple[MemoryReducer, ...]:
    """What a model can move from its GPU to main memory."""
    if model.network.text_projection.weight.device.type == "cpu":
        return ()
    sentence = message("Memory ran out; the text encoder was moved to main memory, which slows down new phrases.")
    return (MemoryReducer(model.move_text_encoder_away, sentence),)


def _say_nothing(sentence: Message) -> None:
    del sentence
