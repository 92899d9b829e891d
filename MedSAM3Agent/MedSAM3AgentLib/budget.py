"""What a session may spend on a language model, counted: pictures, seconds and money."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from MedSAM3AgentLib.backends.dialects import MOST_TOKENS
from MedSAM3AgentLib.backends.protocol import BackendError, Question, Reply
from MedSAM3AgentLib.session import AgentRequest, Spent, Stop

#: Tokens of a page, where a server reports none: the most that one of 1008 pixels is cut into by models that were
#: looked at (patches of GPT models, capped at 1536; 1024 of Qwen3-VL; 256 of Gemma 3).
_PAGE_TOKENS = 1536

#: Characters of a token of English, about.
_CHARACTERS = 4


@dataclass(eq=False)
class Budget:
    """Counts against what a request allows.

    Attributes:
        request: what it allows.
        started: on ``time.monotonic``.
        pictures: pages that were sent.
        tokens_in, tokens_out: so far.
        is_estimated: whether some were not reported.
    """

    request: AgentRequest
    started: float = field(default_factory=time.monotonic)
    pictures: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    is_estimated: bool = False

    @property
    def is_over_time(self) -> bool:
        """Whether no reply is waited for any more."""
        most = self.request.seconds
        return most is not None and time.monotonic() - self.started >= most

    def check(self, question: Question) -> None:
        """Make sure that a question can be paid for.

        A question counts as it would cost with the longest reply, so that the money is not overdrawn; a model that
        thinks may still do so by one question.

        Raises:
            BackendError: it cannot; nothing is asked any more then.
        """
        if question.picture and self.pictures >= self.request.pictures:
            raise BackendError(
                "All {count} pictures of the session were used.", stop=Stop.PICTURES, count=self.request.pictures
            )
        if self.is_over_time:
            raise self.time_is_up()
        most = self.request.money
        if most is not None:
            more = (self.tokens_in + _tokens_of(question), self.tokens_out + MOST_TOKENS)
            if (self._cost(*more) or 0.0) > most:
                spent = self._cost(self.tokens_in, self.tokens_out) or 0.0
                raise BackendError(
                    "Another question could cost more than the {most} that may be spent; {spent} were.",
                    stop=Stop.MONEY,
                    most=f"{most:g}",
                    spent=f"{spent:.4g}",
                )

    def time_is_up(self) -> BackendError:
        """Why nothing is asked any more once the seconds are used."""
        return BackendError(
            "The {count} seconds of the session were used.", stop=Stop.SECONDS, count=f"{self.request.seconds:g}"
        )

    def add(self, question: Question, reply: Reply) -> None:
        """Count a question that was answered; what was not reported is estimated."""
        sent, received = reply.usage or (0, 0)
        if reply.usage is None:
            self.is_estimated = True
            sent = reply.exchanges * _tokens_of(question)
            received = reply.exchanges * max(-(-len(reply.text) // _CHARACTERS), 1)
        self.tokens_in += sent
        self.tokens_out += received

    def spent(self, calls: int) -> Spent:
        """What was spent on so many questions."""
        cost = self._cost(self.tokens_in, self.tokens_out)
        return Spent(calls, self.pictures, self.tokens_in, self.tokens_out, self.is_estimated, cost)

    def _cost(self, sent: int, received: int) -> float | None:
        price = self.request.price
        return None if price is None else (sent * price[0] + received * price[1]) / 1000


def _tokens_of(question: Question) -> int:
    """About how many tokens a question has."""
    words = -(-(len(question.instructions) + len(question.text)) // _CHARACTERS)
    return words + (_PAGE_TOKENS if question.picture else 0)
