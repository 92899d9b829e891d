"""Who is asked where checks are unsure: nobody, a model on this computer, a server, or recorded replies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MedSAM3AgentLib.backends.protocol import Backend
from MedSAM3AgentLib.backends.rules import RulesBackend
from MedSAM3AgentLib.sending.consent import Consent
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.volume import Volume


@dataclass(frozen=True, eq=False)
class LanguageChoice:
    """A choice of who is asked.

    Attributes:
        given: ``rules``, ``local:FOLDER``, ``URL#MODEL``, a backend, or ``{"replay": path}``.
        certificate: PEM file of the authority that signed a server, or None.
        key: of a server; None for that of the environment. It is kept nowhere.
        consent: what was agreed to in this Slicer session.

    Raises:
        InputError: the choice cannot be understood; nothing was asked of anybody.
    """

    given: Any = "rules"
    certificate: Path | None = None
    key: str | None = None
    consent: Consent | None = None

    def __post_init__(self) -> None:
        given = self.given
        if isinstance(given, str):
            if given == "rules" or given.startswith("local:"):
                return
            if "#" not in given or "://" not in given:
                # What stands before an at sign may be a login.
                raise InputError(
                    "'{language}' is no language model; give rules, local:FOLDER or URL#MODEL, such as "
                    "http://127.0.0.1:11434/v1#qwen3-vl:8b-instruct.",
                    language=given.rpartition("@")[2],
                )
            self._server()
        elif isinstance(given, Mapping):
            if set(given) != {"replay"}:
                raise InputError("Recorded replies are given as {{'replay': PATH}}, the path of a transcript.")
        elif not callable(getattr(given, "ask", None)) or not hasattr(given, "votes"):
            raise InputError(
                "{given} is no language model; give rules, local:FOLDER, URL#MODEL or a backend.", given=repr(given)
            )

    def backend(self, volume: Volume, request: str) -> Backend:
        """Who is asked, for one run; may take a while. A model on this computer runs in the engine's process.

        Args:
            volume: that pictures are drawn from.
            request: the words that are asked for.

        Raises:
            InputError: a transcript does not fit.
            ModelError: the model on this computer cannot be used.
        """
        given = self.given
        if isinstance(given, Mapping):
            return _recorded(Path(given["replay"]), volume, request)
        if not isinstance(given, str):
            backend: Backend = given
            return backend
        if given == "rules":
            return RulesBackend()
        if given.startswith("local:"):
            from MedSAM3AgentLib.backends.local import LocalBackend
            from MedSAM3SceneLib.engine.connection import engine_on_this_computer

            return LocalBackend(Path(given.removeprefix("local:")), engine=engine_on_this_computer())
        from MedSAM3AgentLib.backends.late_probe import LateProbe

        return LateProbe(self._server())

    def _server(self) -> Any:
        from MedSAM3AgentLib.backends.server import ServerBackend

        address, _, model = self.given.partition("#")
        return ServerBackend(address, model, certificate=self.certificate, key=self.key)


def _recorded(path: Path, volume: Volume, request: str) -> Backend:
    from MedSAM3AgentLib.backends.replay import ReplayBackend
    from MedSAM3AgentLib.transcript import question_fields, read_transcript

    lines = read_transcript(path)
    for field, value in (("volume", volume.content_hash), ("request", request)):
        if lines[0].get(field) != value:
            raise InputError(
                "The transcript {path} is of another {field}; replay it with the same.", path=path, field=field
            )
    return ReplayBackend(lines, question_fields)
