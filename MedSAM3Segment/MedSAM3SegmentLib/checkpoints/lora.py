"""Reading low-rank adapters (LoRA) as they are published: MedSAM-3's own format and PEFT folders."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from MedSAM3SegmentLib.errors import ModelError
from MedSAM3SegmentLib.provenance import AdapterIdentity

from .checkpoint import Part
from .hashing import file_sha256
from .key_mapping import is_unused, targets_of
from .lora_weights import Adapter, LoraWeights
from .model_card import ModelCard, ScoreRule
from .weight_files import WeightFile, open_weights
from .weight_targets import DETECTOR, DETECTOR_MODEL, KeyTarget

#: Alpha over rank of MedSAM-3's published adapter (16 and 32; 32 and 64 before). Its file does not say.
MEDSAM3_SCALE = 2.0

PEFT_CONFIG = "adapter_config.json"
PEFT_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

_MEDSAM3_KEY = re.compile(r"(?P<module>.+)\.lora\.lora_(?P<side>[AB])")
_PEFT_KEY = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")
_PEFT_PREFIX = "base_model.model."

#: Behind that, before the weights of modules that this project adds between slices.
_ADDED = "slice_adapter."


def load_adapter(path: Path) -> Adapter:
    """Read an adapter: a PEFT folder, or a file in MedSAM-3's format.

    Raises:
        ModelError: it is missing, corrupted, of an unsupported kind, or does not fit together.
    """
    if path.is_dir():
        return _load_peft(path)
    file = open_weights(path)
    return _load_medsam3(file)


def is_adapter(path: Path) -> bool:
    """Whether a folder or file is an adapter rather than a whole model."""
    if path.is_dir():
        return (path / PEFT_CONFIG).is_file()
    return any(_MEDSAM3_KEY.fullmatch(name) for name in open_weights(path).shapes)


def check_fits(adapter: Adapter, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse an adapter that a base cannot take whole.

    Args:
        shapes: of the base's weights, as ``Sam3VideoModel`` names them.

    Raises:
        ModelError: naming the adapter and the key.
    """
    if not adapter.names and not adapter.additions:
        raise ModelError("The adapter {path} changes no weight of SAM 3; give the right file.", path=adapter.path)
    for name in sorted(adapter.names):
        if name not in shapes:
            raise ModelError(
                "The adapter {path} changes '{name}', which the base does not have; use the base that it was "
                "trained on.",
                path=adapter.path,
                name=name.removeprefix(DETECTOR_MODEL),
            )
        if name in adapter.changes:
            change = adapter.changes[name]
            found: tuple[int, ...] = (change.up.shape[0], change.down.shape[1])
        else:
            found = tuple(adapter.replacements[name].shape)
        if found != shapes[name]:
            raise ModelError(
                "The adapter {path} changes '{name}' with shape {found} where the base has {expected}; use the "
                "base that it was trained on.",
                path=adapter.path,
                name=name.removeprefix(DETECTOR_MODEL),
                found=str(list(found)),
                expected=str(list(shapes[name])),
            )


def _pairs(names: Iterable[str], pattern: re.Pattern[str], path: Path) -> dict[str, dict[str, str]]:
    """Names by module and side; every module has both."""
    pairs: dict[str, dict[str, str]] = {}
    for name in names:
        match = pattern.fullmatch(name)
        if match is None:
            raise ModelError(
                "The adapter {path} holds '{name}', which is not part of an adapter; give the right file.",
                path=path,
                name=name,
            )
        pairs.setdefault(match["module"], {})[match["side"]] = name
    lonely = [next(iter(sides.values())) for sides in pairs.values() if len(sides) == 1]
    if lonely:
        partner = re.sub(r"lora_([AB])", lambda match: "lora_" + "BA"["AB".index(match[1])], lonely[0])
        if len(lonely) == 1:
            raise ModelError(
                "The adapter {path} holds '{name}' without the other half ('{partner}'); it is incomplete, so download "
                "it again.",
                path=path,
                name=lonely[0],
                partner=partner,
            )
        raise ModelError(
            "The adapter {path} holds '{name}' and '{second}' without the other half ('{partner}'); it is incomplete, "
            "so download it again.",
            path=path,
            name=lonely[0],
            second=lonely[1],
            partner=partner,
        )
    return pairs


def _low_rank(
    file: WeightFile, sides: Mapping[str, str], tensors: Mapping[str, torch.Tensor], scale: float
) -> LoraWeights:
    """``lora_A`` ``[rank, in]`` and ``lora_B`` ``[out, rank]``, checked."""
    down, up = tensors[sides["A"]], tensors[sides["B"]]
    if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
        raise ModelError(
            "The adapter {path} has '{a}' and '{b}' of shapes that do not fit together; download it again.",
            path=file.path,
            a=sides["A"],
            b=sides["B"],
        )
    for name in (sides["A"], sides["B"]):
        _check_numbers(name, tensors[name], file.path)
    return LoraWeights(down, up, scale)


def _check_numbers(name: str, tensor: torch.Tensor, path: Path) -> None:
    if not torch.isfinite(tensor).all():
        raise ModelError(
            "The weight '{name}' in the adapter {path} has values that are not numbers; download it again.",
            name=name,
            path=path,
        )


