"""What must be known of a model to use it rightly: its name, its score rule, its thresholds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.errors import ModelError

#: The card's file name in a model folder.
CARD_FILE = "medsam3_model.json"


class ScoreRule(StrEnum):
    """What a detection's score is.

    Meta's processor multiplies by presence; MedSAM-3's published inference does not, and its thresholds (0.5 to 0.8)
    refer to the score without it.
    """

    WITH_PRESENCE = "with presence"
    WITHOUT_PRESENCE = "without presence"


class MaskRule(StrEnum):
    """What draws a concept's mask on a slice: every instance found, the best one alone, or the semantic head.

    Medical-SAM3's makers keep the best mask alone.
    """

    INSTANCES = "instances"
    BEST_INSTANCE = "best instance"
    SEMANTIC = "semantic"


@dataclass(frozen=True)
class ModelCard:
    """A model in words.

    Attributes:
        name: as it stands in reports.
        is_demo: whether it only shows how the program works and says nothing about real patients.
        threshold: default lowest score of a kept detection.
        score_rule: whether presence is part of the score.
        mask_rule: which head draws the mask.
        license: SPDX identifier or the license's name.
        description: one or two sentences.
        base: for an adapter, the model it goes on top of, as ``--model`` takes it.
        base_sha256: of that model's weights; empty where it is not known.
        prompts: what it was trained to be asked with: ``T`` words, ``T+I`` words with a box.
        modality: what pictures it was trained on, in words.
        concepts: what it was trained to find.
        data: what it was trained on, in words.
        validation: figures on pictures that it was not trained on, by name.
        source: where it came from.
        training: how it was made (command, seed, numbers), free-form JSON.
    """

    name: str
    is_demo: bool = False
    threshold: float = 0.5
    score_rule: ScoreRule = ScoreRule.WITH_PRESENCE
    mask_rule: MaskRule = MaskRule.INSTANCES
    licence: str = ""
    description: str = ""
    base: str = ""
    base_sha256: str = ""
    prompts: tuple[str, ...] = ()
    modality: str = ""
    concepts: tuple[str, ...] = ()
    data: str = ""
    validation: dict[str, float] = field(default_factory=dict)
    source: str = ""
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def threshold_of_trained(self) -> float:
        """The threshold of what is trained on this model.

        None above the usual: new concepts have lower scores than those that a higher one was chosen for.
        """
        return min(self.threshold, type(self).threshold)

    def save(self, folder: Path) -> None:
        """Write the card into a model folder."""
        (folder / CARD_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> ModelCard:
        """The card of a model folder; a folder without one is a plain SAM 3 with Meta's rules.

        Raises:
            ModelError: the card cannot be understood.
        """
        path = folder / CARD_FILE
        if not path.exists():
            return cls(name=folder.name)
        try:
            values = json.loads(path.read_bytes())
            values["score_rule"] = ScoreRule(values.get("score_rule", ScoreRule.WITH_PRESENCE))
            values["mask_rule"] = MaskRule(values.get("mask_rule", MaskRule.INSTANCES))
            for name in ("prompts", "concepts"):
                values[name] = tuple(values.get(name, ()))
            return cls(**values)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ModelError(
                "The model card {path} cannot be read ({why}); restore it or delete it.", path=path, why=str(error)
            ) from error
