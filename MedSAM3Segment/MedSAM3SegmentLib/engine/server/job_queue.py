"""Jobs that wait for the one model: those of different clients take turns."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from MedSAM3SegmentLib.engine.protocol.events import Event, Queued, WasCancelled
from MedSAM3SegmentLib.engine.protocol.messages import JobRequest, QuestionRequest
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.volume import Volume

#: Most jobs that wait at once, in all and of one client, so that none can shut the others out.
MOST_QUEUED = 1000
MOST_OF_ONE_CLIENT = 250


@dataclass(frozen=True, eq=False)
class SegmentWork:
    """What is to be segmented.

    Attributes:
        order: as it was sent.
        volume: kept with the job, so that it is there when its turn comes.
        request: the order's, with the volumes of its examples, which are kept too.
        model: what the order's model was found as.
    """

    order: JobRequest
    volume: Volume
    request: SegmentRequest
    model: str


@dataclass(eq=False)
class QueuedJob:
    """A job inside the service.

    Attributes:
        id, client: of its order.
        work: what is to be done.
        tell: takes the job's events; may be called from any thread.
        cancelled: whether its client wants no answer any more.
        can_be_left: whether a client that cancels is told so at once, since what runs may take its time to stop: a
            model is being loaded, which nothing can break off, or a large one answers a question.
    """

    id: str
    client: str
    work: SegmentWork | QuestionRequest
    tell: Callable[[Event], None]
    cancelled: threading.Event = field(default_factory=threading.Event)
    can_be_left: bool = False


class JobQueue:
    """Hands out jobs one at a time; each client's in the order they came, clients in turn.

    Attributes:
        closed: whether nothing is handed out any more.
        finished: jobs that have ended.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[QueuedJob]] = OrderedDict()
        self._running: QueuedJob | None = None
        self._woken = False
        self.closed = False
        self._changed = threading.Condition()
        self.finished = 0

    def put(self, job: QueuedJob) -> None:
        """Add a job.

        Raises:
            InputError: too many wait, its id is taken, or the service is ending.
        """
        with self._changed:
            if self.closed:
                raise InputError("The engine is ending; start it again.")
            jobs = self._in_turn()
            own = len(self._waiting.get(job.client, ()))
            if len(jobs) >= MOST_QUEUED or own >= MOST_OF_ONE_CLIENT:
                raise InputError("{count} of your jobs wait already; try again when some are done.", count=own)
            running = [self._running] if self._running else []
            if any(other.id == job.id for other in (*jobs, *running)):
                raise InputError("A job with this id is there already; choose another one.")
            self._waiting.setdefault(job.client, deque()).append(job)
            self._tell_positions()
            self._changed.notify_all()

    def take(self) -> QueuedJob | None:
        """The next job, once there is one, after which ``done`` must follow; None after ``wake`` and when closed."""
        with self._changed:
            while not self._waiting and not self.closed and not self._woken:
                self._changed.wait()
            if self.closed or self._woken:
                self._woken = False
                return None
            client, jobs = next(iter(self._waiting.items()))
            job = jobs.popleft()
            if jobs:
                self._waiting.move_to_end(client)
            else:
                del self._waiting[client]
            self._running = job
            self._tell_positions()
            return job

    def wake(self) -> None:
        """Let whoever waits in ``take`` look about."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def done(self) -> None:
        """The job that was taken has ended."""
        with self._changed:
            self._running = None
            self.finished += 1
            self._tell_positions()

    def cancel(self, job_id: str) -> bool:
        """Take a waiting job away, or ask the running one to stop; returns whether there was one.

        Nobody waits for a model that is still being loaded; it will be there for the next job. Nor for the next layer
        of one that answers a question.
        """
        with self._changed:
            if self._running is not None and self._running.id == job_id:
                self._running.cancelled.set()
                if self._running.can_be_left:
                    self._running.tell(WasCancelled())
                return True
            found = next((job for job in self._in_turn() if job.id == job_id), None)
            if found is None:
                return False
            self._remove(found)
            self._tell_positions()
        found.cancelled.set()
        found.tell(WasCancelled())
        return True

    def close(self) -> None:
        """Cancel everything and hand out nothing more."""
        with self._changed:
            self.closed = True
            waiting = self._in_turn()
            self._waiting.clear()
            if self._running is not None:
                self._running.cancelled.set()
            self.finished += len(waiting)
            self._changed.notify_all()
        for job in waiting:
            job.tell(WasCancelled())

    def counts(self) -> tuple[int, int]:
        """Jobs that run and that wait."""
        with self._changed:
            return int(self._running is not None), sum(len(jobs) for jobs in self._waiting.values())

    def _in_turn(self) -> list[QueuedJob]:
        """What waits, in the order it will run if nothing else comes."""
        rows = [list(jobs) for jobs in self._waiting.values()]
        longest = max((len(row) for row in rows), default=0)
        return [row[place] for place in range(longest) for row in rows if place < len(row)]

    def _remove(self, job: QueuedJob) -> None:
        jobs = self._waiting[job.client]
        jobs.remove(job)
        if not jobs:
            del self._waiting[job.client]
        self.finished += 1

    def _tell_positions(self) -> None:
        before = int(self._running is not None)
        for place, job in enumerate(self._in_turn()):
            job.tell(Queued(place + before))