def _load_medsam3(file: WeightFile) -> Adapter:
    tensors = dict(file.read(file.shapes, keep_mapped=True))
    changes: dict[str, LoraWeights] = {}
    unused: list[str] = []
    for module, sides in _pairs(file.shapes, _MEDSAM3_KEY, file.path).items():
        if is_unused(module):
            unused.extend(sides.values())
            continue
        targets = meta_targets(module)
        if not targets:
            raise ModelError(
                "The adapter {path} holds '{a}', but SAM 3 has no '{module}'; give the right file.",
                path=file.path,
                a=sides["A"],
                module=module,
            )
        # Published as [in, rank] and [rank, out].
        transposed = {name: tensors[name].t() for name in sides.values()}
        whole = _low_rank(file, sides, transposed, _medsam3_scale(file, transposed[sides["A"]].shape[0]))
        for target in targets:
            changes[target.name] = LoraWeights(whole.down, target.change.apply(whole.up), whole.scale)
    card = ModelCard(name=file.path.stem, score_rule=ScoreRule.WITHOUT_PRESENCE, threshold=0.5)
    if (file.path.parent / "medsam3_model.json").is_file():
        card = ModelCard.load(file.path.parent)
    identity = AdapterIdentity(card.name, file_sha256(file.path))
    return Adapter(file.path, identity, changes, card, unused=tuple(unused))


def _medsam3_scale(file: WeightFile, rank: int) -> float:
    """Alpha over rank: the published one, unless a config.json beside the file gives another alpha."""
    beside = file.path.parent / "config.json"
    if beside.is_file():
        try:
            return float(json.loads(beside.read_bytes())["lora"]["alpha"]) / rank
        except (ValueError, LookupError, TypeError):
            pass
    return MEDSAM3_SCALE


def meta_targets(module: str) -> tuple[KeyTarget, ...]:
    """The weights of ``Sam3VideoModel`` that a Meta module's weight becomes; empty if there is no such module.

    MedSAM-3 splits attention into ``q_proj``, ``k_proj`` and ``v_proj`` where Meta has one ``in_proj``.
    """
    found = targets_of(f"{module}.weight")
    if found:
        return found
    match = re.fullmatch(r"(.+)\.([qkv])_proj", module.removeprefix(DETECTOR))
    if match is None:
        return ()
    fused = targets_of(f"{match[1]}.in_proj_weight")
    return tuple(KeyTarget(target.name) for target in fused if target.name.endswith(f".{match[2]}_proj.weight"))


def _load_peft(folder: Path) -> Adapter:
    config = _peft_config(folder)
    path = next((folder / name for name in PEFT_WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise ModelError(
            "The adapter folder {folder} has no {file}; download it again.", folder=folder, file=PEFT_WEIGHTS[0]
        )
    file = open_weights(path)
    tensors = dict(file.read(file.shapes, keep_mapped=True))
    low_rank = [name for name in file.shapes if ".lora_" in name]
    changes: dict[str, LoraWeights] = {}
    for module, sides in _pairs(low_rank, _PEFT_KEY, path).items():
        rank = tensors[sides["A"]].shape[0]
        scale = _peft_scale(config, module.removeprefix(_PEFT_PREFIX), rank)
        changes[_peft_target(module) + ".weight"] = _low_rank(file, sides, tensors, scale)
    replacements, additions = {}, {}
    for name in file.shapes:
        if name in low_rank:
            continue
        _check_numbers(name, tensors[name], path)
        if name.startswith(_PEFT_PREFIX + _ADDED):
            additions[name.removeprefix(_PEFT_PREFIX + _ADDED)] = tensors[name]
        else:
            replacements[_peft_target(name)] = tensors[name]
    card = ModelCard.load(folder)
    return Adapter(
        folder, AdapterIdentity(card.name, file_sha256(path)), changes, card, replacements, additions=additions
    )


def _peft_config(folder: Path) -> dict[str, Any]:
    path = folder / PEFT_CONFIG
    try:
        config = json.loads(path.read_bytes())
        kind = config["peft_type"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(
            "The adapter configuration {path} cannot be read ({why}); download it again.", path=path, why=str(error)
        ) from error
    for key, wanted in (("peft_type", "LORA"), ("use_dora", False), ("fan_in_fan_out", False)):
        if config.get(key, wanted) != wanted:
            raise ModelError(
                "The adapter {folder} is a {kind} adapter with {key}={value}; only plain LoRA can be merged.",
                folder=folder,
                kind=kind,
                key=key,
                value=str(config[key]),
            )
    return dict(config)


def _peft_scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """Alpha over rank, with PEFT's patterns by module and its rank-stabilised variant."""
    alpha = config.get("lora_alpha", rank)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = value
            break
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _peft_target(name: str) -> str:
    name = name.removeprefix(_PEFT_PREFIX).replace(".modules_to_save.default", "").replace(".base_layer", "")
    return name if name.startswith(tuple(part.value for part in Part)) else DETECTOR_MODEL + name
