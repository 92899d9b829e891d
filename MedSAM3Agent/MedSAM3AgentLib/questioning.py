"""Asking a language model: what is counted against the budget, agreed to, recorded and timed, in one place."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from MedSAM3AgentLib.backends.protocol import Backend, BackendError, Question, Reply
from MedSAM3AgentLib.budget import Budget
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.progress import CancelCheck

#: Told of each question and its reply, or of why there is none.
Recorder = Callable[[Question, Reply | BackendError], None]


@dataclass(eq=False)
class Asker:
    """Asks a backend for one session.

    Attributes:
        backend: that answers.
        calls_left: questions that may still be asked.
        recorder: is told of each, or None.
        cancel: ends a question.
        budget: what may be spent.
        check: raises ``BackendError`` where a question may not leave, or None where all stay on this computer.
        calls: that were asked.
        seconds: that they took.
        ended: why nothing is asked any more, or None.
    """

    backend: Backend
    calls_left: int
    budget: Budget
    recorder: Recorder | None = None
    cancel: CancelCheck | None = None
    check: Callable[[Question], None] | None = None
    calls: int = 0
    seconds: float = 0.0
    ended: BackendError | None = None

    @property
    def can_ask(self) -> bool:
        """Whether a question may be asked and an answer hoped for."""
        return self.backend.answers and self.calls_left > 0 and self.ended is None

    def ask(self, question: Question) -> str | None:
        """The text of the reply; None where nothing may be asked any more, or the backend failed.

        Raises:
            Cancelled: the user said so.
        """
        if not self.can_ask:
            return None
        try:
            reply = self._reply(question)
        except BackendError as error:
            self.ended = error
            if self.recorder is not None:
                self.recorder(question, error)
            return None
        if self.recorder is not None:
            self.recorder(question, reply)
        return reply.text

    def _reply(self, question: Question) -> Reply:
        self.budget.check(question)
        if self.check is not None:
            self.check(question)
        self.calls += 1
        self.calls_left -= 1
        self.budget.pictures += bool(question.picture)
        started = time.monotonic()
        try:
            reply = self.backend.ask(question, self._ends)
        except Cancelled:
            if self._user_cancels() or not self.budget.is_over_time:
                raise
            raise self.budget.time_is_up() from None
        finally:
            self.seconds += time.monotonic() - started
        self.budget.add(question, reply)
        return reply

    def _ends(self) -> bool:
        return self._user_cancels() or self.budget.is_over_time

    def _user_cancels(self) -> bool:
        return self.cancel is not None and self.cancel()
