"""A server that is looked at when the first question comes, and not before: by then somebody agreed to it."""

from __future__ import annotations

from dataclasses import replace

from MedSAM3SegmentLib.errors import EngineError
from MedSAM3SegmentLib.progress import CancelCheck

from .protocol import BackendError, Question, QuestionKind, Reply
from .server import ServerBackend


class LateProbe:
    """Asks a server, and finds out at the first question whether its model sees pictures.

    One that sees none is sent none, and is not asked to judge any.

    Args:
        server: that is asked.
    """

    answers = True

    def __init__(self, server: ServerBackend) -> None:
        self._server = server
        self._is_probed = False

    @property
    def name(self) -> str:
        return self._server.name

    @property
    def votes(self) -> int:
        return self._server.votes

    @property
    def sees_pictures(self) -> bool:
        return self._server.sees_pictures

    @property
    def sends_to(self) -> str:
        return self._server.sends_to

    def ask(self, question: Question, cancel: CancelCheck | None = None) -> Reply:
        """The reply to a question.

        Raises:
            BackendError: the server does not answer, or refuses.
            Cancelled: ``cancel`` said so.
        """
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
        return self._server.ask(question, cancel)
