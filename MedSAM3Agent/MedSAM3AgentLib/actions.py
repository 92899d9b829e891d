"""What the agent can do in a round: a closed set of typed actions, and how a reply names them.

No code, path, address or id ever comes out of a reply: phrases are short and of letters, numbers are cut to their
range, and tiles, cells and candidates are numbers on a page that was shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from MedSAM3AgentLib.reply_words import clean_phrase, clean_text
from MedSAM3AgentLib.targets import Side
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.preprocessing.windowing import CT_WINDOWS

#: Phrases in one action, and numbered candidates on a page.
MOST_PHRASES, MOST_CANDIDATES = 4, 9

#: Cells along each edge of a tile.
GRID_CELLS = 8


@dataclass(frozen=True)
class SegmentPhrases:
    """Ask the model for phrases.

    Attributes:
        phrases: short noun phrases.
        inside: a phrase for what they lie in, or empty.
        side: computed afterwards, or None.
        plane: to cut the volume in, or None for that of the request.
        window: a CT window's name, or None for what suits the phrase.
    """

    phrases: tuple[str, ...]
    inside: str = ""
    side: Side | None = None
    plane: Plane | None = None
    window: str | None = None


@dataclass(frozen=True)
class ChooseObjects:
    """Take the candidates with these numbers on the page."""

    numbers: tuple[int, ...]


@dataclass(frozen=True)
class SetThreshold:
    """Cut the same answer at another score, 0.05 to 0.95; no model runs."""

    value: float


@dataclass(frozen=True)
class ExampleBox:
    """Show the model a box with things like the target.

    Attributes:
        tile: number of the tile on the page, from 1.
        first, last: upper left and lower right cell as (column, row) from 0, both included.
    """

    tile: int
    first: tuple[int, int]
    last: tuple[int, int]


@dataclass(frozen=True)
class EditMask:
    """Change the mask by a command of ``editing.grammar``, such as ``keep the largest``."""

    command: str


@dataclass(frozen=True)
class LookCloser:
    """Ask again with a tile of the page enlarged."""

    tile: int
    window: str | None = None


@dataclass(frozen=True)
class ReportAbsent:
    """Say that the target is not there."""

    reason: str = ""


@dataclass(frozen=True)
class Accept:
    """Take what there is."""

    answer: str = ""


@dataclass(frozen=True)
class CarryEdits:
    """Carry slices that a person edited through the stack; no reply can name it.

    Attributes:
        slices: along the stack.
    """

    slices: tuple[int, ...]


Action = (
    SegmentPhrases
    | ChooseObjects
    | SetThreshold
    | ExampleBox
    | EditMask
    | LookCloser
    | ReportAbsent
    | Accept
    | CarryEdits
)


class UnknownActionError(ValueError):
    """A reply names no action of the set, or one with values that it cannot have."""


def action_of(data: Mapping[str, Any]) -> Action:
    """The action that a JSON object names.

    Raises:
        UnknownActionError: it is none of the set, or its values cannot be used.
    """
    name = str(data.get("action", "")).strip().lower().replace("-", "_").replace(" ", "_")
    match name:
        case "segment":
            return _segment(data)
        case "choose_objects" | "choose":
            numbers = tuple(dict.fromkeys(_whole(n, 1, MOST_CANDIDATES) for n in _listed(data.get("numbers"))))
            if not numbers:
                raise UnknownActionError("choose_objects names no number")
            return ChooseObjects(numbers)
        case "threshold":
            return SetThreshold(min(max(_number(data.get("value")), 0.05), 0.95))
        case "example_box":
            first, last = _cell(data.get("first")), _cell(data.get("last", data.get("first")))
            corners = sorted((first[0], last[0])), sorted((first[1], last[1]))
            tile = _whole(data.get("tile", 1), 1, 16)
            return ExampleBox(tile, (corners[0][0], corners[1][0]), (corners[0][1], corners[1][1]))
        case "edit":
            command = clean_text(data.get("command"), 80)
            if not re.fullmatch(r"[a-zA-Z0-9 .,;%-]+", command):
                raise UnknownActionError("edit has no plain command")
            return EditMask(command)
        case "look_closer":
            return LookCloser(_whole(data.get("tile", 1), 1, 16), _window(data.get("window")))
        case "report_absent" | "absent":
            return ReportAbsent(clean_text(data.get("reason")))
        case "accept":
            return Accept(clean_text(data.get("answer")))
    raise UnknownActionError("no known action")


def action_words(action: Action) -> str:
    """An action in words, for reports and questions."""
    match action:
        case SegmentPhrases():
            said = "segment " + ", ".join(f"'{phrase}'" for phrase in action.phrases)
            said += f" inside '{action.inside}'" if action.inside else ""
            return said + (f" on the {action.side.value} side" if action.side else "")
        case ChooseObjects():
            return "choose object " + ", ".join(map(str, action.numbers))
        case SetThreshold():
            return f"threshold {action.value:g}"
        case ExampleBox():
            return f"example box on tile {action.tile}"
        case EditMask():
            return f"edit: {action.command}"
        case LookCloser():
            return f"look closer at tile {action.tile}"
        case ReportAbsent():
            return "report absent"
        case Accept():
            return "accept"
        case CarryEdits():
            listed = ", ".join(map(str, action.slices[:8])) + (", ..." if len(action.slices) > 8 else "")
            return f"go on from edited slices {listed}"


def action_data(action: Action) -> dict[str, Any]:
    """An action as plain JSON values; ``action_of`` reads them."""
    match action:
        case SegmentPhrases():
            return {
                "action": "segment",
                "phrases": list(action.phrases),
                "inside": action.inside,
                "side": action.side.value if action.side else None,
                "plane": action.plane.value if action.plane else None,
                "window": action.window,
            }
        case ChooseObjects():
            return {"action": "choose_objects", "numbers": list(action.numbers)}
        case SetThreshold():
            return {"action": "threshold", "value": action.value}
        case ExampleBox():
            cells = ["{}{}".format("ABCDEFGH"[column], row + 1) for column, row in (action.first, action.last)]
            return {"action": "example_box", "tile": action.tile, "first": cells[0], "last": cells[1]}
        case EditMask():
            return {"action": "edit", "command": action.command}
        case LookCloser():
            return {"action": "look_closer", "tile": action.tile, "window": action.window}
        case ReportAbsent():
            return {"action": "report_absent", "reason": action.reason}
        case Accept():
            return {"action": "accept", "answer": action.answer}
        case CarryEdits():
            return {"action": "carry_edits", "slices": list(action.slices)}


def recorded_action(data: Mapping[str, Any]) -> Action:
    """The action that ``action_data`` wrote, also one that no reply can name.

    Raises:
        UnknownActionError: it is none.
    """
    if data.get("action") != "carry_edits":
        return action_of(data)
    try:
        return CarryEdits(tuple(int(index) for index in data["slices"]))
    except (KeyError, TypeError, ValueError):
        raise UnknownActionError("no edited slices are named") from None


def _segment(data: Mapping[str, Any]) -> SegmentPhrases:
    phrases = [clean_phrase(text) for text in _listed(data.get("phrases", data.get("phrase")))][:MOST_PHRASES]
    kept = tuple(dict.fromkeys(phrase for phrase in phrases if phrase))
    if not kept:
        raise UnknownActionError("segment has no usable phrase")
    sides, planes = {side.value: side for side in Side}, {plane.value: plane for plane in Plane}
    side, plane = (str(data.get(key, "")).strip().lower() for key in ("side", "plane"))
    return SegmentPhrases(
        kept, clean_phrase(data.get("inside")), sides.get(side), planes.get(plane), _window(data.get("window"))
    )


def _window(value: object) -> str | None:
    return value if isinstance(value, str) and value in CT_WINDOWS else None


def _listed(value: object) -> list[object]:
    if isinstance(value, list | tuple):
        return list(value[:MOST_CANDIDATES])
    return [] if value is None else [value]


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UnknownActionError("a number is missing")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise UnknownActionError("a number is missing") from None
    if number != number or abs(number) == float("inf"):
        raise UnknownActionError("a number is not finite")
    return number


def _whole(value: object, lowest: int, highest: int) -> int:
    number = _number(value)
    if number != int(number) or not lowest <= number <= highest:
        raise UnknownActionError("a number is out of range")
    return int(number)


def _cell(value: object) -> tuple[int, int]:
    """``C4`` as column 2, row 3."""
    found = re.fullmatch(r"\s*([a-hA-H])\s*([1-8])\s*", value) if isinstance(value, str) else None
    if not found:
        raise UnknownActionError("a cell is not A1 to H8")
    return ord(found[1].upper()) - ord("A"), int(found[2]) - 1
