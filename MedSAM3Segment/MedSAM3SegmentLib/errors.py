"""What can go wrong, by whose hands it can be mended.

Every message is one sentence that says what happened, to which file or key, and what to do. The shell turns the class
into its exit code, the panel into its error display; nothing else is caught or wrapped on the way.
"""

from __future__ import annotations


class MedSAM3Error(Exception):
    """Base of all errors this project raises on purpose."""


class InputError(MedSAM3Error):
    """The volume, the phrases or an option cannot be used as given (shell exit code 2)."""


class ModelError(MedSAM3Error):
    """The model is missing, incomplete, corrupted or of an unsupported kind (shell exit code 3)."""


#: What a run says that the user stopped.
CANCELLED = "The segmentation was cancelled; nothing was written."


class Cancelled(MedSAM3Error):  # noqa: N818 - nothing went wrong
    """The user asked to stop; nothing was written (shell exit code 130)."""

    def __init__(self, message: str = CANCELLED) -> None:
        super().__init__(message)


class EngineError(MedSAM3Error):
    """The engine process cannot be started or reached, or ended in the middle of a job (shell exit code 4)."""
