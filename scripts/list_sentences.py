"""Lists every sentence of the engine and the scene library in a file where Qt's lupdate finds it for translators.

Run ``python scripts/list_sentences.py`` after a sentence was changed; ``--check`` only says whether that is needed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "MedSAM3Segment"
CATALOGUE = FOLDER / "MedSAM3SceneLib" / "translation" / "sentences.py"

#: Errors whose first argument is a sentence; see ``MedSAM3SegmentLib.errors``.
ERRORS = frozenset({"InputError", "ModelError", "EngineError", "Cancelled", "TooLargeError"})

#: What only the shell shows, in English.
SHELL_ONLY = ("cli/", "training/", "synthetic/", "evaluation/")

_HEAD = '''"""Every sentence of the engine and of the scene library, listed for translators.

Written by ``scripts/list_sentences.py``, which takes them from the code: change them there.
"""

# One line each, however long: so a changed sentence is a changed line.
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

#: Under what Slicer's translations have them.
CONTEXT = "MedSAM3SceneLib.translation.sentences"


def QT_TRANSLATE_NOOP(_context: str, text: str) -> str:
    """Mark a text for Qt's lupdate, which knows the call by this name and reads literals only."""
    return text


SENTENCES = frozenset(
    (
'''


def files() -> list[Path]:
    """The files whose sentences people may meet in Slicer."""
    engine = FOLDER / "MedSAM3SegmentLib"
    found = [path for path in engine.rglob("*.py") if not path.relative_to(engine).as_posix().startswith(SHELL_ONLY)]
    return sorted([*found, *(path for path in (FOLDER / "MedSAM3SceneLib").rglob("*.py") if path != CATALOGUE)])


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
    found = {template_of(call) for path in files() for call in sayings(ast.parse(path.read_text(encoding="utf-8")))}
    return sorted(template for template in found if template)


def catalogue() -> str:
    """The text of the file."""
    return _HEAD + "".join(_entry(template) for template in templates()) + "    )\n)\n"


def _entry(template: str) -> str:
    return f'        QT_TRANSLATE_NOOP("MedSAM3SceneLib.translation.sentences", {_literal(template)}),\n'


def _literal(text: str) -> str:
    """A text between double quotes, as lupdate reads it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def main(arguments: list[str]) -> int:
    wanted = catalogue()
    if CATALOGUE.is_file() and CATALOGUE.read_text(encoding="utf-8") == wanted:
        return 0
    if "--check" in arguments:
        print(f"{CATALOGUE} does not list what the code says; run {Path(__file__).name}.")
        return 1
    CATALOGUE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
