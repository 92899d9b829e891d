"""Hashes of a model folder's files and of every weight, so that one changed number is noticed and named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSAM3SegmentLib.errors import ModelError
from MedSAM3SegmentLib.messages.message import Message, message

from .weight_endings import PYTORCH_ENDINGS, SAFETENSORS_ENDINGS

if TYPE_CHECKING:
    import torch

CHECKSUM_FILE = "checksums.json"

#: Files that decide what the model computes. The card is left out: thresholds may be edited.
_SMALL_FILES = ("config.json", "adapter_config.json", "tokenizer.json", "vocab.json", "merges.txt")


def tensor_digest(tensor: torch.Tensor) -> str:
    """The first 128 bits of the SHA-256 of a tensor's bytes, hexadecimal."""
    import torch

    raw = tensor.detach().contiguous().view(-1).view(torch.uint8) if tensor.numel() else tensor.new_empty(0)
    return hashlib.sha256(raw.numpy().data).hexdigest()[:32]


def write_checksums(folder: Path) -> None:
    """Record the hashes of what is in a model folder now."""
    from .weight_files import open_weights

    files = [path for path in sorted(folder.iterdir()) if _counts(path)]
    tensors: dict[str, dict[str, str]] = {}
    for path in files:
        if path.suffix in SAFETENSORS_ENDINGS + PYTORCH_ENDINGS:
            weights = open_weights(path)
            tensors[path.name] = {
                name: tensor_digest(tensor) for name, tensor in weights.read(weights.shapes, keep_mapped=False)
            }
    content = {"files": {path.name: file_sha256(path) for path in files}, "weights": tensors}
    (folder / CHECKSUM_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def recorded_checksums(folder: Path) -> dict[str, Any] | None:
    """What ``write_checksums`` recorded, or None where it did not.

    Raises:
        ModelError: the record cannot be read.
    """
    path = folder / CHECKSUM_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
        return {"files": dict(content["files"]), "weights": dict(content["weights"])}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(
            "The checksums {path} cannot be read ({why}); install the model again.", path=path, why=str(error)
        ) from error


def check_files(folder: Path, known: dict[str, str] | None = None) -> None:
    """Compare a model folder with its recorded hashes, if there are any.

    Args:
        known: hashes of files that were already computed, by name.

    Raises:
        ModelError: naming the file, and the weight if it is one.
    """
    recorded = recorded_checksums(folder)
    if recorded is None:
        return
    for name, expected in recorded["files"].items():
        path = folder / name
        if not path.is_file():
            raise ModelError("The file {path} is missing; install the model again.", path=path)
        if ((known or {}).get(name) or file_sha256(path)) != expected:
            raise ModelError(_difference(path, recorded["weights"].get(name)))


def _difference(path: Path, digests: dict[str, str] | None) -> Message:
    differs = message(
        "The file {path} differs from the one that belongs to this model; install the model again.", path=path
    )
    if digests is None:
        return differs
    from .weight_files import open_weights

    weights = open_weights(path)
    for name in digests:
        if name not in weights.shapes:
            return message("The weight '{name}' is missing from {path}; install the model again.", name=name, path=path)
    for name, tensor in weights.read(weights.shapes, keep_mapped=False):
        if name not in digests:
            return message(
                "The weight '{name}' in {path} does not belong to this model; install the model again.",
                name=name,
                path=path,
            )
        if tensor_digest(tensor) != digests[name]:
            return message(
                "The weight '{name}' in {path} differs from the model's own; install the model again.",
                name=name,
                path=path,
            )
    return differs


def _counts(path: Path) -> bool:
    if not path.is_file():
        return False
    return (
        path.name in _SMALL_FILES
        or path.suffix in SAFETENSORS_ENDINGS + PYTORCH_ENDINGS
        or (path.name.endswith(".index.json"))
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_sha256(hashes: Mapping[Path, str]) -> str:
    """The hash of one file, or of the hashes of several (shards) in order of their names."""
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256("".join(hashes[path] for path in sorted(hashes)).encode()).hexdigest()
