"""The one image-text model that is kept loaded beside SAM 3, and what goes where there is no room for both."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path

from .memory import FreeMemory, make_room
from .model import LanguageModel, check_folder

#: Bytes that must be free beside a language model before SAM 3 is loaded, or the language model goes: full-size SAM 3
#: with its tracker in float32 (3.4 GB), or in bfloat16 with its work (2.3 GB).
SEGMENTER_BYTES = 4 * 10**9


class KeptLanguageModel:
    """Loads a model when it is first asked for; another one takes its place.

    One thread only, but for ``size``, ``place`` and ``is_loaded``.

    Args:
        give_up_others: lets go of what else is kept, where there is no room beside it.
        free: asks for the bytes that are free on a device.
    """

    def __init__(self, give_up_others: Callable[[], None] | None = None, free: FreeMemory | None = None) -> None:
        self._give_up_others = give_up_others
        self._free = free
        self._key: object = None
        self._place = ""
        self._model: LanguageModel | None = None

    @property
    def is_loaded(self) -> bool:
        return self._model is not None

    @property
    def size(self) -> int:
        """Bytes of the weights that are kept."""
        model = self._model
        return 0 if model is None else model.size

    @property
    def place(self) -> str:
        """``RAM`` or ``GPU``."""
        return "RAM" if self._place.startswith("cpu") else "GPU"

    def has(self, folder: Path, device: str) -> bool:
        """Whether a model need not be loaded first, because it is kept and its files are as they were."""
        return self._model is not None and self._key == _key_of(folder, device)

    def get(self, folder: Path, device: str = "auto") -> LanguageModel:
        """A model, loaded if need be.

        Args:
            device: ``auto``, ``cuda``, ``mps`` or ``cpu``.

        Raises:
            InputError: there is no room for it, or the device is not there.
            ModelError, PackageError: it cannot be loaded.
        """
        if self._model is not None and self.has(folder, device):
            return self._model
        import torch

        from MedSAM3SegmentLib.models.devices import choose_device, choose_dtype
        from MedSAM3SegmentLib.models.memory import free_memory

        check_folder(folder)
        self.clear()
        place = choose_device(device)
        dtype = choose_dtype("auto", place)
        key = _key_of(folder, device)
        make_room(folder, torch.device(place), dtype, self._give_up_others, self._free or free_memory)
        self._model, self._key, self._place = LanguageModel(folder, torch.device(place), dtype), key, place
        return self._model

    def leave_room(self, device: str) -> bool:
        """Let go of the model where SAM 3 could not be loaded beside it; returns whether it went.

        Raises:
            InputError: the device is not there.
        """
        if self._model is None:
            return False
        import torch

        from MedSAM3SegmentLib.models.devices import choose_device
        from MedSAM3SegmentLib.models.memory import free_memory

        place = torch.device(choose_device(device))
        free = (self._free or free_memory)(place)
        if place.type != torch.device(self._place).type or free is None or free >= SEGMENTER_BYTES:
            return False
        self.clear()
        return True

    def clear(self) -> None:
        """Give the model's memory back."""
        if self._model is None:
            return
        self._model, self._key = None, None
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()


def _key_of(folder: Path, device: str) -> object:
    files = [*sorted(folder.glob("*.safetensors")), folder / "config.json"]
    try:
        return folder.resolve(), device, [(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    except OSError:
        return folder, device, None
