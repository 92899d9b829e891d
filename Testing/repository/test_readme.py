"""What the README says can be typed, pressed and opened is there: commands, console examples, buttons, files."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.cli import main
from MedSAM3SegmentLib.engine.client import engine_client
from support.cli_runs import write_phantom
from support.engine_server import TOKEN, Engine
from support.nodes import add_volume
from support.paths import ROOT
from support.slicer_modules import load_module

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = DOCUMENTS[0].read_text(encoding="utf-8")

#: What Slicer itself calls so.
OF_SLICER = {
    "Edit > Application Settings > Modules > Additional module paths",
    "Segmentation",
    "Show 3D",
    "Sample Data",
    "MedSAM3",
}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    """The text under a heading, with the headings below it."""
    (level,) = re.findall(rf"^(#+) {title}$", README, re.MULTILINE)
    return re.split(rf"^#{{1,{len(level)}}} ", README.split(f"\n{level} {title}\n")[1], flags=re.MULTILINE)[0]


def shell_lines() -> list[str]:
    scripts = [block for document in DOCUMENTS for block in blocks(document.read_text(encoding="utf-8"), "sh")]
    return [line for script in scripts for line in script.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("medsam3 ")])
def test_every_command_is_understood(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    assert callable(main._parser().parse_args(words).run)


def test_every_make_target_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    targets = set(re.findall(r"\bmake ([a-z-]+)(?=`| +#|$)", text, re.MULTILINE))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if not link.startswith("https://"):
            assert (document.parent / link).is_file(), link
    for name in re.findall(r"`((?:Resources|Testing|MedSAM3\w+|\.ci)/[\w./-]+)`", document.read_text(encoding="utf-8")):
        # Libraries are named without the module's folder.
        folder = ROOT / "MedSAM3Segment" if re.match(r"\w+Lib/", name) else ROOT
        assert (folder / name).exists(), name


@pytest.mark.parametrize("title", ["Install in Slicer", "Tutorial", "The agent in Slicer", "A GPU machine elsewhere"])
def test_what_is_to_be_pressed_is_called_so(title: str) -> None:
    sources = [*ROOT.glob("MedSAM3*/Resources/UI/*.ui"), *ROOT.glob("MedSAM3*/**/*.py")]
    shown = set()
    for source in sources:
        text = source.read_text(encoding="utf-8")
        shown |= set(re.findall(r"<string[^>]*>([^<]+)</string>", text) + re.findall(r'_\(\s*"([^"]+)"', text))
    labels = re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", section(title).replace("\n   ", " "))
    assert labels
    for label in set(labels) - OF_SLICER:
        assert {label, f"{label}:", f"{label}..."} & shown, label


def test_the_sample_of_the_tutorial_is_offered() -> None:
    (name,) = set(re.findall(r"load \*\*(\w+)\*\*", section("Tutorial") + section("The agent in Slicer")))
    assert f'"{name}"' in (ROOT / "MedSAM3Segment/MedSAM3SceneLib/mrml/sample_source.py").read_text(encoding="utf-8")
    assert f'getNode("{name}")' in section("In the Python console")


def test_the_console_examples_run_one_after_the_other(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load_module("MedSAM3Segment")
    segmenter = FakeSegmenter({"liver": 1, "tumor": 1, "spleen": 2, "left kidney": 3})
    monkeypatch.setitem(sys.modules, "MedSAM3Segment", module)
    array = np.zeros((48, 12, 12), np.int16)
    array[5:40, 1:6, 1:6] = 1
    array[5:40, 7:11, 1:5] = 2
    array[5:40, 7:11, 7:11] = 3
    nodes = {"MedSAM3SyntheticCT": add_volume(array)}
    names: dict[str, Any] = {"getNode": nodes.__getitem__, "otherVolumeNode": add_volume(array[::-1].copy())}
    before = module.MedSAM3SegmentLogic.__init__
    monkeypatch.setattr(module.MedSAM3SegmentLogic, "__init__", lambda logic: before(logic, segmenter))
    examples = blocks(section("In the Python console"), "python")
    assert len(examples) == 5
    for example in examples[:4]:
        exec(compile(example, "README.md", "exec"), names)
    job = names["job"]
    bench.wait(lambda: job.ended)
    assert [request.concepts for request in segmenter.requests] == [
        ("liver", "spleen", "left kidney"),
        ("tumor",),
        ("liver", "spleen"),
    ]
    assert [list(examples) for examples in segmenter.examples] == [["liver", "spleen", "left kidney"]]
    assert job.run.written is not None


@pytest.mark.usefixtures("bench")
def test_the_agents_console_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from support.agent_scene import ANSWERS, MASKS, add_abdomen, mask_of
    from support.scripted_segmenter import ScriptedSegmenter

    module = load_module("MedSAM3Agent")
    monkeypatch.setitem(sys.modules, "MedSAM3Agent", module)
    answers = {**ANSWERS, "left kidney": MASKS["kidney"] & ~MASKS["right kidney"]}
    before = module.MedSAM3AgentLogic.__init__
    monkeypatch.setattr(module.MedSAM3AgentLogic, "__init__", lambda logic: before(logic, ScriptedSegmenter(answers)))
    names: dict[str, Any] = {"volumeNode": add_abdomen()}
    (example,) = [one for one in blocks(section("In the Python console"), "python") if "MedSAM3AgentLogic" in one]
    exec(compile(example, "README.md", "exec"), names)
    assert {verdict.name for verdict in names["run"].rounds[-1].verdicts} == {"liver", "left kidney", "spleen"}
    for name in ("liver", "spleen"):
        assert (mask_of(names["keptNode"], name) == MASKS[name]).all(), "what was shrunk was taken back"


def test_the_recorded_session_of_the_readme_is_the_modules() -> None:
    from record_tutorial import RECORD, REQUEST

    assert f"`{REQUEST}`" in section("The agent in Slicer")
    module = (ROOT / "MedSAM3Agent/MedSAM3Agent.py").read_text(encoding="utf-8")
    assert f'"Tutorial/{RECORD.name}"' in module


def test_the_python_examples_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    monkeypatch.chdir(tmp_path)
    write_phantom(tmp_path / "try-it" / "phantom.nii.gz", seed=31)
    address, real = re.findall(r'EngineClient\("(.*)", token\)', README)[0], engine_client.EngineClient
    monkeypatch.setattr(
        engine_client, "EngineClient", lambda given, token: real({address: engine.address}[given], token)
    )
    names: dict[str, Any] = {"token": TOKEN}
    examples = blocks(section("In a shell"), "python")
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, "README.md", "exec"), names)
    assert names["result"].stack.grid.shape == names["stricter"].stack.grid.shape
