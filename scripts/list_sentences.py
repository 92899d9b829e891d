"""Lists every sentence of engine, scene library and agent in files where Qt's lupdate finds it for translators.

Run ``python scripts/list_sentences.py`` after a sentence was changed; ``--check`` only says whether that is needed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "MedSAM3Segment"
CATALOG = FOLDER / "MedSAM3SceneLib" / "translation"

#: The agent stands above both, and has a list of its own, of what they do not say.
AGENT_FOLDER = FOLDER.parent / "MedSAM3Agent"
AGENT_CATALOG = AGENT_FOLDER / "MedSAM3AgentSceneLib" / "translation"

#: The files of the list, by which code they are from; a sentence that several say is in the first of theirs.
PARTS = {
    "scene_sentences": ("MedSAM3SceneLib/",),
    "engine_sentences": tuple(
        f"MedSAM3SegmentLib/{package}/" for package in ("engine", "model_store", "models", "checkpoints")
    ),
    "reading_sentences": ("MedSAM3SegmentLib/io/",),
    "segmenter_sentences": ("MedSAM3SegmentLib/",),
}

#: Under what Slicer's translations have all of them.
CONTEXT = "MedSAM3SceneLib.translation"
AGENT_CONTEXT = "MedSAM3AgentSceneLib.translation"

#: Errors whose first argument is a sentence; see ``MedSAM3SegmentLib.errors``.
ERRORS = frozenset(
    {
        "InputError",
        "ModelError",
        "MissingTrackerError",
        "EngineError",
        "PackageError",
        "Cancelled",
        "BusyError",
        "TooLargeError",
        "BackendError",
    }
)

#: What only the shell shows, in English.
SHELL_ONLY = ("cli/", "cohort/", "datasets/", "training/", "synthetic/", "evaluation/")

#: But for what is learnt in Slicer.
SHOWN = ("training/learning/",)

#: The same of the agent; ``file_tools.py`` speaks to desktop assistants.
AGENT_SHELL_ONLY = ("cli/", "evaluation/", "file_tools.py")

_HEAD = '''"""Sentences of {origin}, listed for translators.

Written by ``scripts/list_sentences.py``, which takes them from the code: change them there.
"""

# One line each, however long: so a changed sentence is a changed line.
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from {package} import QT_TRANSLATE_NOOP

SENTENCES = frozenset(
    (
'''


def files() -> list[Path]:
    """The files whose sentences people may meet in Slicer."""
    engine = FOLDER / "MedSAM3SegmentLib"
    found = [
        path for path in engine.rglob("*.py") if _is_in(path, engine, SHOWN) or not _is_in(path, engine, SHELL_ONLY)
    ]
    return sorted([*found, *(path for path in (FOLDER / "MedSAM3SceneLib").rglob("*.py") if path.parent != CATALOG)])


def agent_files() -> list[Path]:
    """The agent's files whose sentences people may meet in Slicer."""
    library = AGENT_FOLDER / "MedSAM3AgentLib"
    found = [path for path in library.rglob("*.py") if not _is_in(path, library, AGENT_SHELL_ONLY)]
    scene = (AGENT_FOLDER / "MedSAM3AgentSceneLib").rglob("*.py")
    return sorted([*found, *(path for path in scene if path.parent != AGENT_CATALOG)])


def _is_in(path: Path, folder: Path, places: tuple[str, ...]) -> bool:
    return path.relative_to(folder).as_posix().startswith(places)


def sayings(tree: ast.AST) -> Iterator[ast.Call]:
    """The calls that make a sentence."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS | {"message"}:
            yield node


def template_of(call: ast.Call) -> str | None:
    """The template that a call makes a sentence of, None where it takes one that is made elsewhere."""
    first = call.args[0] if call.args else None
    if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        return None
    assert isinstance(call.func, ast.Name)
    if call.func.id != "message" and not call.keywords:
        # Without facts the text of an error is no template.
        return first.value.replace("{", "{{").replace("}", "}}")
    return first.value


def templates() -> list[str]:
    """All templates in the code, in alphabetical order."""
    return sorted({template for listed in templates_by_part().values() for template in listed})


def templates_by_part() -> dict[str, list[str]]:
    """The templates of each file of the list, in alphabetical order."""
    found: dict[str, str] = {}
    for number, (part, places) in enumerate(PARTS.items()):
        earlier = [place for others in list(PARTS.values())[:number] for place in others]
        for path in files():
            name = path.relative_to(FOLDER).as_posix()
            if name.startswith(places) and not name.startswith(tuple(earlier)):
                for call in sayings(ast.parse(path.read_text(encoding="utf-8"))):
                    template = template_of(call)
                    if template:
                        found.setdefault(template, part)
    return {part: sorted(template for template, other in found.items() if other == part) for part in PARTS}


def agent_templates() -> list[str]:
    """The templates that the agent alone has, in alphabetical order."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in agent_files())
    found = {template_of(call) for tree in trees for call in sayings(tree)}
    return sorted({template for template in found if template} - set(templates()))


def catalog() -> dict[Path, str]:
    """The files of the list with their texts."""
    written = {
        CATALOG / f"{part}.py": _text(", ".join(PARTS[part]).rstrip("/"), ".lupdate", CONTEXT, listed)
        for part, listed in templates_by_part().items()
    }
    agents = _text("MedSAM3Agent", "MedSAM3SceneLib.translation.lupdate", AGENT_CONTEXT, agent_templates())
    return {**written, AGENT_CATALOG / "agent_sentences.py": agents}


def _text(origin: str, package: str, context: str, listed: list[str]) -> str:
    entries = "".join(f'        QT_TRANSLATE_NOOP("{context}", {_literal(template)}),\n' for template in listed)
    return _HEAD.replace("{origin}", origin).replace("{package}", package) + entries + "    )\n)\n"


def _literal(text: str) -> str:
    """A text between double quotes, as lupdate reads it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def main(arguments: list[str]) -> int:
    stale = {path: text for path, text in catalog().items() if not path.is_file() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        if "--check" in arguments:
            print(f"{path} does not list what the code says; run {Path(__file__).name}.")
        else:
            path.write_text(text, encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
