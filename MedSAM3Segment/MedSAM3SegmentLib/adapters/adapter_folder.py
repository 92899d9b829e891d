"""Writing adapters as small folders: PEFT's layout, with a card that says what the adapter was trained on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from MedSAM3SegmentLib.checkpoints.hashing import write_checksums
from MedSAM3SegmentLib.checkpoints.lora import PEFT_CONFIG, PEFT_WEIGHTS
from MedSAM3SegmentLib.checkpoints.lora_weights import LoraWeights
from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.io.atomic_write import atomic_folder

#: PEFT puts this before the name of every weight.
_PEFT_PREFIX = "base_model.model."


def write_adapter(
    folder: Path,
    card: ModelCard,
    changes: Mapping[str, LoraWeights],
    replacements: Mapping[str, torch.Tensor],
    files: Mapping[str, str] | None = None,
) -> None:
    """Write an adapter folder, whole or not at all; one that exists makes way.

    Args:
        changes: low-rank changes by module, as ``Sam3Model`` names it; all of one rank and scale.
        replacements: whole weights by name, as ``Sam3Model`` names them.
        files: texts to put beside it, by name.

    Raises:
        OSError: the folder cannot be written.
    """
    from safetensors.torch import save_file

    tensors = {_PEFT_PREFIX + name: value for name, value in replacements.items()}
    for module, change in changes.items():
        tensors[f"{_PEFT_PREFIX}{module}.lora_A.weight"] = change.down
        tensors[f"{_PEFT_PREFIX}{module}.lora_B.weight"] = change.up
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    with atomic_folder(folder) as draft:
        (draft / PEFT_CONFIG).write_text(json.dumps(_peft_config(card, changes, replacements), indent=2) + "\n")
        save_file(tensors, str(draft / PEFT_WEIGHTS[0]), metadata={"format": "pt"})
        # safetensors makes a file that nobody else may read.
        (draft / PEFT_WEIGHTS[0]).chmod((draft / PEFT_CONFIG).stat().st_mode)
        card.save(draft)
        for name, text in (files or {}).items():
            (draft / name).write_text(text, encoding="utf-8")
        write_checksums(draft)


def copy_adapter(folder: Path, output: Path) -> bool:
    """Copy an adapter folder to be given away: without places on this machine.

    Returns:
        Whether its base was such a place, so that whoever uses it must name the base.

    Raises:
        ModelError: its card cannot be read.
        OSError: ``output`` cannot be written.
    """
    card = ModelCard.load(folder)
    is_place = card.base != "" and any(Path(piece).is_absolute() for piece in card.base.split("+"))
    source = "" if card.source.startswith("path:") else card.source
    card = replace(card, base="" if is_place else card.base, source=source)
    with atomic_folder(output) as draft:
        shutil.copytree(folder, draft, dirs_exist_ok=True)
        config = json.loads((draft / PEFT_CONFIG).read_bytes())
        config["base_model_name_or_path"] = card.base
        (draft / PEFT_CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        card.save(draft)
        write_checksums(draft)
    return is_place


def _peft_config(
    card: ModelCard, changes: Mapping[str, LoraWeights], replacements: Mapping[str, torch.Tensor]
) -> dict[str, object]:
    """What PEFT wants to know; what is not here has PEFT's default, which is that of plain LoRA."""
    first = next(iter(changes.values()), None)
    rank = 1 if first is None else int(first.down.shape[0])
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": card.base,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": 1 if first is None else first.scale * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_dora": False,
        "use_rslora": False,
        "target_modules": sorted(changes),
        "modules_to_save": sorted({name.rpartition(".")[0] for name in replacements}) or None,
    }
