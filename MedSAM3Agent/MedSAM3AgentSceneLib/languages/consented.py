"""A server that is asked only after a person agreed: for the host and the volume, with the very picture shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from MedSAM3AgentLib.backends.protocol import BackendError, Question, QuestionKind, Reply
from MedSAM3AgentLib.sending.consent import Consent
from MedSAM3SegmentLib.errors import EngineError
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.progress import CancelCheck
from MedSAM3SegmentLib.volume import Volume

from .disclosure import Disclosure

#: Characters of the first question's words that are shown.
_SHOWN_CHARACTERS = 4000


class ConsentedBackend:
    """Asks a server. Nothing is sent to it, not even whether it is there, before the first yes.

    A server that is this computer needs no yes. One whose model sees no pictures is not asked to judge any.

    Args:
        server: a ``ServerBackend``.
        consent: what was agreed to before; what is agreed to now is noted there.
        volume: that pictures are drawn from.
        ask_person: asks, and waits for the answer.
        is_text_possible: whether pictures may have text burnt into them.
    """

    answers = True

    def __init__(
        self,
        server: Any,
        consent: Consent,
        volume: Volume,
        ask_person: Callable[[Disclosure, CancelCheck | None], bool],
        is_text_possible: bool,
    ) -> None:
        self._server = server
        self._consent = consent
        self._volume = volume
        self._ask_person = ask_person
        self._is_text_possible = is_text_possible
        self._is_probed = False
        self._words_are_agreed = False

    @property
    def name(self) -> str:
        return str(self._server.name)

    @property
    def votes(self) -> int:
        return int(self._server.votes)

    @property
    def sees_pictures(self) -> bool:
        return bool(self._server.sees_pictures)

    def ask(self, question: Question, cancel: CancelCheck | None = None) -> Reply:
        """The reply to a question.

        Raises:
            BackendError: nobody agreed, or the server does not answer.
            Cancelled: ``cancel`` said so.
        """
        self._make_sure(question, cancel)
        if not self._is_probed:
            try:
                self._server.probe()
            except EngineError as error:
                raise BackendError(str(error)) from None
            self._is_probed = True
        if not self._server.sees_pictures:
            if question.kind is QuestionKind.VERDICT:
                # A vote that says nothing counts for neither side.
                return Reply("")
            question = replace(question, picture=b"")
        reply: Reply = self._server.ask(question, cancel)
        return reply

    def _make_sure(self, question: Question, cancel: CancelCheck | None) -> None:
        """Have a yes for what the question holds.

        Raises:
            BackendError: there is none.
        """
        host = self._server.host
        if self._server.is_loopback or self._consent.is_agreed(host, self._volume):
            return
        if not question.picture and self._words_are_agreed:
            return
        words = f"{question.instructions}\n\n{question.text}"[:_SHOWN_CHARACTERS]
        kinds = message("pictures drawn from the volume, the words of the request, and measured numbers")
        if not question.picture:
            kinds = message("the words of the request")
        is_text_possible = self._is_text_possible and bool(question.picture)
        if not self._ask_person(Disclosure(host, f"{kinds}\n\n{words}", question.picture, is_text_possible), cancel):
            raise BackendError(message("Nothing was sent to {host}, because nobody agreed to it.", host=host))
        if question.picture:
            self._consent.agree(host, self._volume)
        self._words_are_agreed = True
