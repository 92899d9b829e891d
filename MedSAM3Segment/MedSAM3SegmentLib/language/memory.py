"""Whether there is room for an image-text model: asked before it is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.checkpoints.weight_files import SafetensorsFile
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.models.memory import free_memory
from MedSAM3SegmentLib.units import format_bytes

if TYPE_CHECKING:
    import torch

#: Bytes besides the weights for one question. Estimated for Gemma 3 4B in bfloat16 with a picture of 896 x 896: 4096
#: patches attend to each other in 16 heads (0.54 GB at once), and 1500 tokens are kept in 34 layers (0.2 GB).
WORKING_BYTES = 2**30

#: Asks for the bytes that are free on a device; None where that cannot be told.
FreeMemory = Callable[["torch.device"], "int | None"]


def needed_bytes(folder: Path, dtype: torch.dtype) -> int:
    """Bytes that a model takes on its device.

    Args:
        folder: of the model, with its weights as safetensors.
        dtype: that it is loaded in.

    Raises:
        ModelError: a weight file is damaged.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        shapes |= SafetensorsFile(path).shapes
    return dtype.itemsize * sum(math.prod(shape) for shape in shapes.values()) + WORKING_BYTES


def make_room(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    give_up_others: Callable[[], None] | None = None,
    free: FreeMemory = free_memory,
) -> None:
    """Make sure that a model can be loaded.

    Args:
        give_up_others: lets go of what else is kept; called only where that is needed.
        free: asks for what is free.

    Raises:
        InputError: there is no room, also without the others.
        ModelError: a weight file is damaged.
    """
    import torch

    needed = needed_bytes(folder, dtype)
    # Weights are read into main memory first, wherever they go then.
    places = [(device, needed)]
    if device.type == "cuda":
        places.append((torch.device("cpu"), needed - WORKING_BYTES))
    missing = _missing(places, free)
    if missing is not None and give_up_others is not None:
        give_up_others()
        missing = _missing(places, free)
    if missing is None:
        return
    place, wanted, there = missing
    raise InputError(
        "The language model in {folder} needs {needed} of memory on {device} and {free} are free; close other "
        "programs, or use a smaller model, the rules or a server.",
        folder=folder.name,
        needed=format_bytes(wanted),
        device=str(place),
        free=format_bytes(there),
    )


def _missing(places: Sequence[tuple[torch.device, int]], free: FreeMemory) -> tuple[torch.device, int, int] | None:
    """The first device with less free than is needed there, with both numbers."""
    for place, wanted in places:
        there = free(place)
        if there is not None and there < wanted:
            return place, wanted, there
    return None
