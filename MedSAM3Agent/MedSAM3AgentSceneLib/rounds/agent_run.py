"""A request of the agent that is on its way, or done: its rounds appear in the scene as they are done."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from MedSAM3AgentLib.sending.disclosure import OnConsent
from MedSAM3AgentLib.session import AgentResult, Stop
from MedSAM3AgentSceneLib.languages.dicom_tags import dicom_tags_of
from MedSAM3SceneLib.coroutines import WAITING, WORKING, StepGenerator, release, run_in_thread, yield_to_interface
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.engine.local_engine import Engine
from MedSAM3SceneLib.mrml.volumes import SceneVolume, check_volume_node, read_in_steps
from MedSAM3SceneLib.runs.listener import RunListener
from MedSAM3SceneLib.runs.run import Run, RunState
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .added_nodes import AddedNodes
from .agent_spec import AgentSpec
from .agent_thread import AgentThread, ConsentWanted, RoundDone
from .engine_segmenter import EngineSegmenter
from .prepare_round import RoundContext
from .request_folder import add_folder, folder_of, place_beside
from .round_edits import provenance_by_target, read_region, read_round, region_mask, seeds_of
from .round_record import END, SESSION, number_of, round_nodes, session_number, write_json
from .scene_round import SceneRound, round_of
from .write_round import new_round_node, show_round


class AgentRun(Run):
    """One request.

    Args:
        spec: what is asked.
        engine: who segments.
        writer: holds the scene's undo history.
        listener: is told on the thread of the scene.
        on_round: called with each round once it is in the scene.
        on_consent: asked before anything leaves this computer; None for no.

    Attributes:
        volume_node: what is segmented.
        rounds: as they appear in the scene.
        result: what the agent gave back, once it has.
        stop: why it ended; None while it is on its way, and where it was broken off.
        why: that in a sentence.
        answer: a language model's own words; never a finding.
        session: of its rounds.

    Raises:
        InputError: the volume cannot be used; nothing was begun.
    """

    result: AgentResult | None  # type: ignore[assignment]

    def __init__(
        self,
        spec: AgentSpec,
        engine: Engine,
        writer: SegmentWriter,
        listener: RunListener | None = None,
        on_round: Callable[[SceneRound], None] | None = None,
        on_consent: OnConsent | None = None,
    ) -> None:
        check_volume_node(spec.volume_node)
        super().__init__([spec.volume_node], listener)
        self.spec = spec
        self.volume_node = spec.volume_node
        self.rounds: list[SceneRound] = []
        self.stop: Stop | None = None
        self.why = ""
        self.answer = ""
        parent = spec.round_node
        self.session = uuid.uuid4().hex if parent is None else str(parent.GetAttribute(SESSION))
        self._parent = "" if parent is None else f"{self.session}/{number_of(parent)}"
        self._session_number = 0 if parent is None else session_number(parent)
        self._engine = engine
        self._writer = writer
        self._on_round = on_round
        self._on_consent = on_consent
        self._thread: AgentThread | None = None
        self._step_of_history: AddedNodes | None = None
        self._lines_kept = 0

    @property
    def folder(self) -> int:
        """The request's item in the subject hierarchy; 0 before its first round, and once it is removed."""
        return folder_of(self._scene, self.session)

    def cancel(self) -> None:
        """Ask the run to end; the rounds that are done stay, and one that is not done makes none."""
        super().cancel()
        if self._thread is not None:
            self._thread.cancel()

    def _all_steps(self) -> StepGenerator[None]:
        spec = self.spec
        vocabulary = yield from run_in_thread(Vocabulary.load)
        self.placed = placed = yield from self._read(read_in_steps(spec.volume_node))
        context = yield from self._context(placed, vocabulary)
        tags = dicom_tags_of(spec.volume_node)
        segmenter = EngineSegmenter(self._engine, spec.model, spec.device)
        self.state = RunState.SEGMENTING
        self._thread = AgentThread(spec, segmenter, placed.volume, context, tags)
        if self._cancelled:
            raise Cancelled()
        self._thread.start()
        while True:
            # Asked first: what was said before the end is among the events then.
            is_over = self._thread.ended
            for event in self._thread.poll():
                if isinstance(event, RoundDone):
                    yield from self._add_round(event, placed)
                elif isinstance(event, ConsentWanted):
                    event.answer(bool(self._on_consent is not None and self._on_consent(event.disclosure)))
                elif not self._cancelled:
                    self._listener.progress(event)
                yield WORKING
            if is_over:
                break
            yield_to_interface()
            yield WAITING
        if self._thread.error is not None:
            raise self._thread.error
        self._take_result(self._thread)

    def _context(self, placed: SceneVolume, vocabulary: Vocabulary) -> StepGenerator[RoundContext]:
        spec, grid = self.spec, placed.volume.grid
        stack = SliceStack.along(grid, spec.request.plane)
        context = RoundContext(
            spec.request.text, spec.options, self.session, grid, stack, placed.to_node, vocabulary, None, {}, {}
        )
        node = spec.round_node
        if node is None:
            return context
        held = yield from read_round(node, spec.volume_node, placed)
        region = None if spec.roi_node is None else read_region(spec.roi_node, spec.volume_node, placed)
        first_number = 1 + max(map(number_of, round_nodes(self._scene, self.session)))
        before = round_of(node)

        def seed() -> Any:
            container = None if region is None else region_mask(region, grid)
            return seeds_of(held, stack, spec.typed, container, vocabulary, first_number)

        seeds = yield from run_in_thread(seed)
        volumes = {one.name: one.volume_ml for one in before.verdicts} if before is not None else {}
        request = str(held.record.get("request", "")) if not spec.typed else spec.request.text
        return replace(
            context,
            request=request,
            seeds=seeds,
            before_ml=volumes,
            earlier_provenance=provenance_by_target(held),
        )

    def _add_round(self, event: RoundDone, placed: SceneVolume) -> StepGenerator[None]:
        number, grid = event.done.number, placed.volume.grid
        if not self._session_number:
            self._session_number = 1 + max(map(session_number, round_nodes(self._scene)), default=0)
        names = (self.session, self._session_number, number, self._parent)
        lattice = placed.to_node @ grid.ijk_to_ras
        node = yield from new_round_node(event.prepared, self.volume_node, grid.shape, lattice, names)
        # A person may have removed the request while the node was made.
        self._check_wanted()
        self._show(node, event)
        scene_round = round_of(node)
        assert scene_round is not None
        self._parent = scene_round.id
        self._lines_kept = len(scene_round.transcript)
        self.rounds.append(scene_round)
        if self._on_round is not None:
            yield WORKING
            self._check_wanted()
            self._on_round(scene_round)

    def _show(self, node: Any, event: RoundDone) -> None:
        """Put a round into the scene; the first one begins the run's step of the undo history."""
        step = self._step_of_history
        if step is None:
            step = AddedNodes(self._scene, self.session)
            if not self.folder:
                names = "; ".join(event.done.kept)
                step.folder_name = f"Agent {self._session_number}: {names}"
                step.place = place_beside(self.volume_node)
                add_folder(self.volume_node, self.session, step.folder_name)
            self._step_of_history = step
            self._writer.add_step(step)
        added, hidden = show_round(node, event.prepared, self.volume_node, self.folder)
        step.added.append(added)
        own = {one.node.GetDisplayNode() for one in step.added}
        step.hidden += [display for display in hidden if display not in own]

    def _take_result(self, thread: AgentThread) -> None:
        result = self.result = thread.result
        assert result is not None
        self.stop, self.why, self.answer = result.stop, str(result.why), result.answer
        self.messages = list(result.messages)

    def _check_wanted(self) -> None:
        """Whether somebody still wants rounds, and there is a place for them.

        Raises:
            Cancelled: not so.
        """
        if self.ended or (self._cancelled and self.state is not RunState.SEGMENTING):
            raise Cancelled()
        if self._scene is None or not self._scene.IsNodePresent(self.volume_node):
            raise Cancelled(
                "'{name}' was removed, or the scene was closed, while the agent worked on it.",
                name=self.volume_node.GetName(),
            )
        parent = self.spec.round_node
        if parent is not None and self.state is RunState.READING and parent.GetScene() is not self._scene:
            raise Cancelled("'{name}' was removed before the agent could go on from it.", name=parent.GetName())
        step = self._step_of_history
        if step is not None and (step.is_undone or not self.folder):
            raise Cancelled("The request was taken out of the scene while the agent worked on it.")

    def _end(self, state: RunState, error: Exception | None) -> None:
        if self.ended:
            return
        if error is not None:
            self.why = str(error)
        if self._thread is not None:
            # Whatever went wrong here, nobody waits for the agent any more.
            self._thread.cancel()
        if not (self._scene is None or self._scene.IsClosing()):
            self._finish_rounds()
        super()._end(state, error)
        # Whoever keeps a run that is over shall not keep the volume and all answers with it.
        held: list[object] = [self._thread, self.placed]
        self._thread = self.placed = None
        release(held)

    def _finish_rounds(self) -> None:
        """Write down on the last round why no other followed."""
        if not self.rounds or self.rounds[-1].node.GetScene() is not self._scene:
            return
        lines = self._thread.lines[self._lines_kept :] if self._thread is not None else ()
        end = {
            "stop": "" if self.stop is None else self.stop.value,
            "why": self.why,
            "answer": self.answer,
            "messages": [str(said) for said in self.messages],
            "transcript": list(lines),
        }
        node = self.rounds[-1].node
        write_json(node, END, end)
        last = round_of(node)
        if last is not None:
            self.rounds[-1] = last
