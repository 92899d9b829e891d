"""A round of the agent as it stands in the scene, read from its node alone, so that a loaded scene has it too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import slicer

from .round_record import (
    END,
    PARENT,
    SESSION,
    SUMMARY,
    VOLUME_ROLE,
    is_round,
    number_of,
    page_of,
    read_json,
    read_record,
    round_nodes,
)


@dataclass(frozen=True)
class TargetVerdict:
    """What a round came to for one target.

    Attributes:
        name: of the target, and of its segment when it was written.
        verdict: ``accepted``, ``unsure`` or ``rejected``.
        why: the reason in a sentence.
        votes: how many judged, and how many of them in favor.
        volume_ml: of what is kept, milliliters.
        change_ml: against the round it goes on from; 0.0 in a first round.
        phrase: that it comes from; empty where it is absent.
        segment_id: of the segment that holds it, or empty where nothing was found.
    """

    name: str
    verdict: str
    why: str
    votes: tuple[int, int]
    volume_ml: float
    change_ml: float
    phrase: str
    segment_id: str = ""


@dataclass(frozen=True, eq=False)
class SceneRound:
    """One round.

    Attributes:
        node: the vtkMRMLSegmentationNode.
        session: whose round it is; all rounds of one folder have the same.
        number: within the session, from 1; that of a branch follows the last.
        parent: ``id`` of the round it goes on from, or empty.
        tried: what was tried, in words.
        verdicts: one for each target.
        page: the picture that it was judged by, PNG bytes, or empty.
        calls: questions asked of a language model in it.
        seconds: that it took, by what they were spent on (``all``, ``segmenting``, ``language model``).
        request: what was asked for, as typed.
        stop: why the run ended with it, a ``session.Stop`` value; empty where another round followed.
        why: that in a sentence.
        answer: a language model's own words; never a finding.
        messages: what the user should know, one sentence each.
        transcript: the lines of the run up to the end of this round, since its first round.
    """

    node: Any
    session: str
    number: int
    parent: str
    tried: str
    verdicts: Sequence[TargetVerdict]
    page: bytes
    calls: int
    seconds: Mapping[str, float]
    request: str = ""
    stop: str = ""
    why: str = ""
    answer: str = ""
    messages: tuple[str, ...] = field(default=())
    transcript: tuple[str, ...] = field(default=())

    @property
    def id(self) -> str:
        """What other rounds call it as their parent."""
        return f"{self.session}/{self.number}"


def scene_rounds(volume_node: Any | None = None) -> list[SceneRound]:
    """All rounds in the scene, by session and number.

    Args:
        volume_node: only rounds of this volume.
    """
    nodes = round_nodes(slicer.mrmlScene)
    if volume_node is not None:
        nodes = [node for node in nodes if node.GetNodeReference(VOLUME_ROLE) is volume_node]
    return [found for node in nodes if (found := round_of(node)) is not None]


def round_of(node: Any) -> SceneRound | None:
    """The round that a segmentation node holds; None where it is none."""
    if not is_round(node):
        return None
    summary, end, record = read_json(node, SUMMARY), read_json(node, END), read_record(node)
    try:
        return SceneRound(
            node=node,
            session=str(node.GetAttribute(SESSION)),
            number=number_of(node),
            parent=str(node.GetAttribute(PARENT) or ""),
            tried=str(summary["tried"]),
            verdicts=tuple(_verdict_of(data) for data in summary["verdicts"]),
            page=page_of(record),
            calls=int(summary["calls"]),
            seconds={str(name): float(value) for name, value in summary["seconds"].items()},
            request=str(record.get("request", "")),
            stop=str(end.get("stop", "")),
            why=str(end.get("why", "")),
            answer=str(end.get("answer", "")),
            messages=tuple(map(str, end.get("messages", ()))),
            transcript=(*map(str, record.get("transcript", ())), *map(str, end.get("transcript", ()))),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return None


def summary_of(
    tried: str, verdicts: Sequence[TargetVerdict], calls: int, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """What the attribute ``SUMMARY`` of a node holds."""
    return {
        "tried": tried,
        "verdicts": [asdict(one) for one in verdicts],
        "calls": calls,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }


def _verdict_of(data: Mapping[str, Any]) -> TargetVerdict:
    return TargetVerdict(
        str(data["name"]),
        str(data["verdict"]),
        str(data["why"]),
        (int(data["votes"][0]), int(data["votes"][1])),
        float(data["volume_ml"]),
        float(data["change_ml"]),
        str(data["phrase"]),
        str(data["segment_id"]),
    )
