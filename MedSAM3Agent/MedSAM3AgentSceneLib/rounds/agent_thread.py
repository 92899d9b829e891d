"""The agent at work beside the window: a thread that never touches the scene, and what it has to say to it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from MedSAM3AgentLib.agent import Agent
from MedSAM3AgentLib.sending.consent import Consent
from MedSAM3AgentLib.sending.disclosure import Disclosure
from MedSAM3AgentLib.session import AgentResult, Round
from MedSAM3AgentLib.transcript import Transcript
from MedSAM3AgentSceneLib.languages.choose_language import LanguageChoice
from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.progress import Progress, RunCallbacks
from MedSAM3SegmentLib.volume import Volume

from .agent_spec import AgentSpec
from .prepare_round import PreparedRound, RoundContext, prepare_round

#: Seconds between two looks at whether an answer came or the run was cancelled.
_POLL_S = 0.1


@dataclass(frozen=True, eq=False)
class RoundDone:
    """A round is done and prepared for the scene."""

    done: Round
    prepared: PreparedRound


@dataclass(frozen=True, eq=False)
class ConsentWanted:
    """A person is to be asked; the thread waits for ``answer``."""

    disclosure: Disclosure
    answers: queue.SimpleQueue[bool] = field(default_factory=queue.SimpleQueue)

    def answer(self, is_agreed: bool) -> None:
        """Let the thread go on."""
        self.answers.put(is_agreed)


AgentEvent = RoundDone | ConsentWanted | Progress


class AgentThread:
    """Runs the agent for one request.

    Args:
        spec: what is asked.
        segmenter: finds phrases; may block.
        volume: what is segmented.
        context: for the rounds.
        tags: DICOM elements of the volume that tell of text in its pictures.

    Attributes:
        result: of the agent, once it has ended well.
        error: why it did not.
        lines: of the transcript so far.
    """

    def __init__(
        self,
        spec: AgentSpec,
        segmenter: SegmenterProtocol,
        volume: Volume,
        context: RoundContext,
        tags: Mapping[str, str],
    ) -> None:
        self.result: AgentResult | None = None
        self.error: BaseException | None = None
        self._transcript = Transcript()
        self._spec = spec
        self._segmenter = segmenter
        self._volume = volume
        self._context = context
        self._tags = tags
        self._events: queue.SimpleQueue[AgentEvent] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._ended = threading.Event()

    def start(self) -> AgentThread:
        """Begin; returns itself."""
        threading.Thread(target=self._run, name="MedSAM3 agent", daemon=True).start()
        return self

    def cancel(self) -> None:
        """Ask it to end; the rounds that are done stay."""
        self._cancelled.set()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(self._transcript.lines)

    def poll(self) -> list[AgentEvent]:
        """What happened since the last call; of several progresses the last."""
        events: list[AgentEvent] = []
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return events
            if isinstance(event, Progress) and events and isinstance(events[-1], Progress):
                events.pop()
            events.append(event)

    def _run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as error:
            self.error = error
        finally:
            self._ended.set()

    def _work(self) -> AgentResult:
        spec, volume, transcript = self._spec, self._volume, self._transcript
        language: LanguageChoice = spec.language
        backend = language.backend(volume, spec.request.text)
        consent = language.consent or Consent.of()
        consent.note_tags(volume, self._tags)
        transcript.begin(spec.request, volume, backend)

        def on_round(done: Round) -> None:
            transcript.add_round(done)
            targets = [proposal.target for proposal in done.kept.values()]
            assert done.provenance is not None
            prepared = prepare_round(self._context, done, targets, done.provenance, transcript.lines)
            volumes = {one["name"]: one["volume_ml"] for one in prepared.summary["verdicts"]}
            self._context = replace(self._context, before_ml=volumes)
            self._events.put(RoundDone(done, prepared))

        callbacks = RunCallbacks(self._events.put, None, self._cancelled.is_set)
        agent = Agent(self._segmenter, backend, self._context.vocabulary, on_consent=self._ask_person, consent=consent)
        seeds = self._context.seeds
        result = agent.ask(volume, spec.request, callbacks, on_round, transcript.add_question, seeds)
        transcript.end(result)
        return result

    def _ask_person(self, disclosure: Disclosure) -> bool:
        wanted = ConsentWanted(disclosure)
        self._events.put(wanted)
        while True:
            if self._cancelled.is_set():
                raise Cancelled
            try:
                return wanted.answers.get(timeout=_POLL_S)
            except queue.Empty:
                continue
