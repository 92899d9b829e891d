"""The one place that questions pass before they leave this computer for a language model's server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from MedSAM3AgentLib.backends.protocol import BackendError, Question
from MedSAM3AgentLib.backends.questions import MOST_QUOTED
from MedSAM3AgentLib.reply_words import clean_text
from MedSAM3AgentLib.session import Stop
from MedSAM3SegmentLib.messages.message import joined, message
from MedSAM3SegmentLib.volume import Volume

from .consent import Consent
from .disclosure import Disclosure, OnConsent


@dataclass(frozen=True, eq=False)
class SendingGate:
    """Lets questions of one session through once somebody agreed for the host and the volume.

    Attributes:
        host: that they would leave for.
        volume: that they are about.
        words: the request as typed.
        consent: remembers what was agreed to.
        on_consent: asks a person; None where there is nobody, which is a no.
        draw_volume: a page of the whole volume, PNG bytes, to be shown where words go first.
    """

    host: str
    volume: Volume
    words: str
    consent: Consent
    on_consent: OnConsent | None
    draw_volume: Callable[[], bytes]

    def check(self, question: Question) -> None:
        """Make sure that a question may leave; asks once for the host and the volume.

        Raises:
            BackendError: nobody agreed; nothing is asked any more then.
        """
        if self.consent.is_agreed(self.host, self.volume):
            return
        if self.on_consent is None or not self.on_consent(self._disclosure(question)):
            raise BackendError(
                "Nobody agreed to send anything of this volume to {host}.", stop=Stop.NOT_AGREED, host=self.host
            )
        self.consent.agree(self.host, self.volume)

    def _disclosure(self, question: Question) -> Disclosure:
        doubt = self.consent.doubt_of(self.volume)
        what = message(
            "Pages drawn from this volume, such as this one, measured numbers and these words would be sent to {host}: "
            "{words}",
            host=self.host,
            words=clean_text(self.words, MOST_QUOTED),
        )
        return Disclosure(
            self.host,
            what if doubt is None else joined((what, doubt)),
            question.picture or self.draw_volume(),
            doubt is not None,
        )
