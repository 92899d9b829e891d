"""Every member of a widget that the source uses exists in Slicer, and so does every member of the bench's stand-ins."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT
from support.qt_api import is_known, members, qt_class, settable, signals
from support.widget_usage import Use, module_names, widget_uses, widgets_of_ui_file

SEGMENT, AGENT = ROOT / "MedSAM3Segment", ROOT / "MedSAM3Agent"

#: Python files that work with widgets, and the .ui file whose widgets they call ``ui``.
SOURCES = [
    *((path, SEGMENT / "Resources/UI/MedSAM3Segment.ui") for path in sorted(SEGMENT.glob("MedSAM3PanelLib/**/*.py"))),
    *((path, None) for path in sorted(SEGMENT.glob("MedSAM3WidgetsLib/**/*.py"))),
    *((path, None) for path in sorted(SEGMENT.glob("SegmentEditorMedSAM3Lib/*.py"))),
    (SEGMENT / "MedSAM3Segment.py", SEGMENT / "Resources/UI/MedSAM3Segment.ui"),
    *((path, None) for path in sorted(SEGMENT.glob("MedSAM3SceneLib/**/*.py"))),
    (AGENT / "MedSAM3Agent.py", AGENT / "Resources/UI/MedSAM3Agent.ui"),
    *((path, AGENT / "Resources/UI/MedSAM3Agent.ui") for path in sorted(AGENT.glob("MedSAM3AgentPanelLib/**/*.py"))),
    *((path, None) for path in sorted(AGENT.glob("MedSAM3AgentWidgetsLib/**/*.py"))),
    *((path, None) for path in sorted(AGENT.glob("MedSAM3AgentSceneLib/**/*.py"))),
    *((path, None) for path in sorted(AGENT.glob("MedSAM3AgentLib/**/*.py"))),
    *((path, None) for path in sorted(AGENT.glob("MedSAM3AgentSceneLib/**/*.py"))),
    *((path, None) for path in sorted(AGENT.glob("MedSAM3AgentWidgetsLib/**/*.py"))),
]

#: Names that stand for the same object wherever they are used.
SAME_EVERYWHERE = {
    "slicer.app": "qSlicerApplication",
    "self.scriptedEffect": "qSlicerSegmentEditorScriptedEffect",
    "scriptedEffect": "qSlicerSegmentEditorScriptedEffect",
    "scripted_effect": "qSlicerSegmentEditorScriptedEffect",
}

#: What must not be loaded because Slicer starts.
HEAVY = {"torch", "transformers", "scipy", "SimpleITK", "starlette", "uvicorn", "requests", "PIL", "huggingface_hub"}

BY_FILE = pytest.mark.parametrize(("path", "ui_file"), SOURCES, ids=lambda value: value.name if value else "")


def uses_in(path: Path, ui_file: Path | None) -> list[Use]:
    names = dict(SAME_EVERYWHERE)
    if path.parent.name == "SegmentEditorMedSAM3Lib":
        names["self._host"] = "qSlicerSegmentEditorScriptedEffect"
    return list(widget_uses(path, widgets_of_ui_file(ui_file) if ui_file else {}, names))


def complaint(use: Use) -> str:
    """What is wrong with a use, or nothing."""
    if use.kind == "connect":
        wrong = use.member.replace(" ", "") not in signals(use.class_name)
        return f"{use.place}: {use.class_name} has no signal {use.member}" if wrong else ""
    if use.kind == "set" and use.member not in settable(use.class_name):
        return f"{use.place}: {use.class_name}.{use.member} is no property that can be set"
    if use.member not in members(use.class_name):
        return f"{use.place}: {use.class_name} has no member {use.member}"
    return ""


@BY_FILE
def test_every_widget_member_exists_in_slicer(path, ui_file):
    assert [complaint(use) for use in uses_in(path, ui_file) if complaint(use)] == []


def test_the_check_finds_uses_of_all_kinds_and_refuses_what_is_not_there(tmp_path):
    seen = {use.kind for path, ui_file in SOURCES for use in uses_in(path, ui_file)}
    assert seen == {"read", "set", "connect"}
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import qt\n"
        "label = qt.QLabel()\nlabel.txet = 1\nlabel.setTextt('a')\nlabel.connect('klicked()', print)\n"
        "ui.volumeSelector.currentNod()\nui.volumeSelector.nodeCount = 3\nlabel.text = 'fine'\n"
    )
    ui_file = SEGMENT / "Resources/UI/MedSAM3Segment.ui"
    complaints = [complaint(use) for use in uses_in(wrong, ui_file) if complaint(use)]
    assert sorted(text.split(":")[1] for text in complaints) == ["3", "4", "5", "6", "7"]


@BY_FILE
def test_every_name_of_the_qt_module_exists_in_qt(path, ui_file):
    del ui_file
    for name, place in module_names(path, "qt"):
        first, *rest = name.split(".")
        found = qt_class(first)
        assert found is not None, f"{place}: qt.{name}"
        for part in rest:
            assert hasattr(found, part), f"{place}: qt.{name}"
            found = getattr(found, part)


@BY_FILE
def test_no_widget_is_asked_whether_it_is_an_instance_of_a_class_of_qt(path, ui_file):
    """In PythonQt a QPushButton is no instance of QWidget."""
    del ui_file
    asked = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass")
    ]
    assert [call for call in asked if any(name in call for name in ("qt.Q", "ctk.ctk", "slicer.q"))] == []


@BY_FILE
def test_every_function_of_slicer_util_exists(path, ui_file):
    del ui_file
    import slicer

    for name, place in module_names(path, "slicer.util"):
        assert hasattr(slicer.util, name.split(".")[0]), f"{place}: slicer.util.{name}"


@pytest.mark.parametrize("ui_file", sorted({ui for _, ui in SOURCES if ui}), ids=lambda path: path.name)
def test_ui_files_use_classes_and_signals_that_exist(ui_file):
    from xml.etree import ElementTree

    widgets = widgets_of_ui_file(ui_file)
    assert [name for name in widgets.values() if not is_known(name)] == []
    tree = ElementTree.parse(ui_file)
    for connection in tree.iter("connection"):
        parts = ("sender", "signal", "receiver", "slot")
        sender, signal, receiver, slot = (connection.findtext(part) for part in parts)
        assert signal in signals(widgets[sender])
        assert slot.split("(")[0] in members(widgets[receiver])
    for widget in tree.iter("widget"):
        own = [each for each in widget.findall("property") if each.get("stdset") != "0"]
        missing = [each.get("name") for each in own if each.get("name") not in settable(widget.get("class"))]
        assert missing == [], widget.get("name")


def test_stand_ins_have_no_member_that_slicer_lacks(bench):
    from fake_slicer.application import Application, ModuleManager
    from fake_slicer.stand_ins import STAND_INS

    del bench
    every = {**STAND_INS, "qSlicerApplication": Application, "qSlicerModuleManager": ModuleManager}
    for name, stand_in in every.items():
        bases = [base for base in stand_in.__mro__ if base.__module__.startswith(("PySide6", "Shiboken", "builtins"))]
        inherited = {member for base in bases for member in dir(base)}
        own = {member for member in dir(stand_in) if not member.startswith(("_", "bench_"))} - inherited
        enums = {member for member in own if member[0].isupper()}
        assert own - enums <= members(name), name


def test_nothing_heavy_is_loaded_when_slicer_starts(tmp_path):
    code = """
import sys
from pathlib import Path
from types import SimpleNamespace
from pytest import MonkeyPatch
from fake_slicer import open_bench
from support.slicer_modules import load_module

with open_bench(MonkeyPatch(), Path(sys.argv[1])) as bench:
    bench.slicer.modules.sampleDataSources = {}
    before = set(sys.modules)
    for name in ("MedSAM3Segment", "MedSAM3Agent"):
        module = load_module(name)
        getattr(module, name)(SimpleNamespace(path=module.__file__))
    bench.app.startupCompleted.emit()
    print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""
    folders = [str(ROOT / name) for name in ("Testing", "MedSAM3Segment", "MedSAM3Agent")]
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {folders!r}\n{code}", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    loaded = set(ran.stdout.split())
    assert {"MedSAM3Segment", "MedSAM3Agent"} <= loaded
    assert not loaded & HEAVY
