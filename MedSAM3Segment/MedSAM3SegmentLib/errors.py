"""What can go wrong, by whose hands it can be mended.

Every message is one sentence that says what happened, to which file or key, and what to do. The shell turns the class
into its exit code, the panel into its error display; nothing else is caught or wrapped on the way. The sentence
is a ``message.Message``, which Slicer shows in the user's language.
"""

from __future__ import annotations

from MedSAM3SegmentLib.messages.message import (
    Given,
    Message,
    as_message,
    message,
)


class MedSAM3Error(Exception):
    """Base of all errors this project raises on purpose.

    Args:
        words: the sentence; with facts its template, a literal as for ``message.message``.
        facts: what goes into its placeholders.
    """

    def __init__(self, words: str, /, **facts: Given) -> None:
        super().__init__(message(words, **facts) if facts else as_message(words))

    @property
    def message(self) -> Message:
        """The sentence, which ``str`` gives too."""
        return as_message(str(self))


class InputError(MedSAM3Error):
    """The volume, the phrases or an option cannot be used as given (shell exit code 2)."""


class ModelError(MedSAM3Error):
    """The model is missing, incomplete, corrupted or of an unsupported kind (shell exit code 3)."""


class MissingTrackerError(ModelError):
    """The request needs a tracker, which the model does not have."""


#: What a run says that the user stopped.
CANCELLED = message("The segmentation was cancelled; nothing was written.")


class Cancelled(MedSAM3Error):  # noqa: N818 - nothing went wrong
    """The user asked to stop; nothing was written (shell exit code 130)."""

    def __init__(self, words: str = CANCELLED, /, **facts: Given) -> None:
        super().__init__(words, **facts)


class PackageError(MedSAM3Error):
    """A Python package is missing, of a version that does not fit, or cannot be loaded (shell exit code 5)."""


class EngineError(MedSAM3Error):
    """The engine process cannot be started or reached, or ended in the middle of a job (shell exit code 4)."""
