"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from engine_on_socket import engine
from local_hub import hub
from shell_runs import architecture, here, image, segment
from slicer_scene import scene
from tiny_model import tiny_model_folder

__all__ = ["architecture", "bench", "engine", "here", "hub", "image", "scene", "segment", "tiny_model_folder"]


# How long an example takes says something of the machine only. Developers meet new examples at each run; whether a
# change can be taken must not hang on which are drawn.
settings.register_profile("developer", deadline=None)
settings.register_profile("integration", deadline=None, derandomize=True)
settings.load_profile("integration" if os.environ.get("CI") else "developer")


#: Why a test may be skipped where a change is checked; any other reason fails the run there.
ALLOWED_SKIPS = (
    "needs the real images in",
    "needs the reference set in",
    "slicer-core has no terminology files",
    "Windows",
    "since Python 3.12",
    "measures resident memory as Linux tells it",
    "memory and open files are read from Linux's /proc",
    "the launcher is a shell script",
    "the broken Python is a shell script",
)

#: What was skipped for another reason, by the name of the test.
_skipped: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not any(allowed in reason for allowed in ALLOWED_SKIPS):
            _skipped[report.nodeid] = reason


def pytest_sessionfinish(session: pytest.Session) -> None:
    if os.environ.get("CI") and _skipped:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for name, reason in _skipped.items():
        terminalreporter.write_line(f"SKIPPED, which fails where changes are checked: {name}: {reason}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Free a test's widgets on this thread, when nothing holds them any more, and on no other one meanwhile.

    Python collects garbage on whichever thread happens to make some. PySide leaves the widgets in it to this thread for
    later, when Qt may have freed them with their parents: a segmentation fault, now and then, in any later test.
    """
    if "bench" not in getattr(item, "fixturenames", ()):
        return (yield)
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.enable()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A Slicer for panels and effects; see ``slicer_bench``. Fails a test that leaves an error nobody was told of."""
    from slicer_bench import open_bench

    with open_bench(monkeypatch, tmp_path) as opened:
        yield opened
        left, log_lines = list(opened.slot_errors), list(opened.log_lines)
    if left:
        raise left[0]
    assert log_lines == [], "Slicer's error log stays empty"


@pytest.fixture
def letters() -> Iterator[None]:
    """Letters of the size that Slicer has; the bench's own are smaller."""
    from PySide6.QtGui import QFont
    from PySide6.QtWidgets import QApplication

    before = QApplication.font()
    QApplication.setFont(QFont(before.family(), 10))
    yield
    QApplication.setFont(before)


@pytest.fixture
def nothing_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever is read, ITK and its libraries print nothing."""
    capfd.readouterr()
    yield
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def no_view_is_left(scene: Any) -> Iterator[None]:
    """Slice nodes are singletons, which survive when the scene is cleared."""
    from scene_nodes import remove_slice_views

    yield
    remove_slice_views(scene)
