"""Asking a language model: what is counted against the budget, recorded, agreed to and timed, in one place."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from MedSAM3AgentLib.backends.protocol import Backend, BackendError, Question, Reply
from MedSAM3SegmentLib.progress import CancelCheck

#: Told of each question and its reply, or of the sentence in place of one.
Recorder = Callable[[Question, Reply | str], None]


@dataclass(eq=False)
class Asker:
    """Asks a backend for one session.

    Attributes:
        backend: that answers.
        calls_left: questions that may still be asked.
        recorder: is told of each, or None.
        cancel: ends a question.
        calls: that were asked.
        seconds: that they took.
        failure: why the backend no longer answers, or empty; it is not asked again then.
    """

    backend: Backend
    calls_left: int
    recorder: Recorder | None = None
    cancel: CancelCheck | None = None
    calls: int = 0
    seconds: float = 0.0
    failure: str = ""

    @property
    def can_ask(self) -> bool:
        """Whether a question may be asked and an answer hoped for."""
        return self.backend.answers and self.calls_left > 0 and not self.failure

    def ask(self, question: Question) -> str | None:
        """The text of the reply; None where nothing may be asked any more, or the backend failed.

        Raises:
            Cancelled: the user said so.
        """
        if not self.can_ask:
            return None
        self.calls += 1
        self.calls_left -= 1
        started = time.monotonic()
        try:
            reply = self.backend.ask(question, self.cancel)
        except BackendError as error:
            self.failure = str(error)
            if self.recorder is not None:
                self.recorder(question, str(error))
            return None
        finally:
            self.seconds += time.monotonic() - started
        if self.recorder is not None:
            self.recorder(question, reply)
        return reply.text
