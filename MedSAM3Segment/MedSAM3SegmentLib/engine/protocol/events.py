"""What a job tells whoever waits for it, from the queue to its end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from MedSAM3SegmentLib.errors import (
    CANCELLED,
    EngineError,
    InputError,
    MedSAM3Error,
    MissingTrackerError,
    ModelError,
)
from MedSAM3SegmentLib.language.question import LanguageAnswer
from MedSAM3SegmentLib.messages.message import Message, from_plain, to_plain
from MedSAM3SegmentLib.progress import PartialMask, Progress
from MedSAM3SegmentLib.results.result import SegmentResult


class FailureKind(StrEnum):
    """By whose hands a failure can be mended; the kinds of ``errors``."""

    INPUT = "input"
    MODEL = "model"
    MISSING_TRACKER = "missing tracker"
    ENGINE = "engine"


#: A class before those that it is one of.
_ERRORS: dict[FailureKind, type[MedSAM3Error]] = {
    FailureKind.INPUT: InputError,
    FailureKind.MISSING_TRACKER: MissingTrackerError,
    FailureKind.MODEL: ModelError,
    FailureKind.ENGINE: EngineError,
}


@dataclass(frozen=True)
class Queued:
    """The job waits.

    Attributes:
        position: jobs that come first, that which runs included.
    """

    position: int


@dataclass(frozen=True)
class Loading:
    """The model that the job needs is being loaded."""

    model: str


@dataclass(frozen=True)
class Advanced:
    """The run has come further."""

    progress: Progress


@dataclass(frozen=True, eq=False)
class PartialArrived:
    """One concept on one slice is known."""

    partial: PartialMask


@dataclass(frozen=True)
class TokensArrived:
    """The answer to a question has become longer.

    Attributes:
        count, most: tokens that there are, and that there may be.
    """

    count: int
    most: int


@dataclass(frozen=True)
class Answered:
    """A question is answered. Nothing follows."""

    answer: LanguageAnswer


@dataclass(frozen=True, eq=False)
class Done:
    """The job is done. Nothing follows."""

    result: SegmentResult


@dataclass(frozen=True)
class Failed:
    """The job failed. Nothing follows.

    Attributes:
        message: one sentence for the user.
    """

    message: Message
    kind: FailureKind = FailureKind.ENGINE

    @classmethod
    def of(cls, error: MedSAM3Error) -> Failed:
        """What an error is as an event."""
        kinds = (kind for kind, kind_error in _ERRORS.items() if isinstance(error, kind_error))
        return cls(error.message, next(kinds, FailureKind.ENGINE))

    @property
    def error(self) -> MedSAM3Error:
        """What the event is as an error."""
        return _ERRORS[self.kind](self.message)


@dataclass(frozen=True)
class WasCancelled:
    """The job was cancelled. Nothing follows.

    Attributes:
        message: one sentence for the user.
    """

    message: Message = CANCELLED


#: What nothing follows.
End = Done | Answered | Failed | WasCancelled

Event = Queued | Loading | Advanced | PartialArrived | TokensArrived | End


def refusal_body(failed: Failed) -> dict[str, Any]:
    """A failure as a service answers a request with it: for people who read the answer as well."""
    return {"kind": failed.kind.value, "message": str.__str__(failed.message), "said": to_plain(failed.message)}


def refusal_in(body: Any) -> Failed:
    """The failure in an answer.

    Raises:
        KeyError: it has no kind or no message.
        ValueError: it is no object, or its kind or its message is none.
    """
    if not isinstance(body, dict):
        raise ValueError("An answer is no object.")
    return Failed(from_plain(body.get("said", body["message"])), FailureKind(body["kind"]))
