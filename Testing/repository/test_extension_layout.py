"""The repository is a valid extension: CMake packages what is there, and imports are where they may be."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from distutils.core import run_setup
from pathlib import Path
from xml.etree import ElementTree

import pytest
import setuptools  # noqa: F401  before distutils, which it brings

from list_cmake_files import files_of, listed
from support.paths import ROOT

MODULES = ("MedSAM3Segment", "MedSAM3Agent")
LIBRARIES = {
    "MedSAM3Segment": (
        "MedSAM3SegmentLib",
        "MedSAM3SceneLib",
        "MedSAM3WidgetsLib",
        "MedSAM3PanelLib",
        "SegmentEditorMedSAM3Lib",
    ),
    "MedSAM3Agent": ("MedSAM3AgentLib", "MedSAM3AgentSceneLib", "MedSAM3AgentWidgetsLib"),
}
TOP_LEVEL = {
    ".ci", ".github", ".gitignore", "CHANGELOG.md", "CITATION.cff", "CMakeLists.txt", "CONTRIBUTING.md", "LICENSE",
    "Makefile", "MedSAM3Agent", "MedSAM3Segment", "README.md", "Resources", "Testing", "benchmarks", "docs",
    "pyproject.toml", "scripts", "setup.py",
}  # fmt: skip

#: Libraries that work with Qt.
WITH_WIDGETS = ("MedSAM3WidgetsLib", "MedSAM3PanelLib", "SegmentEditorMedSAM3Lib")


def cmake_list(module: str, name: str) -> list[str]:
    text = (ROOT / module / "CMakeLists.txt").read_text()
    (body,) = re.findall(rf"^set\({name}$(.*?)\)", text, re.MULTILINE | re.DOTALL)
    return [entry.replace("${MODULE_NAME}", module) for entry in body.split()]


def repository_files() -> list[str]:
    """Files that are in git or would be added; skips where there is no git to ask."""
    try:
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a checkout to know which files belong to the repository")
    return [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def imports(path: Path, file_scope_only: bool = False) -> set[str]:
    """The top-level names of what ``path`` imports."""
    names: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(str(node.module).split(".")[0])
        if not (file_scope_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            todo += ast.iter_child_nodes(node)
    return names


def test_cmake_lists_every_file_and_nothing_else():
    for module in MODULES:
        text = (ROOT / module / "CMakeLists.txt").read_text("utf-8")
        assert listed(text, files_of(module)) == text, "run python scripts/list_cmake_files.py"
        scripts = cmake_list(module, "MODULE_PYTHON_SCRIPTS")
        assert len(scripts) == len(set(scripts)) >= 2
        for library in LIBRARIES[module]:
            assert f"{library}/__init__.py" in scripts
    assert "demo-model/model.safetensors" in cmake_list("MedSAM3Segment", "SHARED_RESOURCES")


def install(folder: Path) -> None:
    """Lay the extension out as Slicer's macros do: the files of all modules in one folder."""
    files = {
        Path(name): ROOT / module / name for module in MODULES for name in cmake_list(module, "MODULE_PYTHON_SCRIPTS")
    }
    for module in MODULES:
        files |= {Path(name): ROOT / module / name for name in cmake_list(module, "MODULE_PYTHON_RESOURCES")}
    beside = "MedSAM3SegmentLib/Resources"
    text = (ROOT / "MedSAM3Segment" / "CMakeLists.txt").read_text()
    assert f"${{CMAKE_BINARY_DIR}}/${{Slicer_QTSCRIPTEDMODULES_LIB_DIR}}/{beside}/${{resource}}" in text
    files |= {
        Path(beside, name): ROOT / "Resources" / name for name in cmake_list("MedSAM3Segment", "SHARED_RESOURCES")
    }
    for name, source in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / name)


