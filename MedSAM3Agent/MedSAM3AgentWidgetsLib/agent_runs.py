"""The requests of a logic: what is on its way, who does the work, and what a person agreed to in this session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from MedSAM3AgentLib.sending.consent import Consent
from MedSAM3AgentLib.sending.disclosure import OnConsent
from MedSAM3AgentSceneLib.rounds.agent_run import AgentRun
from MedSAM3AgentSceneLib.rounds.agent_spec import AgentSpec
from MedSAM3AgentSceneLib.rounds.keep_round import keep_round
from MedSAM3AgentSceneLib.rounds.removed_rounds import RemovedRounds
from MedSAM3AgentSceneLib.rounds.scene_round import SceneRound
from MedSAM3SceneLib.editing.scene_undo import SceneUndo
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.engine.connection import engine_from_settings
from MedSAM3SceneLib.engine.local_engine import Engine, LocalEngine
from MedSAM3SceneLib.mrml.nodes import call_on_close
from MedSAM3SceneLib.runs.listener import RunListener
from MedSAM3SceneLib.runs.run import RunState, run_to_end
from MedSAM3SegmentLib.errors import InputError

#: Called with each round once it is in the scene.
OnRound = Callable[[SceneRound], None]

#: What a person agreed to, for all logics of this Slicer session; no file or scene has it.
_agreed: list[Consent] = []


def consent_of_session() -> Consent:
    """What was agreed to since Slicer was started, under the policy for all users of this computer.

    Raises:
        InputError: the policy cannot be read.
    """
    if not _agreed:
        _agreed.append(Consent.of())
    return _agreed[0]


class AgentRuns(SceneUndo):
    """One request at a time goes on by itself.

    Args:
        segmenter: used in this process in place of an engine, or None.
        engine: who takes the segmenter's requests; None for the engine of the application settings.

    Attributes:
        segmenter: as given; may be changed between requests.
    """

    def __init__(self, segmenter: Any = None, engine: Engine | None = None) -> None:
        self.segmenter = segmenter
        self._engine = engine
        self._writer: SegmentWriter | None = None
        self._job: Any = None
        self._is_waiting = False
        self._removed_rounds = RemovedRounds(slicer.mrmlScene)
        call_on_close(slicer.mrmlScene, self.forget)

    def finish(
        self,
        spec: AgentSpec,
        on_round: OnRound | None = None,
        progress: Any = None,
        cancel: Any = None,
        on_consent: OnConsent | None = None,
    ) -> AgentRun:
        """Do a request with the window alive.

        Args:
            progress: see ``RunListener``.
            cancel: asked between two steps; True ends it, and the rounds that are done stay.

        Raises:
            MedSAM3Error: why it ended without a result.
        """
        if self._is_waiting:
            raise InputError("The agent is being waited for already; cancel it or wait until it is done.")
        listener = RunListener(**({} if progress is None else {"progress": progress}))
        run = AgentRun(spec, self.engine(), self._segment_writer(), listener, on_round, on_consent)
        self._is_waiting = True
        try:
            run_to_end(run, slicer.app.processEvents, cancel)
        finally:
            self._is_waiting = False
            run.abandon(_("The request was broken off; the rounds that were done stay."))
        return run

    def start(
        self,
        spec: AgentSpec,
        on_progress: Any = None,
        on_round: OnRound | None = None,
        on_done: Callable[[AgentRun], None] | None = None,
        on_failed: Callable[[Exception], None] | None = None,
        on_consent: OnConsent | None = None,
    ) -> Any:
        """Begin a request in place of the one that is on its way, and give the RunTimer; see ``finish``.

        Raises:
            MedSAM3Error: it cannot begin.
        """
        # Here, so that scripts can wait for a run where there is no Qt.
        from MedSAM3WidgetsLib.run_timer import RunTimer

        def ended(run: AgentRun) -> None:
            if run.state is RunState.DONE and on_done is not None:
                on_done(run)
            elif run.error is not None and on_failed is not None:
                on_failed(run.error)

        told = {} if on_progress is None else {"progress": on_progress}
        run = AgentRun(
            spec, self.engine(), self._segment_writer(), RunListener(ended=ended, **told), on_round, on_consent
        )
        if self._job is not None:
            self._job.abandon(_("A newer request took the place of this one; the rounds that were done stay."))
        self._job = RunTimer(run)
        return self._job

    def keep(self, round_node: Any) -> Any:
        """See ``keep_round``."""
        return keep_round(round_node, self._segment_writer())

    def hold_history(self) -> None:
        """Let what others write into the scene be undone as long as this logic lives."""
        self._segment_writer()

    def close(self) -> None:
        """End what is on its way, because the module goes away."""
        job, self._job = self._job, None
        if job is not None:
            job.abandon(_("The module was closed; the rounds that were done stay."))
        self.forget()

    def forget(self) -> None:
        """End what is on its way, and let go of the history. Done when the scene is closed."""
        self._writer = None
        job, self._job = self._job, None
        if job is not None and not job.ended:
            job.abandon(_("The scene was closed while the agent worked on it."))

    def engine(self) -> Engine:
        """Who takes the segmenter's requests.

        Raises:
            MedSAM3Error: nobody can, in words.
        """
        if self.segmenter is not None:
            return LocalEngine(self.segmenter)
        return engine_from_settings() if self._engine is None else self._engine

    def _segment_writer(self) -> SegmentWriter:
        if self._writer is None:
            self._writer = SegmentWriter.shared()
        return self._writer
