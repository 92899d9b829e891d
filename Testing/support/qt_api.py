"""What Slicer's widgets really have: ``slicer_qt_api.json`` for Slicer's and CTK's classes, PySide6 for Qt's."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from .paths import TESTING

API_FILE = TESTING / "data" / "slicer_qt_api.json"

#: Members that are there past what the list has: those that PythonQt gives to every object, and two that the list
#: leaves out (slicer.util and slicer.packaging call the one, qSlicerApplication.h declares the other invokable).
_BEYOND_THE_LIST = {
    "QObject": {"name", "className", "connect", "disconnect", "delete", "setProperty", "property"},
    "qSlicerCoreApplication": {"testingEnabled"},
    "qSlicerApplication": {"layoutManager"},
}


@cache
def _api() -> dict[str, Any]:
    return dict(json.loads(API_FILE.read_text(encoding="utf-8")))


@cache
def qt_class(name: str) -> Any:
    """PySide6's class, or None. Its properties and methods are Qt's."""
    from PySide6 import QtCore, QtGui, QtWidgets

    return next((getattr(part, name) for part in (QtWidgets, QtGui, QtCore) if hasattr(part, name)), None)


def is_known(class_name: str) -> bool:
    """Whether the class is Slicer's, CTK's or Qt's."""
    return class_name in _api() or qt_class(class_name) is not None


def members(class_name: str) -> set[str]:
    """All that Python can ask an object of this class for."""
    found = set(_BEYOND_THE_LIST["QObject"])
    for name in _ancestry(class_name):
        described = _api()[name]
        found |= set(described["properties"]) | _BEYOND_THE_LIST.get(name, set())
        for kind in ("slots", "signals", "invokables"):
            found |= {_method_name(signature) for signature in described[kind]}
    qt_base = _qt_base(class_name)
    if qt_base is not None:
        found |= {name for name in dir(qt_base) if not name.startswith("_")} | set(_qt_properties(qt_base))
    return found


def settable(class_name: str) -> set[str]:
    """What can be assigned to: writable properties."""
    found = {"name", "objectName"}
    for name in _ancestry(class_name):
        found |= {key for key, value in _api()[name]["properties"].items() if value["writable"]}
    qt_base = _qt_base(class_name)
    return found | {name for name, writable in _qt_properties(qt_base).items() if writable}


def signals(class_name: str) -> set[str]:
    """Signatures of signals without the names of arguments, const and references."""
    found = {_signature(text) for name in _ancestry(class_name) for text in _api()[name]["signals"]}
    qt_base = _qt_base(class_name)
    if qt_base is not None:
        meta = qt_base.staticMetaObject
        methods = [meta.method(number) for number in range(meta.methodCount())]
        found |= {
            bytes(method.methodSignature().data()).decode()
            for method in methods
            if "Signal" in str(method.methodType())
        }
    return found


def _ancestry(class_name: str) -> list[str]:
    chain = []
    while class_name in _api():
        chain.append(class_name)
        class_name = _api()[class_name]["base"]
    return chain


def _qt_base(class_name: str) -> Any:
    chain = _ancestry(class_name)
    return qt_class(_api()[chain[-1]]["base"] if chain else class_name)


def _qt_properties(qt_base: Any) -> dict[str, bool]:
    """Names of a Qt class's properties, with whether they can be written."""
    meta = getattr(qt_base, "staticMetaObject", None)
    if meta is None:
        return {}
    found = [meta.property(number) for number in range(meta.propertyCount())]
    return {each.name(): each.isWritable() for each in found}


def _method_name(signature: str) -> str:
    before = signature.split("(")[0].split()
    return before[-1].lstrip("*&") if before else ""


def _signature(text: str) -> str:
    name, arguments = re.match(r"(\w+)\((.*)\)", text).groups()  # type: ignore[union-attr]
    kept = []
    for argument in filter(None, (part.strip() for part in arguments.split(","))):
        plain = re.sub(r"\bconst\b|&", "", argument).strip()
        match = re.match(r"((?:unsigned )?[\w:<>]+\s*\**)", plain)
        kept.append(match.group(1).replace(" ", "") if match else plain)
    return f"{name}({','.join(kept)})"
