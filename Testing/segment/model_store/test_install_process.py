"""Installing a model in a process of its own: what it says and leaves is what installing does, and it can be ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from MedSAM3SegmentLib.engine.process_id import ProcessId
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.model_store.install import install, plan
from MedSAM3SegmentLib.model_store.install_process import PlannedModel, install_in_process, plan_in_process
from MedSAM3SegmentLib.model_store.store import find_installed, remove_model, store_folder
from support.engine_server import wait_until
from support.fake_hub import LocalHub


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDSAM3_MODELS", str(tmp_path / "store"))
    return tmp_path / "store"


def agreed(source: str) -> PlannedModel:
    """What ``plan_in_process`` gives, without another process; the first test compares the two."""
    found = plan(source)
    card = found.card
    return PlannedModel(source, found.name, card.description, card.licence, found.licence_url, found.size)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def test_what_is_installed_from_a_folder_is_what_installing_installs(tiny_model_folder: Path) -> None:
    planned = plan_in_process(str(tiny_model_folder))
    assert planned == agreed(str(tiny_model_folder))
    arrived: list[int] = []
    folder = install_in_process(planned, progress=lambda _, more: arrived.append(more))
    assert sum(arrived) == planned.size
    assert folder == find_installed(planned.name)
    apart = contents(folder)
    remove_model(planned.name)
    assert apart == contents(install(plan(str(tiny_model_folder))))


def test_a_download_tells_how_far_it_is(hub: LocalHub, tiny_model_folder: Path) -> None:
    hub.repositories["someone/tiny"] = tiny_model_folder
    planned = plan_in_process("someone/tiny")
    assert planned == agreed("someone/tiny")
    assert planned.licence == "apache-2.0"
    arrived: list[int] = []
    install_in_process(planned, progress=lambda _, more: arrived.append(more))
    assert sum(arrived) == planned.size
    assert max(arrived) < planned.size / 3
    assert find_installed("tiny") is not None


def test_a_download_that_stalls_can_be_left_and_begun_again(
    hub: LocalHub, tiny_model_folder: Path, store: Path
) -> None:
    hub.repositories["someone/tiny"] = tiny_model_folder
    hub.hold_after = (tiny_model_folder / "model.safetensors").stat().st_size // 2
    planned, arrived = agreed("someone/tiny"), [0]
    with pytest.raises(Cancelled, match="nothing of it was kept"):
        install_in_process(
            planned,
            progress=lambda _, more: arrived.append(more),
            cancel=lambda: sum(arrived) > 0.3 * planned.size,
        )
    assert not hub.go_on.is_set(), "the hub never went on"
    assert list(store.iterdir()) == []
    hub.hold_after = None
    install_in_process(planned, cancel=lambda: False)
    assert find_installed("tiny") is not None


@pytest.mark.skipif(os.name != "posix", reason="the launcher is a shell script")
def test_the_python_behind_a_launcher_ends_with_a_cancelled_download(
    hub: LocalHub, tiny_model_folder: Path, tmp_path: Path
) -> None:
    """Slicer's Python is a launcher; its child would go on fetching gigabytes."""
    hub.repositories["someone/tiny"] = tiny_model_folder
    hub.hold_after = (tiny_model_folder / "model.safetensors").stat().st_size // 2
    launcher, pid = tmp_path / "launcher", tmp_path / "pid"
    program = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, *sys.argv[1:]]); "
        f"open({str(pid)!r}, 'w').write(str(child.pid)); sys.exit(child.wait())"
    )
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{program}" "$@"\n')
    launcher.chmod(0o700)
    real: list[ProcessId] = []

    def is_enough() -> bool:
        if not real and pid.exists() and pid.read_text():
            real.append(ProcessId.of(int(pid.read_text())))
        return sum(arrived) > 0

    planned, arrived = agreed("someone/tiny"), [0]
    with pytest.raises(Cancelled):
        install_in_process(
            planned, python=str(launcher), progress=lambda _, more: arrived.append(more), cancel=is_enough
        )
    wait_until(lambda: not real[0].is_alive)  # it holds no file any more, and the system takes its memory back


def test_an_installation_cancelled_during_its_check_leaves_nothing(tiny_model_folder: Path, store: Path) -> None:
    """All is copied by then, and the folder it came from is left alone."""
    before = contents(tiny_model_folder)
    planned, arrived = agreed(str(tiny_model_folder)), [0]
    with pytest.raises(Cancelled):
        install_in_process(
            planned,
            progress=lambda _, more: arrived.append(more),
            cancel=lambda: sum(arrived) == planned.size,
        )
    assert list(store.iterdir()) == []
    assert contents(tiny_model_folder) == before


def test_refusals_are_those_of_installing(hub: LocalHub, tiny_model_folder: Path, tmp_path: Path) -> None:
    hub.gated.add("someone/gated")
    hub.repositories["someone/gated"] = tiny_model_folder
    with pytest.raises(ModelError, match="There is no someone/nothing on the hub"):
        plan_in_process("someone/nothing")
    with pytest.raises(InputError, match="neither a file, a folder"):
        install_in_process(replace(agreed("someone/gated"), source="no model at all"))
    with pytest.raises(ModelError, match="Access to someone/gated must be granted"):
        install_in_process(agreed("someone/gated"))
    broken = shutil.copytree(tiny_model_folder, tmp_path / "broken")
    planned = agreed(str(broken))
    weights = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[:-4] + b"\xff\xff\xff\xff")
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        install_in_process(planned)
    assert not (store_folder() / "broken").exists()


def test_a_model_that_has_changed_since_it_was_agreed_to_is_not_installed(tiny_model_folder: Path) -> None:
    planned = agreed(str(tiny_model_folder))
    with pytest.raises(ModelError, match="is not what it was when you agreed to it") as refused:
        install_in_process(replace(planned, licence="another licence"))
    assert refused.value.message.facts == {"model": planned.name}, "the panel says it in the user's language"
    assert not (store_folder() / planned.name).exists()


def test_a_python_that_does_not_start_or_ends_early_is_said(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="does not start"):
        plan_in_process(str(tiny_model_folder), python=str(tmp_path / "nothing"))
    monkeypatch.setenv("PYTHONHOME", str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match="Python ended early"):
        plan_in_process(str(tiny_model_folder))


@pytest.mark.skipif(os.name != "posix", reason="the broken Python is a shell script")
def test_a_python_that_ended_before_it_was_told_anything_is_heard(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'A library is missing.' >&2\n")
    broken.chmod(0o700)

    def ended(*command: Any, **options: Any) -> subprocess.Popen[str]:
        process = start(*command, **options)
        process.wait()
        return process

    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", ended)
    with pytest.raises(ModelError, match=r"Python ended early \(A library is missing\.\)"):
        plan_in_process("a model", python=str(broken))


def test_the_caller_loads_nothing_heavy(tiny_model_folder: Path) -> None:
    """In Slicer that would hold up the window."""
    code = (
        "import sys; from MedSAM3SegmentLib.model_store.install_process import install_in_process, plan_in_process; "
        f"print(plan_in_process({str(tiny_model_folder)!r}).name, "
        "{'torch', 'transformers', 'safetensors', 'huggingface_hub', 'numpy'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == f"{tiny_model_folder.name} set()"
