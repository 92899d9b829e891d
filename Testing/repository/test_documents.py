"""What the documents link to and name is there, in every Markdown file of the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from MedSAM3SegmentLib import __version__
from support.paths import ROOT

#: Folders that commands make and git ignores.
MADE = {"build", "dist", "demo-output"}


def markdown_files() -> Iterator[Path]:
    """All Markdown files of the repository, without those of installed packages and caches."""
    yield from sorted(ROOT.glob("*.md"))
    for folder in sorted(ROOT.iterdir()):
        if folder.is_dir() and folder.name not in MADE and (folder.name[0] != "." or folder.name == ".github"):
            yield from sorted(folder.rglob("*.md"))


def prose(text: str) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


DOCUMENTS = list(markdown_files())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    text = prose(document.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
    for link in links:
        if re.match(r"(https|mailto):", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = document.parent / name if name else document
        assert target.is_file(), link
        assert target.resolve().is_relative_to(ROOT), link
        if anchor:
            assert anchor in headings(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_file_that_is_named_is_there(document: str) -> None:
    """Paths begin at the top of the repository, or with a library, which lies in the module's folder."""
    named = re.findall(r"`([\w.-]+(?:/[\w.-]+)+)`", (ROOT / document).read_text(encoding="utf-8"))
    assert [name for name in named if name.endswith(".py")]
    for name in named:
        folder = ROOT / "MedSAM3Segment" if re.match(r"\w+Lib/", name) else ROOT
        assert (folder / name).exists(), name


def test_the_documents_are_found() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in DOCUMENTS}
    assert {"CHANGELOG.md", "CONTRIBUTING.md", "README.md", "docs/architecture.md"} <= found


def test_the_citation_is_of_this_version_and_of_the_papers_of_the_readme() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    keys = dict(re.findall(r"^([\w-]+): *(.*)$", text, re.MULTILINE))
    assert keys["cff-version"] == "1.2.0"
    assert {"title", "message", "authors", "license", "references"} <= keys.keys()
    assert keys["version"] == __version__
    assert keys["repository-code"] in (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    titles = [title.strip('"') for title in re.findall(r"^ +(?:- )?title: (.+)$", text, re.MULTILINE)]
    numbers = re.findall(r"arXiv:([\d.]+)", text)
    assert (len(titles), len(numbers)) == (3, 2)
    assert all(part in readme for part in [*titles, *numbers])
    try:
        import yaml
    except ImportError:
        return
    read = yaml.safe_load(text)
    assert read["type"] == "software"
    assert [reference["title"] for reference in read["references"]] == titles
    assert all(reference["authors"] for reference in read["references"])


def test_the_changelog_knows_this_version() -> None:
    sections = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections[:2] == ["Unreleased", __version__]
