"""Python packages that look as if they were not installed, and the extension that brings PyTorch; for tests."""

from __future__ import annotations

import sys
from subprocess import CalledProcessError
from types import SimpleNamespace
from typing import Any

import slicer
from packaging.requirements import Requirement

from MedSAM3SceneLib.engine import requirements


def without(monkeypatch: Any, bench: Any, *names: str) -> set[str]:
    """Let packages look as if they were not installed, until they are taken out of the answer or pip installs them."""
    absent = set(names)
    is_installed = requirements._is_installed
    monkeypatch.setattr(requirements, "_is_installed", lambda name: name not in absent and is_installed(name))
    bench.installs.succeeded = lambda lines: absent.difference_update(
        requirements.import_name(Requirement(line)) for line in lines
    )
    return absent


class PyTorchExtension:
    """``PyTorchUtils`` of the PyTorch extension, as far as it shows dialogs and fails.

    Attributes:
        asked: the arguments of each installation.
        helper_is_there: whether ``light_the_torch`` is installed already; Slicer's pip brings it otherwise.
        printed: what ``light_the_torch`` prints, which fails if that is anything.
        broken: raised by the import of PyTorch afterwards.
    """

    def __init__(self, monkeypatch: Any, absent: set[str]) -> None:
        self.asked: list[dict[str, Any]] = []
        self.helper_is_there = False
        self.printed: list[str] = []
        self.broken: Exception | None = None
        self._absent = absent
        module = SimpleNamespace(PyTorchUtilsLogic=lambda: SimpleNamespace(installTorch=self._install))
        monkeypatch.setitem(sys.modules, "PyTorchUtils", module)

    def _install(self, askConfirmation: bool = False, torchVersionRequirement: str = "") -> Any:  # noqa: N803
        self.asked.append({"askConfirmation": askConfirmation, "torchVersionRequirement": torchVersionRequirement})
        if askConfirmation and not slicer.util.confirmOkCancelDisplay("PyTorch will be downloaded and installed."):
            return None
        if not self.helper_is_there:
            slicer.util.pip_install("light-the-torch>=0.5")
        if self.printed:
            print("\n".join(self.printed))
            raise CalledProcessError(1, ["PythonSlicer", "-m", "light_the_torch", "install", "torch"])
        self._absent.discard("torch")
        if self.broken is not None:
            raise self.broken
        return object()
