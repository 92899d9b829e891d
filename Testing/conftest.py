"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

from MedSAM3SegmentLib.models.threads import wait_passively
from support.fake_hub import hub
from support.scene import scene
from support.tiny_model import tiny_model_folder

# As the shell and the engine do when they start.
wait_passively()

__all__ = ["hub", "scene", "tiny_model_folder"]


# How long an example takes says something of the machine only. Developers meet new examples at each run; whether a
# change can be taken must not hang on which are drawn.
settings.register_profile("developer", deadline=None)
settings.register_profile("integration", deadline=None, derandomize=True)
settings.load_profile("integration" if os.environ.get("CI") else "developer")


# Whoever runs the tests has a keyring of their own, which they must not write to.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"


#: Why a test may be skipped where a change is checked; any other reason fails the run there.
ALLOWED_SKIPS = (
    "needs the real images in",
    "ray is not installed",
    "needs the reference set in",
    "slicer-core has no terminology files",
    "needs Orthanc with its DICOMweb plugin",
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
