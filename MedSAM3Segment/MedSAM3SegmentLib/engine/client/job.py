"""A job as its client sees it: events to poll, a way to cancel, and the result."""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Callable

from MedSAM3SegmentLib.engine.protocol.events import (
    Answered,
    Done,
    End,
    Event,
    Failed,
    WasCancelled,
)
from MedSAM3SegmentLib.errors import Cancelled, MedSAM3Error
from MedSAM3SegmentLib.language.question import LanguageAnswer
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.results.result import SegmentResult

#: Reports events of a job while it is sent and read; asks whether to stop.
JobWork = Callable[["RemoteJob"], None]


class RemoteJob:
    """Something that an engine was asked for.

    Nothing here blocks but ``wait``. Sending the volume and reading the answers happen in a thread of the job's own,
    which never touches the caller's objects.

    Args:
        work: sends the job and reports its events.
        send_cancel: tells the service to stop; may take its time.

    Attributes:
        id: 32 hexadecimal digits.
    """

    def __init__(self, work: JobWork, send_cancel: JobWork) -> None:
        self.id = uuid.uuid4().hex
        self._work = work
        self._send_cancel = send_cancel
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._end: End | None = None
        self._ended = threading.Event()
        self._cancelled = threading.Event()
        self._news = threading.Event()
        self._lock = threading.Lock()

    def start(self) -> RemoteJob:
        """Begin; returns itself."""
        threading.Thread(target=self._run, name=f"engine job {self.id[:8]}", daemon=True).start()
        return self

    def poll(self) -> list[Event]:
        """What has happened since the last call; the last event of all is Done, Answered, Failed or WasCancelled."""
        events = []
        while True:
            try:
                events.append(self._events.get_nowait())
            except queue.Empty:
                return events

    def cancel(self) -> None:
        """Ask to stop; ``WasCancelled`` follows, unless the job had just ended."""
        if self._cancelled.is_set() or self.ended:
            return
        self._cancelled.set()
        threading.Thread(target=self._cancel, name=f"cancel job {self.id[:8]}", daemon=True).start()

    @property
    def cancel_wanted(self) -> bool:
        return self._cancelled.is_set()

    @property
    def ended(self) -> bool:
        """Whether the last event has come."""
        return self._ended.is_set()

    def wait(self, timeout: float | None = None) -> SegmentResult:
        """The result, once it is there.

        Args:
            timeout: seconds to wait, or None for as long as it takes.

        Raises:
            Cancelled: the job was cancelled.
            MedSAM3Error: it failed.
            TimeoutError: it goes on.
        """
        end = self._end_within(timeout)
        assert isinstance(end, Done)
        return end.result

    def wait_for_answer(self, timeout: float | None = None) -> LanguageAnswer:
        """The answer to a question, once it is there; as ``wait``."""
        end = self._end_within(timeout)
        assert isinstance(end, Answered)
        return end.answer

    def _end_within(self, timeout: float | None) -> Done | Answered:
        if not self._ended.wait(timeout):
            raise TimeoutError("The job goes on.")
        if isinstance(self._end, WasCancelled):
            raise Cancelled(self._end.message)
        if isinstance(self._end, Failed):
            raise self._end.error
        assert self._end is not None
        return self._end

    def wait_for_news(self, seconds: float) -> None:
        """Wait until something happens, for at most ``seconds``."""
        self._news.wait(seconds)
        self._news.clear()

    def report(self, event: Event) -> None:
        """Take an event; what comes after the last one is dropped."""
        with self._lock:
            if self.ended:
                return
            self._events.put(event)
            if isinstance(event, End):
                self._end = event
                self._ended.set()
        self._news.set()

    def _run(self) -> None:
        try:
            self._work(self)
            self.report(Failed(message("The engine ended before the job was done; try again.")))
        except Cancelled as error:
            self.report(WasCancelled(error.message))
        except MedSAM3Error as error:
            if self.cancel_wanted:
                self.report(WasCancelled())
            self.report(Failed.of(error))
        except MemoryError:
            self.report(
                Failed(message("There was not enough memory to take the result; close other programs and try again."))
            )
        except Exception as error:  # a thread that ends without a word would leave the panel waiting
            self.report(
                Failed(
                    message(
                        "Something went wrong that should not ({kind}: {why}).",
                        kind=type(error).__name__,
                        why=str(error),
                    )
                )
            )

    def _cancel(self) -> None:
        try:
            self._send_cancel(self)
        except MedSAM3Error:
            # A service that is gone has stopped, and over a line that was cut nobody should wait for its silence.
            self.report(WasCancelled())
