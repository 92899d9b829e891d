"""All that the engine and the scene library say to people can be said in another language, and is listed for that."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import list_sentences
from list_sentences import AGENT_CATALOG, CATALOG, ERRORS, FOLDER, agent_files, files, sayings, template_of
from MedSAM3AgentSceneLib.translation import translate as agent_translate
from MedSAM3SceneLib.translation.translate import CONTEXT, SENTENCES
from MedSAM3SegmentLib.messages.message import Message

#: Sentences that no one reads in Slicer: on pictures that the shell draws.
NOT_SHOWN = {"preview_image.py"}

#: And of the agent: what models are told, what words are recognized by, and the report, which is in English.
NOT_SHOWN_OF_AGENT = {
    "MedSAM3AgentLib/backends/questions.py",
    "MedSAM3AgentLib/editing/patterns.py",
    "MedSAM3AgentLib/planning/sentence.py",
    "MedSAM3AgentLib/pages/report.py",
}

TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in [*files(), *agent_files()]}


def named(path: Path) -> str:
    return path.relative_to(FOLDER.parent).as_posix()


def literals(node: ast.AST) -> str:
    """The text of a literal, with a word in place of what an f-string puts in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "it" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def test_the_list_of_sentences_is_what_the_code_says():
    """Run scripts/list_sentences.py where it is not."""
    for path, text in list_sentences.catalog().items():
        assert path.read_text(encoding="utf-8") == text
    assert set(list_sentences.templates()) == SENTENCES
    assert len(SENTENCES) > 350
    assert set(list_sentences.agent_templates()) == agent_translate.SENTENCES
    assert len(agent_translate.SENTENCES) > 80
    assert not SENTENCES & agent_translate.SENTENCES
    ran = subprocess.run([sys.executable, list_sentences.__file__, "--check"], capture_output=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, b"")


@pytest.mark.parametrize(
    ("folder", "context_name", "sentences"),
    [(CATALOG, CONTEXT, SENTENCES), (AGENT_CATALOG, agent_translate.CONTEXT, agent_translate.SENTENCES)],
)
def test_qts_lupdate_finds_every_sentence(tmp_path, folder, context_name, sentences):
    PySide6 = pytest.importorskip("PySide6")  # noqa: N806
    lupdate = next(iter(Path(PySide6.__file__).parent.glob("lupdate*")), None)
    if lupdate is None:
        pytest.skip("this PySide6 comes without lupdate")
    sources = tmp_path / "sources.txt"
    sources.write_text("\n".join(str(path) for path in sorted(folder.glob("*_sentences.py"))))

    subprocess.run([lupdate, f"@{sources}", "-ts", tmp_path / "found.ts"], capture_output=True, check=True)

    (context,) = ElementTree.parse(tmp_path / "found.ts").getroot().iter("context")
    assert context.findtext("name") == context_name
    assert {source.text for source in context.iter("source")} == sentences


def test_all_errors_of_the_project_are_known_to_the_list():
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    errors = {"MedSAM3Error"}
    while more := {name for name, of in bases.items() if of & errors} - errors:
        errors |= more

    assert errors - {"MedSAM3Error"} == ERRORS


@pytest.mark.parametrize("path", TREES, ids=named)
def test_sentences_are_literals_with_facts(path):
    """An f-string, or pieces that are put together, would be known to no translator."""
    for call in sayings(TREES[path]):
        template = template_of(call)
        if template is None:
            assert isinstance(call.args[0] if call.args else ast.Name(), ast.Name | ast.Call | ast.Attribute), (
                f"line {call.lineno} makes a sentence of something else than a literal"
            )
            continue
        # Why the agent stops is no fact of its sentence.
        given = {keyword.arg for keyword in call.keywords} - {"stop"}
        assert set(re.findall(r"(?<!{){(\w+)", template)) == given, f"line {call.lineno}"
        # It can be filled: no number's format for text, no attribute, no braces that are not doubled.
        assert Message(template, dict.fromkeys(given, 1))


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in TREES
        if path.name not in NOT_SHOWN and named(path).removeprefix("MedSAM3Agent/") not in NOT_SHOWN_OF_AGENT
    ],
    ids=named,
)
def test_nothing_is_said_in_another_way(path):
    tree = TREES[path]
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    said = {call.args[0] for call in sayings(tree) if call.args}

    def is_meant_for_developers(node: ast.AST) -> bool:
        """A docstring, or what is raised where only a defect leads."""
        if isinstance(parents[node], ast.Expr):
            return True
        while not isinstance(node, ast.stmt):
            node = parents[node]
        call = node.exc if isinstance(node, ast.Raise) else None
        return isinstance(call, ast.Call) and ast.unparse(call.func) not in ERRORS

    left = [
        literals(node)
        for node in parents
        if node not in said and not isinstance(parents[node], ast.JoinedStr | ast.FormattedValue)
        if re.search(r"\w \S+ .*[.!?]$", literals(node), re.DOTALL) and not is_meant_for_developers(node)
    ]

    assert left == []
