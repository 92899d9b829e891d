"""What a person asks of the agent in Slicer, checked and typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from MedSAM3AgentLib.session import AgentRequest
from MedSAM3AgentSceneLib.languages.choose_language import LanguageChoice
from MedSAM3SceneLib.requests.console import parse_spec
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.preprocessing.windowing import Window

from .round_record import read_record, volume_of_round

#: What a later run takes over where it is not given.
KEPT_OPTIONS = ("plane", "window", "threshold", "slices", "model")


@dataclass(frozen=True, eq=False)
class AgentSpec:
    """A request.

    Attributes:
        volume_node: what is segmented.
        request: what is asked; of a run that goes on, what was typed, or the request before where that is nothing.
        language: who is asked where checks are unsure.
        typed: what was typed to go on with; may be empty.
        round_node: the round to go on from, or None.
        roi_node: a markups ROI that everything must lie in, or None.
        model, device: as ``medsam3 segment`` takes them.
    """

    volume_node: Any
    request: AgentRequest
    language: LanguageChoice
    typed: str = ""
    round_node: Any | None = None
    roi_node: Any | None = None
    model: str = "demo"
    device: str = "auto"

    @property
    def options(self) -> dict[str, Any]:
        """What a later run takes over, plain JSON values."""
        window = self.request.window
        return {
            "plane": self.request.plane.value,
            "window": None if window is None else [window.low, window.high, window.name],
            "threshold": self.request.threshold,
            "slices": None if self.request.slices is None else list(self.request.slices),
            "model": self.model,
        }


def ask_spec(
    volume_node: Any,
    text: str,
    language: LanguageChoice,
    *,
    rounds: int = 3,
    calls: int = 10,
    plane: str = Plane.ACQUIRED,
    window: Any = None,
    threshold: float | None = None,
    slices: tuple[int, int] | None = None,
    model: str = "demo",
    device: str = "auto",
) -> AgentSpec:
    """A first request.

    Raises:
        InputError: something of it cannot be used; the message says what and why.
    """
    # The words are read later; here they stand for any.
    read = parse_spec(
        volume_node, ["any"], plane=plane, window=window, threshold=threshold, slices=slices, model=model, device=device
    )
    request = AgentRequest(
        _text(text), rounds, calls, read.request.plane, read.request.slices, read.request.window, read.request.threshold
    )
    return AgentSpec(volume_node, request, language, model=model, device=device)


def go_on_spec(
    round_node: Any,
    text: str,
    language: LanguageChoice,
    *,
    roi: Any = None,
    rounds: int = 3,
    calls: int = 10,
    **options: Any,
) -> AgentSpec:
    """A request that goes on from a round.

    Args:
        options: as ``ask_spec`` takes them; those of the round where they are not given.

    Raises:
        InputError: the node is no round, its volume is gone, or something else cannot be used.
    """
    volume_node = volume_of_round(round_node)
    record = read_record(round_node)
    taken = {
        **_taken_over(record.get("options")),
        **{name: value for name, value in options.items() if value is not None},
    }
    typed = _text(text) if text else ""
    asked = typed.strip() or str(record.get("request", "")) or round_node.GetName()
    spec = ask_spec(volume_node, asked, language, rounds=rounds, calls=calls, **taken)
    return AgentSpec(volume_node, spec.request, language, typed.strip(), round_node, roi, spec.model, spec.device)


def _taken_over(options: object) -> dict[str, Any]:
    if not isinstance(options, Mapping):
        return {}
    taken = {name: options[name] for name in KEPT_OPTIONS if options.get(name) is not None}
    if isinstance(taken.get("window"), list):
        low, high, name = taken["window"]
        taken["window"] = Window(float(low), float(high), str(name))
    if isinstance(taken.get("slices"), list):
        taken["slices"] = tuple(taken["slices"])
    return taken


def _text(text: object) -> str:
    if not isinstance(text, str):
        raise InputError("A request is a sentence, not {given}; give text such as 'the liver'.", given=repr(text))
    return text
