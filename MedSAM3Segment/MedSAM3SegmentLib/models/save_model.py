"""Any source as one safetensors folder of this project, with card, tokenizer and checksums."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from MedSAM3SegmentLib.checkpoints.checkpoint import Part
from MedSAM3SegmentLib.checkpoints.hashing import write_checksums
from MedSAM3SegmentLib.errors import InputError, ModelError
from MedSAM3SegmentLib.io.atomic_write import atomic_folder

if TYPE_CHECKING:
    from .detector import Sam3Detector

WEIGHTS_FILE = "model.safetensors"


def save_model(
    model: Sam3Detector, folder: Path, detector: Mapping[str, torch.Tensor] | None = None, replace: bool = False
) -> None:
    """Write a model as it runs now (number format, merged adapter, tracker), whole or not at all.

    Args:
        detector: weights to write in place of the detector's own, under the same names.
        replace: whether a folder that exists already makes way.

    Raises:
        InputError: the folder exists already.
        ModelError: the adapter in use is none that can be merged.
    """
    from safetensors.torch import save_file

    if model.slice_adapter is not None:
        raise ModelError(
            "The adapter '{name}' works between slices, which a model by itself has no place for; keep it as an "
            "adapter and name both, as BASE+ADAPTER.",
            name=model.card.name,
        )
    if folder.exists() and not replace:
        raise InputError("{folder} exists already; choose another folder.", folder=folder)
    weights = dict(model.network.state_dict() if detector is None else detector)
    # A copy: transformers resets the choice of attention of configurations that are put into another.
    config = copy.deepcopy(model.network.config)
    if model.tracker is not None:
        from transformers import Sam3VideoConfig

        weights = {Part.DETECTOR.value + name: value for name, value in weights.items()}
        weights.update((Part.TRACKER.value + name, value) for name, value in model.tracker.model.state_dict().items())
        weights.update((Part.NECK.value + name, value) for name, value in model.tracker.neck.state_dict().items())
        config = Sam3VideoConfig(detector_config=config, tracker_config=copy.deepcopy(model.tracker.model.config))
    with atomic_folder(folder) as draft:
        config.save_pretrained(str(draft))
        save_file(_apart(weights), str(draft / WEIGHTS_FILE), metadata={"format": "pt"})
        # safetensors makes a file that nobody else may read.
        (draft / WEIGHTS_FILE).chmod((draft / "config.json").stat().st_mode)
        if model.tokenizer is not None:
            model.tokenizer.save_pretrained(str(draft))
        model.card.save(draft)
        write_checksums(draft)


def _apart(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous tensors of which no two are the same memory, as safetensors wants them."""
    seen: set[int] = set()
    for name, value in weights.items():
        value = value.contiguous()
        weights[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    return weights
