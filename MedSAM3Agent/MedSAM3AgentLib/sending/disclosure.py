"""What a person is shown before anything of a volume leaves this computer, and how they are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from MedSAM3SegmentLib.messages.message import Message


@dataclass(frozen=True, eq=False)
class Disclosure:
    """What would leave, and for where.

    Attributes:
        host: that it would leave for, as in the address of the language model.
        what: would leave, in a sentence that quotes the request's words as they would be sent.
        picture: PNG bytes of the very page that would be sent next; of the whole volume where words go first.
        may_have_burnt_in_text: whether something speaks for text in the pictures, such as a name.
    """

    host: str
    what: Message
    picture: bytes
    may_have_burnt_in_text: bool


#: Asks a person; only True is a yes.
OnConsent = Callable[[Disclosure], bool]
