"""Which Python packages the engine needs that Slicer does not bring, looked for without importing them."""

from __future__ import annotations

import importlib.util
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from MedSAM3SegmentLib.errors import ModelError

#: What the panel installs.
_INSTALLED = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"

#: What the PyTorch extension installs, and what comes with Slicer.
_PYTORCH = "torch>=2.6"
_BROUGHT = ("SimpleITK>=2.4,<4", "requests>=2.31,<3")

#: Another version of these would break Slicer, or be a PyTorch that does not fit this computer.
_HELD = ("numpy", "Pillow", "pydicom", "requests", "scipy", "SimpleITK", "torch", "torchvision")


def import_name(requirement: Requirement) -> str:
    """``huggingface_hub`` for ``huggingface-hub>=1.31,<3``, and so on."""
    return requirement.name.replace("-", "_")


def _by_import_name(*lines: str) -> dict[str, Requirement]:
    requirements = [Requirement(line) for line in lines]
    return {import_name(requirement): requirement for requirement in requirements}


_REQUIREMENTS = _by_import_name(_PYTORCH, *_INSTALLED.read_text("utf-8").splitlines(), *_BROUGHT)

#: Import names of what a run needs: PyTorch first, what the panel installs, and what comes with Slicer.
NEEDED = tuple(_REQUIREMENTS)

#: Those that come with Slicer, which nothing here may install.
BROUGHT = tuple(_by_import_name(*_BROUGHT))

#: What the PyTorch extension is to install.
PYTORCH_RANGE = str(_REQUIREMENTS["torch"].specifier)


def missing_packages() -> tuple[str, ...]:
    """Those of ``NEEDED`` that are not installed, or in a version that cannot be used."""
    return tuple(name for name in NEEDED if not _is_installed(name))


def installed_versions() -> dict[str, str | None]:
    """The version of each of ``NEEDED`` that is installed, whether it can be used or not."""
    return {name: _version(requirement.name) for name, requirement in _REQUIREMENTS.items()}


def require_packages() -> None:
    """Check that the engine can start here.

    Raises:
        ModelError: a package is missing; the message says how to install it.
    """
    missing = missing_packages()
    if "torch" in missing:
        raise ModelError(
            "PyTorch {versions} is not installed in this Slicer; install the PyTorch extension in the Extensions "
            "Manager, restart Slicer, and press Install in the Set-up section of MedSAM3 Segment.",
            versions=PYTORCH_RANGE,
        )
    if missing:
        raise ModelError(
            "The Python package '{package}' is not installed in this Slicer; press Install in the Set-up section "
            "of MedSAM3 Segment, or run slicer.util.pip_install('{package}') in the Python console.",
            package=str(_REQUIREMENTS[missing[0]]),
        )


def held_versions() -> tuple[str, ...]:
    """Lines for pip such as ``numpy==2.4.6``, for what an installation must leave as it is."""
    found = ((name, _version(name)) for name in _HELD)
    return tuple(f"{name}=={installed}" for name, installed in found if installed is not None)


def _is_installed(name: str) -> bool:
    requirement = _REQUIREMENTS[name]
    try:
        if importlib.util.find_spec(name) is None:
            return False
        installed = _version(requirement.name)
        # What was built together with Slicer may tell no version.
        return installed is None or requirement.specifier.contains(installed, prereleases=True)
    except (ImportError, ValueError):
        return False


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def version(name: str) -> str:
    """As ``importlib.metadata.version``, in a fraction of the time: that reads all that a package says of itself."""
    found = distribution(name)
    header = found.read_text("METADATA") or found.read_text("PKG-INFO") or ""
    stated = re.search(r"^Version:\s*(\S+)", header, re.MULTILINE)
    return stated[1] if stated else found.version
