"""Which versions of what produced a result."""

from __future__ import annotations

import platform
from importlib import metadata

_PACKAGES = ("torch", "transformers", "SimpleITK", "numpy", "scipy")


def package_versions() -> dict[str, str]:
    """Versions of this project, Python and the packages that numbers depend on."""
    from MedSAM3SegmentLib import __version__

    versions = {"medsam3": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
