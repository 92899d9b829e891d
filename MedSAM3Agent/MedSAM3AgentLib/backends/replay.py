"""Recorded replies in place of a language model: the same session again, without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from MedSAM3AgentLib.session import Stop
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.progress import CancelCheck

from .protocol import BackendError, Question, Reply


class ReplayBackend:
    """Gives the replies of a transcript in their order.

    Args:
        lines: of ``transcript.read_transcript``.
        fields_of: what identifies a question (``transcript.question_fields``).
    """

    sends_to = ""

    def __init__(self, lines: Sequence[Mapping[str, Any]], fields_of: Any) -> None:
        header = lines[0]
        self.name = str(header.get("backend", "replay"))
        self.votes = int(header.get("votes", 0))
        self.sees_pictures = bool(header.get("sees_pictures", False))
        self.answers = bool(header.get("answers", False))
        self._questions = [line for line in lines if line.get("kind") == "question"]
        self._next = 0
        self._fields_of = fields_of

    def ask(self, question: Question, cancel: CancelCheck | None = None) -> Reply:
        """The recorded reply.

        Raises:
            InputError: another question was asked at this place; the message names the field that differs.
            BackendError: the recorded session failed here too.
        """
        del cancel
        number = self._next + 1
        if self._next >= len(self._questions):
            raise InputError(
                "The transcript holds {count} questions and one more is asked.", count=len(self._questions)
            )
        recorded = self._questions[self._next]
        self._next += 1
        for field, value in self._fields_of(question).items():
            if recorded.get(field) != value:
                raise InputError(
                    "The transcript does not fit: question {number} differs in its field '{field}'; replay it with the "
                    "same volume, request and model.",
                    number=number,
                    field=field,
                )
        if "failure" in recorded:
            raise BackendError(str(recorded["failure"]), stop=_stop_of(recorded))
        usage = recorded.get("usage")
        return Reply(
            str(recorded.get("reply", "")),
            str(recorded.get("model", "")),
            (int(usage[0]), int(usage[1])) if usage else None,
            int(recorded.get("milliseconds", 0)),
            dict(recorded.get("parameters") or {}),
            int(recorded.get("exchanges", 1)),
        )


def _stop_of(recorded: Mapping[str, Any]) -> Stop:
    try:
        return Stop(recorded.get("stop", Stop.LANGUAGE_MODEL))
    except ValueError:
        return Stop.LANGUAGE_MODEL
