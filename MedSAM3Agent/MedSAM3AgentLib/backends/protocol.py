"""What every language backend can be asked, and what it says: typed questions, text back.

A question holds the state in words and one picture; nothing is remembered between questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from MedSAM3AgentLib.session import Stop
from MedSAM3AgentLib.targets import Target
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import MedSAM3Error
from MedSAM3SegmentLib.messages.message import Given
from MedSAM3SegmentLib.progress import CancelCheck


class QuestionKind(StrEnum):
    """What is asked."""

    PLAN = "plan"
    VERDICT = "verdict"
    ACTION = "action"
    ANSWER = "answer"


@dataclass(frozen=True, eq=False)
class TileView:
    """One tile of a page, as it was drawn.

    Attributes:
        number: on the page, from 1.
        slice_index: along the stack.
        rows, columns: the part of the upright slice that it shows, half-open.
    """

    number: int
    slice_index: int
    rows: tuple[int, int]
    columns: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Subject:
    """What a question is about, for backends that know the truth; it never leaves the process.

    Attributes:
        target: that is asked about.
        mask: that is judged, bool ``[k, j, i]``.
        candidates: by their number on the page.
        tiles: of the page.
        tried: kinds of action that were tried already.
        phrases: that were asked already.
    """

    target: Target
    mask: BoolMask | None = None
    candidates: Mapping[int, BoolMask] = field(default_factory=dict)
    tiles: Sequence[TileView] = ()
    tried: frozenset[str] = frozenset()
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Question:
    """One question.

    Attributes:
        kind: what is asked.
        instructions: who answers and how, the system message.
        text: the state in words and what is wanted.
        picture: PNG bytes with all captions drawn in, or empty.
        schema: JSON schema of the reply.
        vote: which one of several equal questions it is, from 0.
        subject: see there.
    """

    kind: QuestionKind
    instructions: str
    text: str
    picture: bytes = b""
    schema: Mapping[str, Any] = field(default_factory=dict)
    vote: int = 0
    subject: Subject | None = None


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        text: as it came, thoughts and fences included.
        model: as the server reported it.
        usage: tokens in and out, None where that was not said.
        milliseconds: that it took.
        parameters: that it was asked with (temperature, most tokens).
        exchanges: replies that were paid for until there was this one.
    """

    text: str
    model: str = ""
    usage: tuple[int, int] | None = None
    milliseconds: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    exchanges: int = 1


class BackendError(MedSAM3Error):
    """A backend cannot answer now, or at all; the agent keeps the best round and says so.

    Args:
        words: one sentence; with facts its template, as for ``errors.MedSAM3Error``.
        stop: why the agent stops, where it is another thing than a failure.
        facts: what goes into its placeholders.
    """

    def __init__(self, words: str, /, *, stop: Stop = Stop.LANGUAGE_MODEL, **facts: Given) -> None:
        super().__init__(words, **facts)
        self.stop = stop


class Backend(Protocol):
    """A language model, or what stands for one.

    Attributes:
        name: what to call it in reports and transcripts.
        votes: how many times a verdict is asked for; 0 where it cannot judge.
        sees_pictures: whether a picture is worth drawing for it.
        answers: whether it can be asked at all.
        sends_to: the host that questions leave this computer for, or empty where they stay.
    """

    @property
    def name(self) -> str: ...

    @property
    def votes(self) -> int: ...

    @property
    def sees_pictures(self) -> bool: ...

    @property
    def answers(self) -> bool: ...

    @property
    def sends_to(self) -> str: ...

    def ask(self, question: Question, cancel: CancelCheck | None = None) -> Reply:
        """The reply to a question.

        Raises:
            BackendError: there is none.
            Cancelled: ``cancel`` said so; it is asked at least twice a second.
        """
        ...
