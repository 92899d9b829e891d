"""Whether the engine's packages can really be imported, tried in a process of its own.

A package may be installed and still not load: a library is missing, or another extension changed a version.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

from MedSAM3SceneLib.engine.requirements import NEEDED
from MedSAM3SegmentLib.python_process import NO_WINDOW

#: In place of a package where no process of Python ran to the end.
PYTHON = "python"

#: What the process says before it imports a package.
_TRIES = "MEDSAM3 tries "

#: Seconds; the first import after an installation compiles a lot.
_TIMEOUT_S = 300

_PROGRAM = r"""
import importlib, json, re, sys
report = {"broken": {}, "versions": {}}
for name in sys.argv[1:]:
    print("MEDSAM3 tries " + name, flush=True)
    try:
        module = importlib.import_module(name)
        report["versions"][name] = str(getattr(module, "__version__", ""))
    except BaseException as error:
        report["broken"][name] = f"{type(error).__name__}: {error}"
if "torch" in report["versions"]:
    import torch
    report["device"] = "cpu"
    if torch.cuda.is_available():
        report["device"] = "cuda"
        report["gpu"] = torch.cuda.get_device_name(0)
        report["memory"] = torch.cuda.get_device_properties(0).total_memory
        # As PyTorch's own check has it: what was built for one capability runs on all of the same major version, and
        # the devices of ROCm, where there is no CUDA version, have other names.
        built_for = [re.match(r"sm_([0-9]+)[0-9]", name) for name in torch.cuda.get_arch_list()]
        majors = {int(found[1]) for found in built_for if found}
        major = torch.cuda.get_device_capability(0)[0]
        report["supported"] = torch.version.cuda is None or not majors or major in majors
    elif torch.backends.mps.is_available():
        report["device"] = "mps"
print("MEDSAM3" + json.dumps(report))
"""


@dataclass(frozen=True)
class ImportReport:
    """What can be imported, and where a model can run.

    Attributes:
        broken: why a package cannot be imported, by its name or ``PYTHON``.
        versions: of those that can.
        device: ``cuda``, ``mps`` or ``cpu``; empty without PyTorch.
        gpu: its name, or empty.
        gpu_bytes: its memory.
        is_supported: whether this PyTorch was built for it.
    """

    broken: dict[str, str]
    versions: dict[str, str]
    device: str = ""
    gpu: str = ""
    gpu_bytes: int = 0
    is_supported: bool = True


def check_imports(names: tuple[str, ...] = NEEDED) -> ImportReport:
    """Import ``names`` in another Python process and tell how that went. Takes seconds; call it on a thread."""
    try:
        ran = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *names],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            creationflags=NO_WINDOW,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return ImportReport({PYTHON: f"{type(error).__name__}: {error}"}, {})
    lines = [line for line in ran.stdout.splitlines() if line.startswith(("MEDSAM3{", _TRIES))]
    if not lines or lines[-1].startswith(_TRIES):
        why = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
        # A library that does not fit ends the process in the middle of an import.
        name = lines[-1].removeprefix(_TRIES) if lines else PYTHON
        return ImportReport({name: f"The process ended with code {ran.returncode}: {why}"}, {})
    said = json.loads(lines[-1].removeprefix("MEDSAM3"))
    return ImportReport(
        said["broken"],
        said["versions"],
        said.get("device", ""),
        said.get("gpu", ""),
        said.get("memory", 0),
        said.get("supported", True),
    )
