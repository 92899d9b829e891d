"""What ``make bench`` measures has its place in the document, and takes that place alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.paths import ROOT

FOLDER = ROOT / "benchmarks"
DOCUMENT = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")


@pytest.fixture
def benchmark_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The modules of benchmarks, which import each other by name as scripts do."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in ("markdown_table", "write_tables"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("benchmark_modules")
def test_every_benchmark_that_writes_a_table_has_one_place_for_it() -> None:
    from write_tables import BENCHMARKS, tables_in

    # Some are there in both number formats.
    places = set(tables_in(DOCUMENT))
    assert {place.removesuffix("_bfloat16") for place in places} == set(BENCHMARKS) <= places
    for name in BENCHMARKS:
        source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
        begin = f'place_of("{name}", dtype)' if f"{name}_bfloat16" in places else f'MarkdownTable("{name}"'
        assert begin in source


@pytest.mark.usefixtures("benchmark_modules")
def test_a_table_is_replaced_and_every_other_word_stays() -> None:
    from markdown_table import MarkdownTable
    from write_tables import replace_tables, tables_in

    table = MarkdownTable("growth", ("", "seconds"), r"As \1 measured")
    table.add_row("75", "1.0")
    printed = f"Loading\n{table}\nsaved\n"

    written = replace_tables(DOCUMENT, tables_in(printed))

    assert "| 75 | 1.0 |" in written
    before, old, after = DOCUMENT.partition(tables_in(DOCUMENT)["growth"])
    assert old
    assert written == before + str(table) + after
    assert replace_tables(written, tables_in(written)) == written


@pytest.mark.usefixtures("benchmark_modules")
def test_what_was_printed_before_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import write_tables
    from markdown_table import MarkdownTable

    document, printed = tmp_path / "performance.md", tmp_path / "printed.txt"
    document.write_text(DOCUMENT, encoding="utf-8")
    printed.write_text(f"{MarkdownTable('threads', ('', 'seconds'))}\n", encoding="utf-8")
    monkeypatch.setattr(write_tables, "DOCUMENT", document)

    write_tables.main(["--printed", str(printed)])

    table = str(MarkdownTable("threads", ("", "seconds")))
    assert document.read_text(encoding="utf-8") == write_tables.replace_tables(DOCUMENT, {"threads": table})


@pytest.mark.usefixtures("benchmark_modules")
def test_a_table_without_a_place_and_a_row_that_does_not_fit_are_refused() -> None:
    from markdown_table import MarkdownTable
    from write_tables import replace_tables

    table = MarkdownTable("nowhere", ("", "seconds"))
    with pytest.raises(ValueError, match="0 places of the table 'nowhere'"):
        replace_tables(DOCUMENT, {"nowhere": str(table)})
    with pytest.raises(ValueError, match="3 cells do not fit 2 headings"):
        table.add_row("a", "1", "2")
