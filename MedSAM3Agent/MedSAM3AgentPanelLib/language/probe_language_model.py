"""Finding out whether a language model answers, and whether it reads pictures; nothing of a volume is sent for that."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from MedSAM3SegmentLib.errors import ModelError

from .language_settings import LanguageChoice, LanguageSettings


@dataclass(frozen=True)
class TestedModel:
    """What was found out.

    Attributes:
        name: of the model.
        reads_pictures: whether it can look at pages.
        request: that a transcript is of; empty for others.
        questions: that a transcript holds.
    """

    name: str
    reads_pictures: bool
    request: str = ""
    questions: int = 0


def probe_language_model(settings: LanguageSettings, key: str) -> TestedModel:
    """Ask the chosen language model for a sign of life; call it on a thread.

    A server is sent a red square and the question which color it has. Of a model on this computer the folder is looked
    at; it is loaded with the first question.

    Raises:
        InputError: what was entered cannot be used, or the institution's policy does not allow the server.
        EngineError: the server does not answer.
        ModelError: the folder holds no model that can be read.
    """
    if settings.choice is LanguageChoice.LOCAL:
        return _test_folder(Path(settings.folder))
    if settings.choice is LanguageChoice.RECORDED:
        return _test_record(Path(settings.record))
    from MedSAM3AgentLib.backends.server import ServerBackend
    from MedSAM3AgentLib.sending.consent import Consent

    certificate = Path(settings.certificate) if settings.certificate else None
    # None lets it look into the environment.
    backend = ServerBackend(settings.address, settings.model, certificate=certificate, key=key or None)
    if not backend.is_loopback:
        Consent.of().check_policy(backend.host)
    backend.probe()
    return TestedModel(backend.name, backend.sees_pictures)


def _test_folder(folder: Path) -> TestedModel:
    from MedSAM3AgentLib.backends.local import LocalBackend

    backend = LocalBackend(folder)
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        raise ModelError("The file {path} cannot be read; copy the model anew.", path=folder / "config.json") from None
    reads_pictures = isinstance(config, dict) and "vision_config" in config
    return TestedModel(backend.name, reads_pictures)


def _test_record(path: Path) -> TestedModel:
    from MedSAM3AgentLib.transcript import read_transcript

    lines = read_transcript(path)
    questions = sum(line.get("kind") == "question" for line in lines)
    return TestedModel(
        str(lines[0].get("backend", "")),
        bool(lines[0].get("sees_pictures", False)),
        str(lines[0].get("request", "")),
        questions,
    )
