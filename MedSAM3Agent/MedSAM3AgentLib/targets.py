"""What a request is understood to ask for: structures, sides, what they lie in, and what does not belong to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Side(StrEnum):
    """A side of the patient. It is computed from RAS positions and never asked of a model."""

    LEFT = "left"
    RIGHT = "right"

    @property
    def sign(self) -> int:
        """The sign of R, which is positive to the patient's right, on this side of the midline."""
        return 1 if self is Side.RIGHT else -1


class Pick(StrEnum):
    """Which objects of several are meant."""

    ALL = "all"
    LARGEST = "largest"
    SMALLEST = "smallest"
    UPPER = "upper"
    LOWER = "lower"
    FRONT = "front"
    BACK = "back"


@dataclass(frozen=True)
class Structure:
    """Something that can be segmented by a phrase.

    Attributes:
        phrase: a short noun phrase in the singular, without a side that is computed.
        side: on which side of the patient, or None.
    """

    phrase: str
    side: Side | None = None

    @property
    def name(self) -> str:
        """What to call it."""
        return f"{self.side.value} {self.phrase}" if self.side else self.phrase


@dataclass(frozen=True)
class Target:
    """One segment that is asked for.

    Attributes:
        structure: what it is.
        inside: what it lies in, or None.
        without: what does not belong to it though it may look so.
        pick: which of its objects are meant.
        count: how many of them, for ``largest`` and ``smallest``.
    """

    structure: Structure
    inside: Structure | None = None
    without: tuple[Structure, ...] = ()
    pick: Pick = Pick.ALL
    count: int = 1

    @property
    def name(self) -> str:
        """What to call the segment; no two of a plan have the same."""
        name = self.structure.name
        if self.pick is not Pick.ALL:
            name = f"{self.pick.value} {name}"
        return f"{name} in {self.inside.name}" if self.inside else name

    @property
    def description(self) -> str:
        """The name, and what does not belong to it."""
        without = ", ".join(one.name for one in self.without)
        return f"{self.name} without {without}" if without else self.name


@dataclass(frozen=True)
class Plan:
    """A request as it was understood.

    Attributes:
        targets: one segment each, in the order of the request.
        by: who understood it: ``rules`` or a language model's name.
        rationale: a language model's own words on why these answer a question; never a finding. Empty where none was
            asked.
    """

    targets: tuple[Target, ...]
    by: str = "rules"
    rationale: str = ""

    @property
    def description(self) -> str:
        """All targets in words."""
        return "; ".join(target.description for target in self.targets)


def target_data(target: Target) -> dict[str, Any]:
    """A target as plain JSON values; ``target_of`` reads them."""
    return {
        "structure": _structure_data(target.structure),
        "inside": _structure_data(target.inside) if target.inside else None,
        "without": [_structure_data(one) for one in target.without],
        "pick": target.pick.value,
        "count": target.count,
    }


def target_of(data: Mapping[str, Any]) -> Target:
    """The target that ``target_data`` wrote.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    return Target(
        _structure_of(data["structure"]),
        _structure_of(data["inside"]) if data["inside"] else None,
        tuple(_structure_of(one) for one in data["without"]),
        Pick(data["pick"]),
        int(data["count"]),
    )


def _structure_data(structure: Structure) -> dict[str, Any]:
    return {"phrase": structure.phrase, "side": structure.side.value if structure.side else None}


def _structure_of(data: Mapping[str, Any]) -> Structure:
    return Structure(str(data["phrase"]), Side(data["side"]) if data["side"] else None)
