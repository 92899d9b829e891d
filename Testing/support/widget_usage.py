"""Which members of widgets a source file uses, found in its syntax tree.

Widgets are known by where they come from: ``ui.<name>`` is the widget of that name in a .ui file, ``x = qt.QLabel()``
is a QLabel wherever ``x`` is used in the same file, and names that stand for the same object everywhere
(``scripted_effect``) are given.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree


@dataclass(frozen=True)
class Use:
    """One member of one widget, used at one place.

    Attributes:
        class_name: Slicer's or Qt's class of the widget.
        member: its name, or a signal's signature.
        kind: ``read``, ``set`` or ``connect``.
        place: file and line.
    """

    class_name: str
    member: str
    kind: str
    place: str


def widgets_of_ui_file(path: Path) -> dict[str, str]:
    """The class of each widget in a .ui file, by its name."""
    return {node.get("name", ""): node.get("class", "") for node in ElementTree.parse(path).iter("widget")}


def widget_uses(path: Path, ui_widgets: Mapping[str, str], known_names: Mapping[str, str]) -> Iterator[Use]:
    """The uses of widgets in the Python file ``path``.

    Raises:
        LookupError: a widget of the .ui file is used that is not in it.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    made = {**known_names, **_made_widgets(tree)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        place = f"{path.name}:{node.lineno}"
        class_name = _class_of(node.value, ui_widgets, made, place)
        if class_name is None:
            continue
        yield Use(class_name, node.attr, "set" if isinstance(node.ctx, ast.Store) else "read", place)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "connect":
            place = f"{path.name}:{node.lineno}"
            class_name = _class_of(node.func.value, ui_widgets, made, place)
            signal = node.args[0] if node.args else None
            if class_name is not None and isinstance(signal, ast.Constant) and isinstance(signal.value, str):
                yield Use(class_name, signal.value, "connect", place)


def module_names(path: Path, module: str) -> Iterator[tuple[str, str]]:
    """The dotted names below ``module`` that a file uses (``QLabel``, ``Qt.Horizontal``), with their places."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            if dotted.startswith(f"{module}.") and all(part.isidentifier() for part in dotted.split(".")):
                yield dotted.removeprefix(f"{module}."), f"{path.name}:{node.lineno}"


def _made_widgets(tree: ast.Module) -> dict[str, str]:
    """Names and attributes that are given a widget made on the spot, where they always mean the same class."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            class_name = _made_class(node.value)
            for target in targets:
                if isinstance(target, ast.Name | ast.Attribute):
                    found.setdefault(ast.unparse(target), set()).add(class_name)
    return {name: classes.pop() for name, classes in found.items() if len(classes) == 1 and "" not in classes}


def _made_class(value: ast.expr) -> str:
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        made = ast.unparse(value.func)
        if made.startswith(("qt.Q", "ctk.ctk", "slicer.qMRML", "slicer.qSlicer")) and made.count(".") == 1:
            return made.split(".")[1]
    return ""


def _class_of(value: ast.expr, ui_widgets: Mapping[str, str], made: Mapping[str, str], place: str) -> str | None:
    if isinstance(value, ast.Attribute) and ast.unparse(value.value).split(".")[-1] in ("ui", "_ui"):
        if ui_widgets and value.attr not in ui_widgets:
            raise LookupError(f"{place}: the .ui file has no widget {value.attr}.")
        return ui_widgets.get(value.attr)
    name = ast.unparse(value) if isinstance(value, ast.Name | ast.Attribute) else ""
    return made.get(name)
