"""``slicer.packaging``: notes down what is to be installed, and shows and raises what Slicer 5.12 does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import slicer
from packaging.requirements import Requirement
from PySide6 import QtCore


@dataclass
class Installs:
    """What ``slicer.packaging`` was asked for, and how pip ends.

    Attributes:
        requirements: of each installation.
        options: its named arguments; ``constraints`` are the lines of the file.
        looked_for: of each dry run.
        failure: what pip ends with in place of success; its ``output`` is what pip prints.
        succeeded: called with the requirements of an installation when it has succeeded.
        held: let pip run until ``release`` is called.
    """

    requirements: list[list[str]] = field(default_factory=list)
    options: list[dict[str, Any]] = field(default_factory=list)
    looked_for: list[list[str]] = field(default_factory=list)
    failure: CalledProcessError | None = None
    succeeded: Callable[[list[str]], None] = lambda _requirements: None
    held: bool = False
    _waiting: list[Callable[[], None]] = field(default_factory=list)

    def release(self) -> None:
        """Let pip come to its end."""
        self.held = False
        while self._waiting:
            self._waiting.pop(0)()

    @property
    def is_on_its_way(self) -> bool:
        return bool(self._waiting)

    def end(self, then: Callable[[], None]) -> None:
        """Call ``then`` when pip has ended, from the event loop."""
        self._waiting.append(then)
        if not self.held:
            QtCore.QTimer.singleShot(0, self.release)

    def outcome(self, asked: list[str]) -> tuple[int, list[str]]:
        """How pip ends that was asked for something, and what it printed."""
        if self.failure is None:
            if "--dry-run" not in asked:
                self.succeeded([each for each in asked if not each.startswith("-")])
            return 0, ["Successfully installed it"]
        return self.failure.returncode, str(self.failure.output or "").splitlines()


def record_installs(monkeypatch: Any) -> Installs:
    """Let ``slicer.packaging`` note down what it is asked for instead of installing it."""
    installs = Installs()

    def pip_install(
        requirements: str | list[str],
        constraints: str | Path | None = None,
        no_deps_requirements: str | list[str] | None = None,
        skip_packages: list[str] | None = None,
        blocking: bool = True,
        show_progress: bool = True,
        requester: str | None = None,
        logCallback: Callable[[str], None] | None = None,  # noqa: N803
        completedCallback: Callable[[int], None] | None = None,  # noqa: N803
    ) -> None:
        del no_deps_requirements
        asked = requirements.split() if isinstance(requirements, str) else list(requirements)
        if "--dry-run" in asked:
            installs.looked_for.append(asked)
        else:
            installs.requirements.append(asked)
            held = Path(constraints).read_text("utf-8").splitlines() if constraints is not None else []
            installs.options.append({"constraints": held, "skip_packages": skip_packages, "requester": requester})
        if not blocking and installs.is_on_its_way:
            raise RuntimeError("A non-blocking pip_install is already in progress.")

        def end() -> None:
            code, printed = installs.outcome(asked)
            for line in printed:
                (logCallback or print)(line)
            if completedCallback is not None:
                completedCallback(code)

        if not blocking:
            installs.end(end)
            return
        code, printed = installs.outcome(asked)
        print("\n".join(printed))
        if code != 0 and show_progress:
            title = f"{requester} - Installation Failed" if requester else "Installation Failed"
            slicer.util.errorDisplay("Package installation failed.", windowTitle=title, detailedText="\n".join(printed))
            raise CalledProcessError(code, "pip install")
        if code != 0:
            # What it printed was read to the end already.
            raise CalledProcessError(code, ["PythonSlicer", "-m", "pip", "install", *asked])

    def pip_ensure(
        requirements: list[Requirement],
        constraints: str | Path | None = None,
        skip_packages: list[str] | None = None,
        prompt_install: bool = True,
        prompt_restart: bool = True,
        requester: str | None = None,
        skip_in_testing: bool = True,
        show_progress: bool = True,
    ) -> None:
        del prompt_restart, skip_in_testing
        question, title = f"{len(requirements)} Python packages...", f"{requester} - Install Python Packages"
        if prompt_install and not slicer.util.confirmOkCancelDisplay(question, windowTitle=title):
            raise RuntimeError("User declined package installation")
        lines = [str(requirement) for requirement in requirements]
        pip_install(lines, constraints, None, skip_packages, True, show_progress, requester)

    def load_requirements(path: str) -> list[Requirement]:
        lines = [line.split("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
        return [Requirement(line) for line in lines if line and not line.startswith("-")]

    packaging = sys.modules["slicer.packaging"]
    for stand_in in (pip_install, pip_ensure, load_requirements):
        monkeypatch.setattr(packaging, stand_in.__name__, stand_in, raising=False)
    monkeypatch.setattr(packaging, "isPipInstallInProgress", lambda: installs.is_on_its_way, raising=False)
    # As Slicer has it for old scripts and for the PyTorch extension.
    monkeypatch.setattr(
        slicer.util, "pip_install", lambda requirements, **options: pip_install(requirements, **options)
    )
    return installs
