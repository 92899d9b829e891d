"""Work on a scene that is on its way: its states, its steps, the engine's job in it, and its end.

Everything that takes a while happens elsewhere, in the engine or on a thread, and everything that must happen on the
thread of the scene is cut into short steps. The panel takes a step whenever its timer ticks, the console between two
repaints; neither ever stands still. Nodes are looked at again before each step, because a user may have removed them.
"""

from __future__ import annotations

import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import Any

from MedSAM3SceneLib.coroutines import (
    WAITING,
    WORKING,
    StepGenerator,
    release,
    run_in_thread,
    yield_to_interface,
)
from MedSAM3SceneLib.engine.local_engine import Engine, Job
from MedSAM3SceneLib.mrml.volumes import SceneVolume, voxels_version
from MedSAM3SegmentLib.engine.protocol.events import (
    Advanced,
    Done,
    Event,
    Failed,
    Loading,
    PartialArrived,
    Queued,
    WasCancelled,
)
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.progress import Progress, Stage
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.result import SegmentResult

from .listener import PlacedPartial, RunListener

#: Seconds of steps between two repaints. One step more may follow, so this stays well below what is felt.
STEP_BUDGET = 0.015


class RunState(StrEnum):
    """How far a run has come."""

    READING = "reading the volume"
    SUBMITTING = "handing the volume to the engine"
    SEGMENTING = "segmenting"
    CONVERTING = "preparing segments"
    WRITING = "writing segments"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


#: Runs that have not ended, of all who run any.
_RUNNING: weakref.WeakSet[Run] = weakref.WeakSet()

_ENDED = (RunState.DONE, RunState.CANCELLED, RunState.FAILED)


