"""Python packages that are there and of no use: too old, too new, or installed in a way that they cannot be loaded.

Versions are looked at before a command runs, which takes milliseconds. Loading all packages takes seconds, so whether
they can be loaded is tried only after something has failed.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import NamedTuple

from MedSAM3SegmentLib.errors import PackageError


class _Package(NamedTuple):
    """A package that the engine needs.

    Attributes:
        requirement: as in ``pyproject.toml``.
        module: what is imported of it.
        title: what people call it.
    """

    requirement: str
    module: str
    title: str = ""


#: In the order in which they are loaded, so that the first that fails is the one that the others fail with.
PACKAGES = (
    _Package("numpy>=1.26,<3", "numpy", "NumPy"),
    _Package("filelock>=3.30,<5", "filelock"),
    _Package("keyring>=25,<26", "keyring"),
    _Package("psutil>=7.1,<8", "psutil"),
    _Package("Pillow>=10,<14", "PIL.Image"),
    _Package("scipy>=1.11,<2", "scipy.ndimage", "SciPy"),
    _Package("SimpleITK>=2.4,<4", "SimpleITK"),
    _Package("nibabel>=5,<6", "nibabel"),
    _Package("rapidfuzz>=3.9,<4", "rapidfuzz"),
    _Package("pydicom>=3,<4", "pydicom"),
    _Package("requests>=2.31,<3", "requests"),
    _Package("rich>=13,<16", "rich.table"),
    _Package("starlette>=0.47,<2", "starlette.applications"),
    _Package("uvicorn>=0.34,<1", "uvicorn"),
    _Package("torch>=2.6", "torch", "PyTorch"),
    _Package("safetensors>=0.5,<1", "safetensors.torch"),
    _Package("tokenizers>=0.22,<1", "tokenizers"),
    _Package("huggingface-hub>=1.31,<3", "huggingface_hub"),
    _Package("transformers>=5.22,<6", "transformers.models.sam3.modeling_sam3"),
)


def check_versions() -> None:
    """Refuse packages of a version that the engine was not made for; what tells no version is let through.

    Raises:
        PackageError: the sentence says which, and how to install the right one.
    """
    try:
        from packaging.requirements import Requirement
    except Exception:  # a part of what transformers needs; that it is missing shows when that is loaded
        return
    for package in PACKAGES:
        requirement = Requirement(package.requirement)
        try:
            installed = metadata.version(requirement.name)
            fits = not installed or requirement.specifier.contains(installed, prereleases=True)
        except Exception:  # what came with 3D Slicer, or a damaged description: loading it will show
            continue
        if not fits:
            raise PackageError(
                "{package} {version} is installed and {needed} is needed; run: python -m pip install '{requirement}'",
                package=package.title or requirement.name,
                version=installed,
                needed=str(requirement.specifier),
                requirement=package.requirement,
            )


def find_broken_package() -> PackageError | None:
    """The first package that cannot be loaded as a sentence, or None if all can. Takes seconds."""
    for package in PACKAGES:
        name = package.module.partition(".")[0]
        title = package.title or name
        try:
            import_module(package.module)
        except ModuleNotFoundError as error:
            if error.name == name:
                return PackageError(
                    "{package} is not installed; run: python -m pip install '{requirement}'",
                    package=title,
                    requirement=package.requirement,
                )
            return _cannot_be_loaded(title, package.requirement, error)
        except Exception as error:  # a library that does not load raises anything
            return _cannot_be_loaded(title, package.requirement, error)
    return None


def _cannot_be_loaded(title: str, requirement: str, error: Exception) -> PackageError:
    why = " ".join(str(error).split()) or type(error).__name__
    if "WinError 126" in why:
        return PackageError(
            "{package} is installed but cannot be loaded, as a library that Windows needs for it is missing; install "
            "Microsoft's Visual C++ Redistributable (x64), or {package} anew: python -m pip install --force-reinstall "
            "'{requirement}'",
            package=title,
            requirement=requirement,
        )
    return PackageError(
        "{package} is installed but cannot be loaded ({why}); install it anew: python -m pip install --force-reinstall "
        "'{requirement}'",
        package=title,
        why=why[:200],
        requirement=requirement,
    )
