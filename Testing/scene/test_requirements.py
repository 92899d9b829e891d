"""What the panel looks for before it starts the engine is what the engine imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from MedSAM3SceneLib.engine import requirements
from MedSAM3SegmentLib.errors import ModelError

#: Import names of what is a part of every Slicer and is never looked for.
IN_SLICER = {"numpy", "PIL", "urllib3"}

#: Runs ``medsam3 serve`` and a job of a small model, and tells what the library itself imported on the way.
_WATCHED = """
import builtins, json, os, signal, sys, threading
sys.path[:0] = {path!r}
imported, real = set(), builtins.__import__

def watch(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0 and str((globals or {{}}).get("__name__", "")).startswith("MedSAM3SegmentLib"):
        imported.add(name.partition(".")[0])
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = watch
from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.process.discovery import find_running_engines
from MedSAM3SegmentLib.errors import MedSAM3Error
from MedSAM3SegmentLib.request import SegmentRequest
from support.engine_server import volume_of

def use():
    while not find_running_engines():
        pass
    engine = find_running_engines()[0]
    client = EngineClient(engine.address, engine.token, model={model!r}, device="cpu")
    result = client.segment(volume_of(), SegmentRequest(("liver",), threshold=0.3))
    print(json.dumps([bool(result.concepts[0].found), sorted(imported)]), flush=True)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=use, daemon=True).start()
main(["serve", "--quiet"])
"""


def test_all_that_the_engine_imports_is_looked_for(tiny_model_folder: Path, tmp_path: Path) -> None:
    program = _WATCHED.format(path=sys.path, model=str(tiny_model_folder))
    environment = {**os.environ, "MEDSAM3_RUN": str(tmp_path / "run"), "TMPDIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    found, imported = json.loads(ran.stdout.splitlines()[-1])

    assert found, "a job was done, so that everything was imported"
    foreign = {name for name in imported if name not in sys.stdlib_module_names and not name.startswith("MedSAM3")}
    assert {"rich", "uvicorn", "transformers", "torch"} <= foreign
    assert foreign <= IN_SLICER | set(requirements.NEEDED)


def test_each_package_that_is_looked_for_can_be_found_by_its_name() -> None:
    assert requirements.NEEDED[0] == "torch", "the PyTorch extension comes before all else"
    assert requirements.missing_packages() == ()


@pytest.mark.parametrize(
    ("distribution", "installed", "name", "said"),
    [
        ("transformers", "4.57.1", "transformers", "'transformers<6,>=5.22'"),
        ("huggingface-hub", "0.36.0", "huggingface_hub", "pip_install('huggingface-hub"),
        ("torch", "2.4.1+cu121", "torch", "PyTorch extension"),
    ],
)
def test_a_version_that_another_extension_left_counts_as_missing(
    monkeypatch: pytest.MonkeyPatch, distribution: str, installed: str, name: str, said: str
) -> None:
    real = requirements.version
    monkeypatch.setattr(requirements, "version", lambda asked: installed if asked == distribution else real(asked))

    assert requirements.missing_packages() == (name,)
    with pytest.raises(ModelError) as error:
        requirements.require_packages()
    assert said in str(error.value)


def test_looking_for_packages_does_not_read_all_their_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes tens of milliseconds, and the window waits for it at each run and whenever the panel is entered."""
    stated = {name: metadata.version(name.replace("_", "-")) for name in requirements.NEEDED}

    def read(self: metadata.Distribution) -> None:
        raise AssertionError(f"{self} was read")

    monkeypatch.setattr(metadata.Distribution, "metadata", property(read))

    assert requirements.missing_packages() == ()
    assert requirements.installed_versions() == stated


def test_what_tells_no_version_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def untold(distribution: str) -> str:
        raise PackageNotFoundError(distribution)

    monkeypatch.setattr(requirements, "version", untold)

    assert requirements.missing_packages() == ()
    assert requirements.held_versions() == ()
