"""Where a result came from: model, device, threshold, input and versions, kept with every result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .request import Mode


@dataclass(frozen=True)
class AdapterIdentity:
    """Which adapter was on top of a model."""

    name: str
    sha256: str


@dataclass(frozen=True)
class ModelIdentity:
    """Which model ran: enough to find it again, and whether it is a demo.

    Attributes:
        name, sha256: of the base model and its weight file.
        adapters: that were merged into it.
    """

    name: str
    sha256: str
    is_demo: bool
    adapters: tuple[AdapterIdentity, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        adapters = [{"name": adapter.name, "sha256": adapter.sha256} for adapter in self.adapters]
        return {"name": self.name, "sha256": self.sha256, "demo": self.is_demo, "adapters": adapters}


@dataclass(frozen=True)
class Provenance:
    """Where a result came from; kept on every segment and in every file.

    Attributes:
        created: ISO 8601 time with zone.
        versions: package name to version.
        mode: how the stack became a volume.
        prompts: what was drawn, in words, by concept.
        inside: what all else had to lie in, in words; empty where that was nothing.
        skipped: which slices or pixels were not looked at, in words; empty where all were.
        number_format: that the model computed in; empty where no model ran or it was not kept.
    """

    model: ModelIdentity
    device: str
    plane: str
    threshold: float
    input_name: str
    input_sha256: str
    created: str
    versions: Mapping[str, str] = field(default_factory=dict)
    mode: str = Mode.SLICES.value
    prompts: Mapping[str, str] = field(default_factory=dict)
    inside: str = ""
    skipped: str = ""
    number_format: str = ""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Provenance:
        """The provenance that ``as_dict`` gave.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        model = data["model"]
        adapters = tuple(AdapterIdentity(str(one["name"]), str(one["sha256"])) for one in model["adapters"])
        return cls(
            ModelIdentity(str(model["name"]), str(model["sha256"]), bool(model["demo"]), adapters),
            str(data["device"]),
            str(data["plane"]),
            float(data["threshold"]),
            str(data["input"]["name"]),
            str(data["input"]["sha256"]),
            str(data["created"]),
            dict(data["versions"]),
            str(data["mode"]),
            dict(data["prompts"]),
            str(data["inside"]),
            str(data.get("skipped", "")),
            str(data.get("number_format", "")),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "model": self.model.as_dict(),
            "device": self.device,
            "plane": self.plane,
            "threshold": self.threshold,
            "input": {"name": self.input_name, "sha256": self.input_sha256},
            "created": self.created,
            "versions": dict(self.versions),
            "mode": self.mode,
            "prompts": dict(self.prompts),
            "inside": self.inside,
            "skipped": self.skipped,
            "number_format": self.number_format,
        }
