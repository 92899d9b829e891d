"""The models this program knows by name: ``Resources/models.json``. Adding a model is adding an entry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.checkpoints.model_card import MaskRule, ModelCard, ScoreRule
from MedSAM3SegmentLib.errors import ModelError


@dataclass(frozen=True)
class KnownModel:
    """A published model.

    Attributes:
        name: what ``--model`` and ``medsam3 models`` call it.
        hub_id: repository on the Hugging Face hub.
        files: names or patterns (``*``) of the files that are needed, the weights first.
        license_url: where the license can be read.
        gated: whether its makers must grant access.
        sha256: of files whose content is known.
        tokenizer: hub id to take the tokenizer from, for repositories without one.
        card: rules, thresholds, license, prompts, modality, base.
    """

    name: str
    hub_id: str
    files: tuple[str, ...]
    licence_url: str
    gated: bool
    card: ModelCard
    sha256: Mapping[str, str] = field(default_factory=dict)
    tokenizer: str = ""


def known_models(path: Path | None = None) -> tuple[KnownModel, ...]:
    """All entries of the registry file.

    Raises:
        ModelError: it cannot be understood.
    """
    if path is None:
        from MedSAM3SegmentLib.resources import resource_path

        path = resource_path("models.json")
    try:
        return tuple(_known_model(entry) for entry in json.loads(path.read_bytes())["models"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(
            "The list of known models {path} cannot be read ({why}); restore it.", path=path, why=str(error)
        ) from error


def find_known(name: str) -> KnownModel | None:
    """The entry with this name or hub id, or None."""
    return next((model for model in known_models() if name in (model.name, model.hub_id)), None)


def _known_model(entry: Mapping[str, Any]) -> KnownModel:
    card = ModelCard(
        name=entry["name"],
        threshold=float(entry["threshold"]),
        score_rule=ScoreRule(entry["score_rule"]),
        mask_rule=MaskRule(entry.get("mask_rule", MaskRule.INSTANCES)),
        licence=entry["licence"],
        description=entry["description"],
        base=entry.get("base", ""),
        prompts=tuple(entry["prompts"]),
        modality=entry["modality"],
        source=f"hub:{entry['hub_id']}",
    )
    return KnownModel(
        name=entry["name"],
        hub_id=entry["hub_id"],
        files=tuple(entry["files"]),
        licence_url=entry["licence_url"],
        gated=bool(entry["gated"]),
        card=card,
        sha256=dict(entry.get("sha256", {})),
        tokenizer=entry.get("tokenizer", ""),
    )
