"""Which Python packages the engine needs that Slicer does not bring, looked for without importing them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from MedSAM3SegmentLib.errors import ModelError

#: What the panel installs.
_REQUIREMENTS = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"


def _import_names(requirements: str) -> tuple[str, ...]:
    """``huggingface_hub`` for the line ``huggingface-hub>=1.31,<3``, and so on."""
    names = (re.match(r"[\w.-]+", line) for line in requirements.splitlines())
    return tuple(name[0].replace("-", "_") for name in names if name)


#: Import names of what a run needs: PyTorch first, what the panel installs, and what comes with Slicer.
NEEDED = ("torch", *_import_names(_REQUIREMENTS.read_text("utf-8")), "SimpleITK", "requests")


def missing_packages() -> tuple[str, ...]:
    """Those of ``NEEDED`` that are not installed."""
    return tuple(name for name in NEEDED if not _is_installed(name))


def require_packages() -> None:
    """Check that the engine can start here.

    Raises:
        ModelError: a package is missing; the message says how to install it.
    """
    missing = missing_packages()
    if "torch" in missing:
        raise ModelError(
            "PyTorch is not installed in this Slicer; install the PyTorch extension in the Extensions Manager, restart "
            "Slicer, and press Install in the Set-up section of MedSAM3 Segment."
        )
    if missing:
        raise ModelError(
            f"The Python package '{missing[0]}' is not installed in this Slicer; press Install in the Set-up section "
            f"of MedSAM3 Segment, or run slicer.util.pip_install('{missing[0]}') in the Python console."
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
