"""What the shell's user sees: results on standard output, everything else on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from io import StringIO
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

#: Columns to print where there is no terminal to ask, so that a log has whole lines.
LOG_WIDTH = 120


class ShowProgress(Protocol):
    """Shows what is being done, how much of it of how much in all (None if unknown), and the seconds left."""

    def __call__(
        self, what: str, done: int, total: int | None, unit: str, seconds_left: float | None = None, remark: str = ""
    ) -> None: ...


class Terminal:
    """Prints for people.

    Args:
        quiet: print errors only.
        verbose: also print what helps when something is wrong.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self._results = _console(sys.stdout)
        self._log = _console(sys.stderr)
        self._said: set[str] = set()
        self._bars: Progress | None = None

    @property
    def can_ask(self) -> bool:
        """Whether somebody is there to answer a question."""
        return sys.stdin is not None and sys.stdin.isatty()

    def ask(self, question: str) -> bool:
        """Ask a person, on standard error and also when quiet; only ``y`` and ``yes`` are a yes."""
        if self._bars is not None:
            self._bars.stop()
        try:
            _print(self._log, f"{question} [y/N]")
            return input().strip().lower() in ("y", "yes")
        except EOFError:
            return False
        finally:
            if self._bars is not None:
                self._bars.start()

    @property
    def shows_progress(self) -> bool:
        """Whether somebody is there to watch a bar."""
        return self._log.is_terminal and not self.quiet

    def result(self, content: Any) -> None:
        """Print text, or something of rich's, to standard output."""
        if not self.quiet:
            _print(self._results, content)

    def note(self, text: str, style: str = "") -> None:
        """Say one sentence on standard error, once however often it comes."""
        if not self.quiet and text not in self._said:
            self._said.add(text)
            _print(self._log, text, style)

    def detail(self, text: str) -> None:
        """Say what is of interest only when something is wrong."""
        if self.verbose:
            _print(self._log, text.rstrip(), "dim")

    def error(self, text: str) -> None:
        """Say what went wrong, in one line, also when quiet."""
        _print(self._log, f"medsam3: {' '.join(text.split())}", "bold red")

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Show that something of unknown length is going on."""
        with self._log.status(what) if self.shows_progress else nullcontext():
            yield

    @contextmanager
    def progress(self) -> Iterator[ShowProgress]:
        """A bar with what is done and the time left, which vanishes at the end."""
        if not self.shows_progress:
            yield _ignore
            return
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[left]}"),
            TextColumn("[dim]{task.fields[remark]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        )
        with Progress(*columns, console=self._log, transient=True, expand=True) as bars:
            task = bars.add_task("", visible=False, count="", left="", remark="")

            def show(
                what: str, done: int, total: int | None, unit: str, seconds_left: float | None = None, remark: str = ""
            ) -> None:
                count = "" if total is None else f"{done}/{total} {unit}"
                left = "" if seconds_left is None or done == total else f"{duration(seconds_left)} left"
                bars.update(
                    task,
                    visible=True,
                    description=what,
                    completed=done,
                    total=total,
                    count=count,
                    left=left,
                    remark=remark,
                )

            self._bars = bars
            try:
                yield show
            finally:
                self._bars = None


def duration(seconds: float) -> str:
    """``48 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class _Pipe:
    """A text stream for whatever the user has: the work goes on if it takes less than we write.

    It goes silent when its reader has gone away (``medsam3 info | head -1``), and characters that its encoding lacks
    are written as escapes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        encoding = self._stream.encoding or "utf-8"
        with _without_broken_pipe(self._stream):
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        with _without_broken_pipe(self._stream):
            self._stream.flush()


@contextmanager
def _without_broken_pipe(stream: TextIO) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        # What is still buffered would fail again when Python exits.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def flush_results() -> None:
    """Send out what was printed; a reader that has gone away is no error."""
    if sys.stdout is None:
        return
    with _without_broken_pipe(sys.stdout):
        sys.stdout.flush()


def _console(stream: TextIO | None) -> Console:
    from rich.console import Console

    if stream is None:  # closed by whoever started us, or a program without a console
        return Console(file=StringIO(), quiet=True)
    # A log file has no width to ask for; COLUMNS wins where it is set.
    width = None if stream.isatty() or "COLUMNS" in os.environ else LOG_WIDTH
    return Console(file=_Pipe(stream), width=width, highlight=False)  # type: ignore[arg-type]


def _print(console: Console, content: Any, style: str = "") -> None:
    # Phrases and paths are the user's: brackets in them are no markup, and their lines are not broken.
    console.print(content, style=style or None, markup=False, emoji=False, soft_wrap=isinstance(content, str))


def _ignore(*args: Any, **named: Any) -> None:
    del args, named
