"""Writing low-rank adapters as MedSAM-3 publishes its own: one file, Meta's names of modules, A ``[in, rank]``.

Meta has one module for queries, keys and values of the image encoder. Adapters that this project trains share what
goes into the three, so that they fit in there as they are.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from MedSAM3SegmentLib.checkpoints.key_mapping import meta_name_of
from MedSAM3SegmentLib.checkpoints.lora import MEDSAM3_SCALE, meta_targets
from MedSAM3SegmentLib.checkpoints.lora_weights import Adapter, LoraWeights
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.atomic_write import atomic_write


def write_medsam3(adapter: Adapter, path: Path) -> None:
    """Write a low-rank adapter as a file in MedSAM-3's format.

    Raises:
        InputError: it is no low-rank adapter, its queries, keys and values do not share their input, or the file cannot
            be written.
    """
    tensors = medsam3_tensors(adapter)
    with atomic_write(path) as draft:
        torch.save(tensors, draft)


def medsam3_tensors(adapter: Adapter) -> dict[str, torch.Tensor]:
    """The tensors of the file, by name.

    Raises:
        InputError: see ``write_medsam3``.
    """
    if adapter.replacements or adapter.additions or not adapter.changes:
        raise InputError(
            "The adapter '{name}' holds weights that are no low-rank changes, which MedSAM-3's format has no place "
            "for; only adapters of '--tune lora' can be written so.",
            name=adapter.identity.name,
        )
    tensors = {}
    for module in sorted({_meta_module(name) for name in adapter.changes}):
        parts = [adapter.changes.get(target.name) for target in meta_targets(module)]
        down, up = _joined(module, adapter, parts)
        tensors[f"{module}.lora.lora_A"] = down.t().contiguous()
        tensors[f"{module}.lora.lora_B"] = up.t().contiguous()
    return tensors


def _meta_module(name: str) -> str:
    """The module that MedSAM-3 adapts for a weight of ``Sam3VideoModel``."""
    meta = meta_name_of(name)
    part = re.search(r"\.([qkv])_proj\.weight$", name)
    if part is not None and meta.endswith(".in_proj_weight"):
        # MedSAM-3 splits PyTorch's attention, but not the image encoder's.
        return f"{meta.removesuffix('.in_proj_weight')}.{part[1]}_proj"
    return meta.removesuffix(".weight")


def _joined(module: str, adapter: Adapter, parts: list[LoraWeights | None]) -> tuple[torch.Tensor, torch.Tensor]:
    """``[rank, in]`` and ``[out, rank]`` of a module that may be several weights of ours, at MedSAM-3's scale."""
    known = [part for part in parts if part is not None]
    down = known[0].down.float()
    if len(known) < len(parts) or not all(torch.equal(part.down.float(), down) for part in known):
        raise InputError(
            "The adapter '{name}' changes queries, keys and values of '{module}' each in its own way, which MedSAM-3's "
            "format has no place for; train it anew with this program.",
            name=adapter.identity.name,
            module=module,
        )
    up = torch.cat([part.up.float() * (part.scale / MEDSAM3_SCALE) for part in known])
    return down, up
