"""The shell's ``--language``: rules, a model on this computer, or a server, and what of the volume may be sent."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.errors import InputError

if TYPE_CHECKING:
    from MedSAM3AgentLib.backends.protocol import Backend
    from MedSAM3SegmentLib.volume import Volume


def add_language_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--language``, ``--allow-sending``, ``--allow-text-in-pictures``, ``--policy`` and ``--certificate``."""
    group = parser.add_argument_group(
        "language model",
        "Without one, rules decide and nothing leaves this computer. A key is read from MEDSAM3_LANGUAGE_KEY only.",
    )
    group.add_argument(
        "--language",
        metavar="rules|local:FOLDER|URL#MODEL",
        default="rules",
        help="who is asked where checks are unsure: nobody, a model folder on this computer, or a server that speaks "
        "/chat/completions, such as http://127.0.0.1:11434/v1#qwen3-vl:8b-instruct (default: rules)",
    )
    group.add_argument(
        "--allow-sending",
        metavar="HOST",
        action="append",
        default=[],
        help="let pictures drawn from this volume and the request's words go to this host; needed for any that is not "
        "this computer",
    )
    group.add_argument(
        "--allow-text-in-pictures",
        action="store_true",
        help="also send pictures that may have text burnt into them, such as ultrasound; look at them first",
    )
    group.add_argument("--policy", metavar="FILE.json", type=Path, help="hosts that the institution allows")
    group.add_argument("--certificate", metavar="FILE.pem", type=Path, help="authority that signed the server")


def language_of(options: argparse.Namespace, volume: Volume) -> Backend:
    """The backend that was chosen, once its host may be sent to.

    Raises:
        InputError: it cannot be understood, or sending is not allowed.
        EngineError: the server does not answer.
        ModelError: the model on this computer cannot be used.
    """
    text: str = options.language
    if text == "rules":
        from MedSAM3AgentLib.backends.rules import RulesBackend

        return RulesBackend()
    if text.startswith("local:"):
        from MedSAM3AgentLib.backends.local import LocalBackend

        return LocalBackend(Path(text.removeprefix("local:")))
    if "#" not in text or "://" not in text:
        raise InputError(
            "'{language}' is no language model; give rules, local:FOLDER or URL#MODEL, such as "
            "http://127.0.0.1:11434/v1#qwen3-vl:8b-instruct.",
            language=text.partition("@")[2] or text,
        )
    from MedSAM3AgentLib.backends.server import ServerBackend
    from MedSAM3AgentLib.sending.consent import Consent, dicom_tags

    address, _, model = text.partition("#")
    backend = ServerBackend(address, model, certificate=options.certificate)
    consent = Consent.of(options.policy)
    consent.check_shell(
        backend.host,
        backend.is_loopback,
        volume,
        options.allow_sending,
        {} if backend.is_loopback else dicom_tags(options.input),
        text_is_allowed=options.allow_text_in_pictures,
    )
    backend.probe()
    return backend
