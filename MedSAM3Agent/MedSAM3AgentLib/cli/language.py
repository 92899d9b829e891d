"""The shell's ``--language``: rules, a model on this computer, or a server, and what of the volume may be sent."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.cli.signals import Interrupted, Interruption
from MedSAM3SegmentLib.cli.terminal import Terminal
from MedSAM3SegmentLib.errors import InputError

if TYPE_CHECKING:
    from MedSAM3AgentLib.backends.protocol import Backend
    from MedSAM3AgentLib.sending.consent import Consent
    from MedSAM3AgentLib.sending.disclosure import Disclosure, OnConsent
    from MedSAM3SegmentLib.volume import Volume


@dataclass(frozen=True, eq=False)
class ChosenLanguage:
    """What was chosen after ``--language``.

    Attributes:
        backend: that answers.
        consent: what the options agree to, or None where nothing leaves.
        on_consent: asks at the terminal, or None where nobody is there or all was agreed to.
    """

    backend: Backend
    consent: Consent | None = None
    on_consent: OnConsent | None = None


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
        help="let pictures drawn from this volume and the request's words go to this host without being asked; needed "
        "for any that is not this computer where nobody is at the terminal to be asked",
    )
    group.add_argument(
        "--allow-text-in-pictures",
        action="store_true",
        help="also send pictures that may have text burnt into them, such as ultrasound; look at them first",
    )
    group.add_argument("--policy", metavar="FILE.json", type=Path, help="hosts that the institution allows")
    group.add_argument("--certificate", metavar="FILE.pem", type=Path, help="authority that signed the server")


def language_of(
    options: argparse.Namespace, volume: Volume, terminal: Terminal, interruption: Interruption
) -> ChosenLanguage:
    """The backend that was chosen, once its host may be sent to or somebody is there to be asked.

    Raises:
        InputError: it cannot be understood, or sending is not allowed.
        EngineError: the server does not answer.
        ModelError: the model on this computer cannot be used.
    """
    text: str = options.language
    if text == "rules":
        from MedSAM3AgentLib.backends.rules import RulesBackend

        return ChosenLanguage(RulesBackend())
    if text.startswith("local:"):
        from MedSAM3AgentLib.backends.local import LocalBackend

        local = LocalBackend(Path(text.removeprefix("local:")))
        if not local.is_constrained:
            terminal.note(
                "Replies of the language model are not held to their form, since the package llguidance is not "
                "installed; they are read as they come. pip install 'medsam3-slicer[constrained]' adds it."
            )
        return ChosenLanguage(local)
    if "#" not in text or "://" not in text:
        raise InputError(
            "'{language}' is no language model; give rules, local:FOLDER or URL#MODEL, such as "
            "http://127.0.0.1:11434/v1#qwen3-vl:8b-instruct.",
            language=text.partition("@")[2] or text,
        )
    from MedSAM3AgentLib.backends.late_probe import LateProbe
    from MedSAM3AgentLib.backends.server import ServerBackend
    from MedSAM3AgentLib.sending.consent import Consent, dicom_tags

    address, _, model = text.partition("#")
    backend = ServerBackend(address, model, certificate=options.certificate)
    consent = Consent.of(options.policy)
    on_consent = None
    if backend.sends_to:
        consent.check_policy(backend.host)
        consent.note_tags(volume, dicom_tags(options.input))
        try:
            consent.check_shell(
                backend.host, False, volume, options.allow_sending, text_is_allowed=options.allow_text_in_pictures
            )
        except InputError:
            if not terminal.can_ask:
                raise
            on_consent = _asking(terminal, interruption, options.output)
    if on_consent is not None:
        # Not even whether it is there is asked before a person agreed.
        return ChosenLanguage(LateProbe(backend), consent, on_consent)
    backend.probe()
    return ChosenLanguage(backend, consent)


def _asking(terminal: Terminal, interruption: Interruption, output: Path) -> OnConsent:
    """Asks at the terminal, with the picture in a file beside the output; it is kept after a yes only."""

    def ask(disclosure: Disclosure) -> bool:
        from MedSAM3SegmentLib.io.atomic_write import atomic_write

        path = _free_name(output)
        with atomic_write(path) as draft:
            draft.write_bytes(disclosure.picture)
        is_agreed = False
        try:
            with interruption.at_once():
                is_agreed = terminal.ask(f"{disclosure.what} The picture is in {path}. Send it to {disclosure.host}?")
        except Interrupted:
            pass  # a no; the agent sees that the user stopped
        finally:
            if not is_agreed:
                path.unlink(missing_ok=True)
        return is_agreed

    return ask


def _free_name(output: Path) -> Path:
    """A name beside the output that no file has."""
    stem = output.name
    for ending in (".seg.nrrd", ".nii.gz", ".nii", ".nrrd"):
        stem = stem.removesuffix(ending)
    number, path = 1, output.with_name(f"{stem}-to-be-sent.png")
    while path.exists():
        number += 1
        path = output.with_name(f"{stem}-to-be-sent-{number}.png")
    return path
