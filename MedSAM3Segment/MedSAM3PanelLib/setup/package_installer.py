"""Installs the Python packages that are missing: PyTorch by its extension, the others by Slicer's pip.

Slicer's own ``pip_ensure`` ends with a dialog that does not say what is wrong. Here pip runs beside the window, and
what it prints becomes one sentence.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MedSAM3SceneLib.engine.requirements import (
    PYTORCH_RANGE,
    held_versions,
    import_name,
    missing_packages,
)

from .pip_failures import complaints_of, is_not_reached, reason_of

#: What the PyTorch extension works with: small, and in every package index that can serve it.
_DRY_RUN_OPTIONS = ["--dry-run", "--ignore-installed", "--no-deps", "--retries", "1", "light-the-torch"]


class PackageInstaller:
    """Installs one thing after the other, from the clock of the window.

    Args:
        requirements: the file with the packages that the panel installs.
        done: called when all is installed.
        stopped: called when not, with pip's own complaints; the user has been told why, or has said no.

    Attributes:
        is_busy: whether an installation is on its way.
    """

    def __init__(self, requirements: str, done: Callable[[], None], stopped: Callable[[str], None]) -> None:
        self._requirements = requirements
        self._done = done
        self._stopped = stopped
        self._printed: list[str] = []
        self._constraints: TemporaryDirectory[str] | None = None
        self._is_closed = False
        self.is_busy = False

    def install(self, broken: Sequence[str] = ()) -> None:
        """Install what is missing, and once more what is ``broken``."""
        from slicer.packaging import isPipInstallInProgress

        if self.is_busy or slicer.app.testingEnabled():
            return  # As Slicer's own installer: a test leaves Python as it is.
        if isPipInstallInProgress():
            _show(_("Something else is being installed; wait until that is done, and press Install again."))
            return
        self.is_busy = True
        if "torch" not in missing_packages():
            self._install_others(broken)
        elif _pytorch_extension() is None:
            self._stop(_("The PyTorch extension is missing; install it in the Extensions Manager and restart Slicer."))
        else:
            # The extension would only say that its installation has failed.
            self._pip(_DRY_RUN_OPTIONS, lambda code: self._index_was_looked_for(code, broken))

    def install_packages(self, lines: Sequence[str]) -> None:
        """Install what a single feature needs, as ``highdicom>=0.26``; asks first."""
        from slicer.packaging import isPipInstallInProgress

        if self.is_busy or slicer.app.testingEnabled():
            return
        if isPipInstallInProgress():
            _show(_("Something else is being installed; wait until that is done, and press the button again."))
            return
        self.is_busy = True
        self._ask_and_install([list(lines)], lines)

    def close(self) -> None:
        """Begin nothing more and tell nobody; what pip is doing it does to the end."""
        self._is_closed = True

    def _index_was_looked_for(self, code: int, broken: Sequence[str]) -> None:
        if code != 0 and is_not_reached(self._printed):
            self._stop(reason_of(self._printed))
        elif self._install_pytorch():
            self._install_others(broken)

    def _install_pytorch(self) -> bool:
        """Let the PyTorch extension install the PyTorch that fits this computer; whether it did."""
        logic = _pytorch_extension().PyTorchUtilsLogic()
        self._printed = []
        try:
            with _waiting(), _noting_prints(self._printed):
                installed = logic.installTorch(askConfirmation=True, torchVersionRequirement=PYTORCH_RANGE)
        except Exception as error:
            importlib.invalidate_caches()
            if "torch" not in missing_packages():
                return True  # Only its import into this process failed, which is tried out in another one.
            # Slicer has shown a dialog of its own where it installed something for the extension.
            was_shown = isinstance(error, CalledProcessError) and error.cmd == "pip install"
            self._stop("" if was_shown else reason_of(self._printed))
            return False
        if installed is None:
            self._stop("")
        return installed is not None

    def _install_others(self, broken: Sequence[str]) -> None:
        from slicer.packaging import load_requirements

        if self._is_closed:
            self._finish()
            return
        missing, lines, again = missing_packages(), [], []
        for requirement in load_requirements(self._requirements):
            name = import_name(requirement)
            if name in broken:
                again.append(str(requirement))
            elif name in missing:
                lines.append(str(requirement))
        calls = [lines] if lines else []
        if again:
            calls.append(["--force-reinstall", "--no-deps", *again])
        self._ask_and_install(calls, [*lines, *again])

    def _ask_and_install(self, calls: Sequence[list[str]], packages: Sequence[str]) -> None:
        question = _("Install {packages}? This changes Slicer's Python environment and takes a while.").format(
            packages=", ".join(packages)
        )
        if calls and not slicer.util.confirmOkCancelDisplay(question, windowTitle=_title()):
            self._stop("")
            return
        self._pip_all(calls)

    def _pip_all(self, calls: Sequence[list[str]]) -> None:
        """Run pip once after the other."""

        def ended(code: int) -> None:
            if code != 0:
                self._stop(reason_of(self._printed))
            else:
                self._pip_all(calls[1:])

        if calls:
            self._pip(calls[0], ended)
        else:
            self._finish()
            self._done()

    def _pip(self, arguments: list[str], ended: Callable[[int], None]) -> None:
        """Run pip beside the window, and call ``ended`` with its exit code."""
        from slicer.packaging import pip_install

        self._printed = []
        try:
            if self._constraints is None:
                self._constraints = TemporaryDirectory()
            # Packages that are skipped instead would keep pip from finding versions of the others that fit together.
            held = Path(self._constraints.name, "held.txt")
            held.write_text("\n".join(held_versions()), "utf-8")
            pip_install(
                arguments,
                constraints=held,
                blocking=False,
                requester=_title(),
                logCallback=self._note,
                completedCallback=lambda code: self._finish() if self._is_closed else ended(code),
            )
        except (OSError, RuntimeError) as error:
            self._note(str(error))
            self._stop(reason_of(self._printed))

    def _note(self, line: str) -> None:
        """Keep what pip says, and show it in the Python console, as Slicer does."""
        self._printed.append(line)
        print(line)

    def _stop(self, why: str) -> None:
        self._finish()
        if self._is_closed:
            return
        if why:
            _show(why)
        self._stopped(complaints_of(self._printed))

    def _finish(self) -> None:
        importlib.invalidate_caches()
        self.is_busy = False
        if self._constraints is not None:
            self._constraints.cleanup()
            self._constraints = None


def _title() -> str:
    return str(_("MedSAM3 Segment"))


def _show(why: str) -> None:
    slicer.util.errorDisplay(why, windowTitle=_title())


def _pytorch_extension() -> Any:
    """The module of the PyTorch extension, or None."""
    try:
        import PyTorchUtils
    except ImportError:
        return None
    return PyTorchUtils


@contextmanager
def _waiting() -> Iterator[None]:
    """The cursor says that the window cannot be used."""
    slicer.app.setOverrideCursor(qt.QCursor(qt.Qt.WaitCursor))
    try:
        yield
    finally:
        slicer.app.restoreOverrideCursor()


class _Copied:
    """Writes where ``target`` does, and keeps the lines."""

    def __init__(self, target: Any, lines: list[str]) -> None:
        self._target, self._lines = target, lines

    def write(self, text: str) -> None:
        self._lines.extend(filter(None, text.splitlines()))
        self._target.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


@contextmanager
def _noting_prints(lines: list[str]) -> Iterator[None]:
    """Keep in ``lines`` what is printed, which is all that is known of a pip that others run."""
    with redirect_stdout(_Copied(sys.stdout, lines)):
        yield