def test_an_installed_extension_segments_with_what_it_brings(tmp_path):
    folder = tmp_path / "lib" / "Slicer-5.12" / "qt-scripted-modules"
    install(folder)
    program = """
import json
import MedSAM3SegmentLib
from MedSAM3SegmentLib.engine.process.engine_process import EngineProcess
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.synthetic.phantom import Contrast, make_phantom

volume = make_phantom(24, contrast=Contrast.CT, absence=0.0).volume
engine = EngineProcess()
try:
    result = engine.segment(volume, SegmentRequest(("liver",), slices=(22, 26)))
finally:
    engine.stop()
print(json.dumps([MedSAM3SegmentLib.__file__, result.provenance.model.is_demo, result.concepts[0].found]))
"""
    environment = {**os.environ, "PYTHONPATH": str(folder), "MEDSAM3_RUN": str(tmp_path / "run")}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=150
    )

    assert ran.returncode == 0, ran.stderr
    library, is_demo, found = json.loads(ran.stdout.splitlines()[-1])
    assert Path(library).is_relative_to(folder)
    assert is_demo
    assert found
    for name in ("Resources/UI/MedSAM3Segment.ui", "Resources/Icons/SegmentEditorMedSAM3.png"):
        assert (folder / name).is_file()


def test_python_packages_are_all_in_the_wheel(monkeypatch):
    monkeypatch.chdir(ROOT)
    libraries = (ROOT / "MedSAM3Segment" / "MedSAM3SegmentLib", ROOT / "MedSAM3Agent" / "MedSAM3AgentLib")

    packages = run_setup("setup.py", stop_after="init").packages

    there = {
        ".".join(path.parent.relative_to(library.parent).parts)
        for library in libraries
        for path in library.rglob("*.py")
    }
    assert set(packages) == there | {"MedSAM3SegmentLib.Resources"}


def test_top_level_holds_what_it_should_and_nothing_else():
    assert {name.split("/")[0] for name in repository_files()} == TOP_LEVEL


def test_a_clone_stays_small():
    assert sum((ROOT / name).stat().st_size for name in repository_files()) < 30e6


def test_extension_metadata_passes_the_index():
    text = (ROOT / "CMakeLists.txt").read_text()
    lines = [line for line in text.splitlines() if "EXTENSION_" in line and line.startswith("set(")]
    values = dict(re.fullmatch(r'set\((EXTENSION_\w+) "([^"]*)"\)', line).groups() for line in lines)

    assert re.findall(r"^project\((.*)\)", text, re.MULTILINE) == ["MedSAM3"]
    assert values["EXTENSION_DEPENDS"] == "PyTorch"
    assert re.fullmatch(r"https://github\.com/[\w-]+/Slicer\w+", values["EXTENSION_HOMEPAGE"])
    assert values["EXTENSION_CONTRIBUTORS"]
    assert "SAM License" in values["EXTENSION_DESCRIPTION"]
    for url in [values["EXTENSION_ICONURL"], *values["EXTENSION_SCREENSHOTURLS"].split()]:
        assert (ROOT / url.partition("/main/")[2]).is_file(), url
        assert url.endswith(".png")
    assert "Apache License" in (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize("module", MODULES)
def test_icons_are_png_of_the_size_slicer_wants(module):
    header = (ROOT / module / "Resources" / "Icons" / f"{module}.png").read_bytes()[:24]

    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == (128, 128)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_file_imports_nothing_heavy_when_slicer_starts(module):
    assert imports(ROOT / module / f"{module}.py", file_scope_only=True) <= {"logging", "slicer", "vtk"}


@pytest.mark.parametrize(
    ("library", "forbidden"),
    [
        ("MedSAM3Segment/MedSAM3SegmentLib", {"slicer", "qt", "ctk", "vtk", "vtkmodules", "PythonQt"}),
        ("MedSAM3Segment/MedSAM3SceneLib", {"qt", "ctk", "PythonQt"}),
        ("MedSAM3Agent/MedSAM3AgentLib", {"slicer", "qt", "ctk", "PythonQt"}),
    ],
)
def test_libraries_keep_to_their_side(library, forbidden):
    files = list((ROOT / library).rglob("*.py"))
    assert files
    for path in files:
        assert not imports(path) & forbidden, path


def test_the_panel_and_the_effect_open_before_anything_is_installed():
    """Packages are what the panel is there to install; Slicer must not wait for PyTorch's import either."""
    files = [ROOT / "MedSAM3Segment" / "MedSAM3Segment.py"]
    for library in WITH_WIDGETS:
        files += (ROOT / "MedSAM3Segment" / library).rglob("*.py")
    scene = (ROOT / "MedSAM3Segment" / "MedSAM3SceneLib").rglob("*.py")
    used = {
        ".".join(path.relative_to(ROOT / "MedSAM3Segment").with_suffix("").parts)
        for path in scene
        if path.stem != "__init__"
    }
    assert "MedSAM3SceneLib.editing.masking" in used
    used |= {"MedSAM3SegmentLib.engine.process.engine_process", "MedSAM3SegmentLib.model_store.resolve"}
    for path in files:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("MedSAM3SegmentLib"):
                used.add(str(node.module))
    assert "MedSAM3SegmentLib.model_store.store" in used

    requirements = (ROOT / "MedSAM3Segment" / "Resources" / "requirements.txt").read_text().replace("-", "_")
    missing = ["torch", *re.findall(r"^\w+", requirements, re.MULTILINE)]
    assert "huggingface_hub" in missing
    code = f"import sys; sys.modules.update(dict.fromkeys({missing})); import {', '.join(sorted(used))}"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "MedSAM3Segment", capture_output=True, text=True, check=False
    )

    assert ran.stderr == ""


