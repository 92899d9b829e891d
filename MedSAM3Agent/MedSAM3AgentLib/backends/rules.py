"""No language model at all: checks decide, and nothing is asked of anybody."""

from __future__ import annotations

from MedSAM3SegmentLib.progress import CancelCheck

from .protocol import BackendError, Question, Reply


class RulesBackend:
    """The default. It needs no model and no network."""

    name = "rules"
    votes = 0
    sees_pictures = False
    answers = False
    sends_to = ""

    def ask(self, question: Question, cancel: CancelCheck | None = None) -> Reply:
        """Nothing is ever asked of the rules.

        Raises:
            BackendError: always.
        """
        del question, cancel
        raise BackendError("The rules answer no questions; choose a language model.")
