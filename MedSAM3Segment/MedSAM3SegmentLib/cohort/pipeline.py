"""Cases one after another: one is read and one is written while another is segmented.

What is held at once is bounded: one case that is read ahead, one that is segmented, one that is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Generic, TypeVar

from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.progress import CancelCheck

from .case import Case

#: How often it is asked whether to stop while a case is waited for.
_POLL_INTERVAL_S = 0.1

Image = TypeVar("Image")
Answer = TypeVar("Answer")
Done = TypeVar("Done")


class Pipeline(Generic[Image, Answer, Done]):
    """Reads, segments and writes cases.

    Args:
        read: gives what is segmented; runs on a thread of its own.
        segment: gives what is written; runs on the thread of the caller. It may raise ``Cancelled``.
        write: gives what is known of the case then; runs on a thread of its own.
        failed: gives what is known of a case that ``read`` or ``segment`` raised for, or raises again what should end
            all. What ``write`` raises ends all, for a disk that is full stays so.
    """

    def __init__(
        self,
        read: Callable[[Case], Image],
        segment: Callable[[Case, Image], Answer],
        write: Callable[[Case, Image, Answer], Done],
        failed: Callable[[Case, Exception], Done],
    ) -> None:
        self._read, self._segment, self._write, self._failed = read, segment, write, failed

    def run(self, cases: Sequence[Case], cancel: CancelCheck) -> Iterator[tuple[Case, Done, float]]:
        """Give each case when it is done, with its seconds from reading to writing.

        What is being written when ``cancel`` says so is written to its end, and given.

        Raises:
            Cancelled: ``cancel`` said so.
        """
        reader, writer = ThreadPoolExecutor(1, "read"), ThreadPoolExecutor(1, "write")
        writing: tuple[Case, Future[Done], float] | None = None
        reading = reader.submit(self._read, cases[0]) if cases else None
        try:
            for number, case in enumerate(cases):
                started, answer = time.monotonic(), None
                image, error = _result(reading, cancel)  # type: ignore[arg-type]
                reading = reader.submit(self._read, cases[number + 1]) if number + 1 < len(cases) else None
                if error is None:
                    try:
                        answer = self._segment(case, image)  # type: ignore[arg-type]
                    except Cancelled:
                        raise
                    except Exception as raised:
                        error = raised
                if writing is not None:
                    before, writing = writing, None
                    yield _given(before)
                if error is not None:
                    yield case, self._failed(case, error), time.monotonic() - started
                else:
                    writing = case, writer.submit(self._write, case, image, answer), started  # type: ignore[arg-type]
                # What is not needed any more must not wait for the next case to be read.
                del image, answer, error
            if writing is not None:
                before, writing = writing, None
                yield _given(before)
        except Cancelled:
            if writing is not None:
                yield _given(writing)
            raise
        finally:
            reader.shutdown(wait=False, cancel_futures=True)
            writer.shutdown(wait=True)


def _result(future: Future[Image] | None, cancel: CancelCheck) -> tuple[Image | None, Exception | None]:
    assert future is not None
    while True:
        if cancel():
            raise Cancelled()
        try:
            return future.result(timeout=_POLL_INTERVAL_S), None
        except FutureTimeoutError as error:
            # It may be the reader's own.
            if future.done():
                return None, error
        except Exception as error:
            return None, error


def _given(writing: tuple[Case, Future[Done], float]) -> tuple[Case, Done, float]:
    case, future, started = writing
    return case, future.result(), time.monotonic() - started
