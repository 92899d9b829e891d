"""Packages that are there and of no use, as the shell meets them: a sentence and an exit code of its own."""

from __future__ import annotations

import os
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from MedSAM3SegmentLib.engine.process import engine_process
from MedSAM3SegmentLib.errors import EngineError, PackageError
from MedSAM3SegmentLib.exit_codes import BAD_PACKAGE
from MedSAM3SegmentLib.reporting import packages
from MedSAM3SegmentLib.reporting.packages import PACKAGES, _Package, check_versions, find_broken_package
from support.cli_runs import LIBRARY, files_in, here, image, start
from support.external_data import SHARED, needs_shared
from support.paths import ROOT

__all__ = ["here", "image"]


def test_what_is_checked_is_what_is_installed() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert sorted(package.requirement for package in PACKAGES) == sorted(dependencies)


def test_here_all_is_well() -> None:
    check_versions()
    assert find_broken_package() is None


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.module)
def test_another_version_is_refused(package: _Package, monkeypatch: pytest.MonkeyPatch) -> None:
    name = Requirement(package.requirement).name
    there = metadata.version
    monkeypatch.setattr(metadata, "version", lambda asked: "0.0.1" if asked == name else there(asked))
    with pytest.raises(PackageError, match=r"0\.0\.1 is installed and .* is needed; run: python -m pip install"):
        check_versions()


def test_what_tells_no_version_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: None)
    check_versions()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.module)
@pytest.mark.parametrize("error", [OSError("libx.so.1: no such file"), AttributeError("x"), ImportError("y")])
def test_each_that_cannot_be_loaded_is_named(
    package: _Package, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = packages.import_module

    def load_all_but_one(name: str) -> object:
        if name == package.module:
            raise error
        return load(name)

    monkeypatch.setattr(packages, "import_module", load_all_but_one)
    said = str(find_broken_package())
    assert re.search(r"is installed but cannot be loaded \(.*\); install it anew: python -m pip install", said)
    assert f"'{package.requirement}'" in said


def test_one_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr(packages, "import_module", load)
    assert str(find_broken_package()).startswith("NumPy is not installed; run: python -m pip install 'numpy")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("numpy", ["--version"]),
        ("rich", ["info"]),
        ("uvicorn", ["serve"]),
        ("torch", ["segment", "IMAGE", "--concept", "liver", "--output", "a.seg.nrrd"]),
        ("transformers", ["segment", "IMAGE", "--concept", "liver", "--output", "a.nii.gz"]),
    ],
)
def test_the_shell_says_it_in_one_sentence(
    name: str, words: list[str], here: Path, image: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken" / name
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise OSError('libx.so.1: cannot open shared object file')\n")
    before = files_in(here)
    words = [str(image) if word == "IMAGE" else word for word in words]
    process = start(*words, cwd=here, PYTHONPATH=os.pathsep.join([str(broken.parent), str(LIBRARY)]))
    _, err = process.communicate(timeout=300)
    (line,) = [line for line in err.splitlines() if line.startswith("medsam3: ")]
    assert process.returncode == BAD_PACKAGE
    assert "is installed but cannot be loaded (libx.so.1: cannot open shared object file)" in line
    assert "Traceback" not in err
    assert files_in(here) == before


@needs_shared
def test_a_broken_pytorch_of_windows_is_told_what_is_missing(here: Path, image: Path) -> None:
    folder = SHARED / "cases" / "broken-pytorch"
    words = ("segment", str(image), "--concept", "liver", "--output", "a.nii.gz")
    process = start(*words, cwd=here, PYTHONPATH=os.pathsep.join([str(folder), str(LIBRARY)]))
    _, err = process.communicate(timeout=300)
    assert process.returncode == BAD_PACKAGE
    assert "PyTorch is installed but cannot be loaded, as a library that Windows needs" in err


def test_the_engine_says_it_to_who_started_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uvicorn").mkdir()
    (tmp_path / "uvicorn" / "__init__.py").write_text("raise OSError('libx.so.1')\n")
    monkeypatch.setenv("MEDSAM3_RUN", str(tmp_path / "run"))
    path = os.pathsep.join([str(tmp_path), str(LIBRARY)])
    monkeypatch.setattr(engine_process, "child_environment", lambda: {**os.environ, "PYTHONPATH": path})
    engine = engine_process.EngineProcess()
    with pytest.raises(EngineError, match=r"could not be started: uvicorn is installed but cannot be loaded \(libx"):
        engine.connect()
