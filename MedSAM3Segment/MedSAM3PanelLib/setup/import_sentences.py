"""What the panel says of packages that were tried out."""

from __future__ import annotations

from slicer.i18n import tr as _

from MedSAM3SceneLib.engine.requirements import BROUGHT
from MedSAM3SegmentLib.units import format_bytes

from .import_check import PYTHON, ImportReport


def words_of(report: ImportReport) -> str:
    """What was found out, in one sentence, or two where a GPU is of no use."""
    return str(_broken_words(report) if report.broken else _device_words(report))


def details_of(report: ImportReport) -> str:
    """Why packages cannot be loaded, in Python's own words."""
    return "\n".join(f"{name}: {why}" for name, why in report.broken.items())


def _broken_words(report: ImportReport) -> str:
    """One sentence for the package that the others fail with."""
    if PYTHON in report.broken:
        return _("The packages could not be tried out, as no Python process ran; restart Slicer and press Check again.")
    if "torch" in report.broken:
        if "WinError 126" in report.broken["torch"]:
            return _(
                "PyTorch is installed but cannot be loaded, as a library that Windows needs for it is missing; install"
                " Microsoft's Visual C++ Redistributable (x64), restart Slicer, and press Check."
            )
        return _(
            "PyTorch is installed but cannot be loaded; uninstall it in the PyTorch Utils module, restart Slicer, and"
            " press Install what is missing."
        )
    names = ", ".join(report.broken)
    if set(report.broken) <= set(BROUGHT):
        return _("{packages}, a part of Slicer, cannot be loaded; install Slicer again.").format(packages=names)
    return _(
        "Installed but cannot be loaded: {packages}; press Install what is missing to install it again, and restart"
        " Slicer if that does not help."
    ).format(packages=names)


def _device_words(report: ImportReport) -> str:
    torch = _("PyTorch {version} works").format(version=report.versions.get("torch", ""))
    if report.device == "cuda":
        where = _("{torch} on {gpu} with {memory}.").format(
            torch=torch, gpu=report.gpu, memory=format_bytes(report.gpu_bytes)
        )
        if not report.is_supported:
            where += " " + _("It was not built for this GPU; install another version with the PyTorch extension.")
        return str(where)
    if report.device == "mps":
        return _("{torch} on this computer's Apple GPU.").format(torch=torch)
    return _("{torch} without a GPU: large models will be slow.").format(torch=torch)