TRANSLATED = [ROOT / module / f"{module}.py" for module in MODULES] + [
    path
    for library in WITH_WIDGETS
    for path in sorted((ROOT / "MedSAM3Segment" / library).rglob("*.py"))
    if "from slicer.i18n import tr as _" in path.read_text()
]


@pytest.mark.parametrize("path", TRANSLATED, ids=lambda path: path.stem)
def test_every_translatable_text_is_one_literal(path):
    """Slicer's translations are looked up by the text in the source; an f-string has none."""
    tree = ast.parse(path.read_text())
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "_"]

    assert calls
    assert all(isinstance(call.args[0], ast.Constant) for call in calls)


def test_the_panel_and_its_ui_file_agree():
    library = ROOT / "MedSAM3Segment" / "MedSAM3PanelLib"
    source = "".join(path.read_text() for path in library.rglob("*.py"))
    ui = ElementTree.parse(ROOT / "MedSAM3Segment" / "Resources" / "UI" / "MedSAM3Segment.ui").getroot()
    names = {widget.get("name") for widget in ui.iter("widget")}

    assert set(re.findall(r"\bui\.(\w+)", source)) <= names
    ends = {end.text for connection in ui.iter("connection") for end in connection if end.tag in ("sender", "receiver")}
    assert ends <= names
    for selector in ui.iter("widget"):
        if selector.get("class") in ("qMRMLNodeComboBox", "qMRMLSegmentSelectorWidget"):
            assert selector.get("name") in ends, "a node selector without a scene stays empty"


def test_the_panels_parameters_are_those_its_ui_file_is_connected_to():
    """Slicer connects widgets and parameters by this name, and says nothing of a name that does not exist."""
    source = (ROOT / "MedSAM3Segment" / "MedSAM3PanelLib" / "parameter_node.py").read_text()
    (parameters,) = [n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == "PanelParameters"]
    fields = {item.target.id for item in parameters.body if isinstance(item, ast.AnnAssign)}
    ui = ElementTree.parse(ROOT / "MedSAM3Segment" / "Resources" / "UI" / "MedSAM3Segment.ui").getroot()

    connected = {p.findtext("string") for p in ui.iter("property") if p.get("name") == "SlicerParameterName"}

    assert connected
    assert connected <= fields
    assert not [field for field in fields if re.search("token|address|password|key", field)]


def test_no_widget_brings_colors_of_its_own():
    ui = ROOT / "MedSAM3Segment" / "Resources" / "UI" / "MedSAM3Segment.ui"
    files = [ui, *(path for library in WITH_WIDGETS for path in (ROOT / "MedSAM3Segment" / library).rglob("*.py"))]
    assert len(files) > 40
    assert not [path.name for path in files if "styleSheet" in path.read_text()]


def test_text_files_end_lines_as_the_index_wants():
    for name in repository_files():
        if Path(name).suffix in (".txt", ".py", ".md", ".ui", ".json", ".toml", ".yml", ""):
            assert b"\r" not in (ROOT / name).read_bytes(), name
