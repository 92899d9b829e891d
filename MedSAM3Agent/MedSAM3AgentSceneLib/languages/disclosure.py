"""What would leave this computer, for a person to look at before it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Disclosure:
    """What a person is asked to agree to, once for a host and a volume.

    Attributes:
        host: that it goes to.
        what: kinds of data that leave, and the words of the first question, plain text.
        picture: PNG bytes of the very picture that would be sent first, or empty where words alone are sent.
        is_text_burnt_in_possible: whether pictures of this volume may show text, such as a name.
    """

    host: str
    what: str
    picture: bytes
    is_text_burnt_in_possible: bool


#: Asked on the thread of the scene; True lets it leave.
OnConsent = Callable[[Disclosure], bool]
