"""Which versions of what produced a result."""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib import metadata

_PACKAGES = ("torch", "transformers", "SimpleITK", "numpy", "scipy")


def package_versions() -> dict[str, str]:
    """Versions of this project, Python and the packages that numbers depend on."""
    return dict(_read_versions())


@lru_cache(maxsize=1)
def _read_versions() -> dict[str, str]:
    """What is imported does not change while the process lives, and reading it takes longer than a small picture."""
    from MedSAM3SegmentLib import __version__

    versions = {"medsam3": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
