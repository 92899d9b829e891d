"""A language backend that says what it is told to, for self-tests in Slicer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from MedSAM3AgentLib.backends.protocol import BackendError, Question, Reply
from MedSAM3SegmentLib.progress import CancelCheck


class ScriptedBackend:
    """Gives its replies in turn, and fails once there is none left.

    Args:
        replies: JSON objects.

    Attributes:
        questions: that were asked, in order.
    """

    name = "replies from a script, no language model"
    votes = 1
    sees_pictures = True
    answers = True
    #: The host that questions leave for: they stay.
    sends_to = ""

    def __init__(self, replies: Sequence[Mapping[str, object]]) -> None:
        self.questions: list[Question] = []
        self._replies = list(replies)

    def ask(self, question: Question, cancel: CancelCheck | None = None) -> Reply:
        """The next reply.

        Raises:
            BackendError: there is none.
        """
        del cancel
        self.questions.append(question)
        if not self._replies:
            raise BackendError("The script has no more replies.")
        return Reply(json.dumps(self._replies.pop(0)), "script")