class Run(ABC):
    """A run that is on its way; what it does, subclasses say.

    Args:
        nodes: that must stay in the scene; the volume first.
        listener: is told on the thread of the scene.

    Attributes:
        state: how far it has come.
        placed: the volume as it was read, once it is.
        result: what the engine found, once it has.
        messages: what the user should know, once it is done.
        error: why it ended otherwise.
    """

    def __init__(self, nodes: Sequence[Any], listener: RunListener | None) -> None:
        self.state = RunState.READING
        self.placed: SceneVolume | None = None
        self.result: SegmentResult | None = None
        self.messages: list[Message] = []
        self.error: Exception | None = None
        self._nodes = tuple(nodes)
        self._scene = nodes[0].GetScene()
        self._voxels: tuple[Any, ...] | None = None
        self._listener = listener or RunListener()
        self._job: Job | None = None
        self._cancelled = False
        self._stepping = False
        self._is_through = False
        self._broken_off: Cancelled | None = None
        self._steps = self._all_steps()
        _RUNNING.add(self)

    @abstractmethod
    def _all_steps(self) -> StepGenerator[None]:
        """What is done, up to its end; begins with the first step."""

    @property
    def ended(self) -> bool:
        return self.state in _ENDED

    def advance(self, budget: float = STEP_BUDGET) -> bool:
        """Do what can be done now, for about ``budget`` seconds; False when the run is over."""
        if self.ended or self._stepping:
            return not self.ended
        until = time.monotonic() + budget
        try:
            while not self._is_through:
                self._check_wanted()
                waits = self._step() is WAITING
                if self._broken_off is not None:
                    raise self._broken_off
                if waits or time.monotonic() >= until:
                    return True
            self._end(RunState.DONE, None)
        except StopIteration:
            self._is_through = True
            if time.monotonic() >= until:
                # Whoever hears of the end has much to do, and the window is to go on before.
                return True
            self._end(RunState.DONE, None)
        except Cancelled as stopped:
            self._end(RunState.CANCELLED, stopped)
        except Exception as error:
            self._end(RunState.FAILED, error)
        return False

    def cancel(self) -> None:
        """Ask the run to end without a change to the scene. What is being written already is written to its end."""
        self._cancelled = True
        if self._job is not None:
            self._job.cancel()

    def abandon(self, why: str) -> None:
        """End the run at once; whatever the engine still says of it is not heard, and what it wrote is taken back.

        What is written by a single step, and by the last one, stays: the run is done then.

        Args:
            why: one sentence.
        """
        self.cancel()
        if self._stepping and self.state is RunState.WRITING:
            # The step that changes the scene is what called; it is broken off behind it.
            self._broken_off = Cancelled(why)
        elif self._is_through and self._scene.IsNodePresent(self._nodes[0]):
            self._end(RunState.DONE, None)
        elif not self.ended:
            self._end(RunState.CANCELLED, Cancelled(why))

    def forget(self) -> None:
        """Let go of what the run holds, which is much; others may still hold it."""
        held: list[object] = [self.result, self.placed]
        self.result = self.placed = None
        release(held)

    def _read(self, steps: StepGenerator[SceneVolume]) -> StepGenerator[SceneVolume]:
        """Read the volume by ``steps``, and remember which voxels these were."""
        placed = yield from steps
        self._voxels = voxels_version(self._nodes[0])
        return placed

    def _answer(
        self,
        jobs: Engine,
        placed: SceneVolume,
        request: SegmentRequest,
        model: str,
        device: str,
    ) -> StepGenerator[SegmentResult]:
        """Hand the request in and follow it to its result."""
        self.state = RunState.SUBMITTING
        grid = placed.volume.grid
        # The engine does the same, and says so.
        fitted, _ = yield from run_in_thread(lambda: request.in_drawn_plane(grid))
        stack = SliceStack.along(grid, fitted.plane)
        submit = partial(jobs.submit, placed.volume, request, model=model, device=device)
        yield from run_in_thread(partial(self._hand_in, submit))
        assert self._job is not None
        self.state = RunState.SEGMENTING
        self.result = yield from self._follow(self._job, placed, stack)
        return self.result

    def _hand_in(self, submit: Callable[[], Job]) -> None:
        """On a thread, which goes on when the run has ended meanwhile; nobody else could cancel the job then."""
        self._job = submit()
        if self._cancelled:
            self._job.cancel()

    def _follow(self, job: Job, placed: SceneVolume, stack: SliceStack) -> StepGenerator[SegmentResult]:
        while True:
            events = job.poll()
            for event in events:
                result = self._hear(event, placed, stack)
                if result is not None:
                    return result
                yield WORKING
            yield_to_interface()
            yield WAITING

    def _hear(self, event: Event, placed: SceneVolume, stack: SliceStack) -> SegmentResult | None:
        match event:
            case Done(result=result):
                return result
            case WasCancelled(message=said):
                raise Cancelled(said)
            case Failed():
                raise event.error
            case PartialArrived(partial=partial) if not self._cancelled:
                self._listener.partial(PlacedPartial(partial, placed, stack))
            case Advanced(progress=progress) if not self._cancelled:
                self._listener.progress(progress)
            case Queued(position=position) if position > 0:
                self._listener.waiting(position)
            case Loading():
                self._listener.progress(Progress(Stage.LOADING, 0, 1))
        return None

    def _check_wanted(self) -> None:
        """Whether somebody still wants the result, and its nodes are there.

        Raises:
            Cancelled: not so.
        """
        if self.state is RunState.WRITING:
            # Half a result would be worse than one that nobody asked for any more.
            return
        if self.ended or (self._cancelled and self.state is not RunState.SEGMENTING):
            raise Cancelled()
        for node in self._nodes:
            if self._scene is None or not self._scene.IsNodePresent(node):
                self.cancel()
                raise Cancelled(
                    "'{name}' was removed, or the scene was closed, while it was segmented; nothing was written.",
                    name=node.GetName(),
                )

    def _step(self) -> bool:
        self._stepping = True
        try:
            return next(self._steps)
        finally:
            self._stepping = False

    def _end(self, state: RunState, error: Exception | None) -> None:
        if self.ended:
            return
        if state is RunState.DONE:
            self.messages += self._words_on_change()
        elif not self._cancelled:
            # Whatever went wrong here, the engine shall not work on for nobody.
            self.cancel()
        if not self._stepping:
            # Whoever is told shall find the scene as it stays.
            self._steps.close()
        self.state = state
        self.error = error
        _RUNNING.discard(self)
        self._listener.ended(self)

    def _words_on_change(self) -> list[Message]:
        """One sentence where the voxels that were read are not those of the volume any more."""
        volume_node = self._nodes[0]
        if self._voxels is None or voxels_version(volume_node) == self._voxels:
            return []
        name = volume_node.GetName()
        return [message("'{name}' was changed while it was segmented; the result is of what it was before.", name=name)]


def abandon_all(why: str) -> None:
    """End all runs at once, as ``Run.abandon`` does."""
    for run in list(_RUNNING):
        run.abandon(why)


def run_to_end(run: Run, pump: Callable[[], None], cancel: Callable[[], bool] | None = None) -> None:
    """Advance ``run`` to its end.

    Args:
        pump: lets the window answer, between two steps.
        cancel: asked between two steps; True cancels.

    Raises:
        Exception: why the run did not end well.
    """
    going = True
    while going:
        if cancel is not None and cancel():
            run.cancel()
        going = run.advance()
        pump()
    if run.error is not None:
        raise run.error
