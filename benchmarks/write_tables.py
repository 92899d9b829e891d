"""Runs benchmarks and writes the tables that they print into docs/performance.md. ``make bench`` runs all of them.

``python benchmarks/write_tables.py`` runs all, with ``encode_once growth`` behind it those alone. What they print is
shown as it comes; ``--printed FILE`` takes what one printed before, as with options of its own. A table takes the place
of the one of its name in the document. The words around it are written by hand, and so is what ``panel_latency.py`` and
``agent_timings.py`` print. Takes an hour or more on two cores, and means something only where nothing else computes.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from markdown_table import BEGIN, END

FOLDER = Path(__file__).resolve().parent
DOCUMENT = FOLDER.parent / "docs" / "performance.md"

#: In the order in which they run; each prints a table of its name, or several.
BENCHMARKS = (
    "encode_once",
    "growth",
    "propagation",
    "threads",
    "read_and_write",
    "start_up",
    "phrase_stages",
    "full_size",
    "fewer_slices",
)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(f"{re.escape(BEGIN.format(name=name))}\n.*?{re.escape(END.format(name=name))}", re.DOTALL)


def tables_in(text: str) -> dict[str, str]:
    """The tables between marks, marks included, by name."""
    names = re.findall(BEGIN.format(name="([a-z_0-9]+)"), text)
    return {name: found.group() for name in names if (found := _pattern(name).search(text)) is not None}


def replace_tables(document: str, tables: dict[str, str]) -> str:
    """The document with ``tables`` in the places of those of the same names.

    Raises:
        ValueError: there is no such place, or more than one.
    """
    for name, table in tables.items():
        document, places = _pattern(name).subn(lambda _, table=table: table, document)
        if places != 1:
            raise ValueError(f"{places} places of the table '{name}' in the document; mark one")
    return document


def write_tables(printed: str) -> None:
    """Write the tables in what a benchmark printed into the document."""
    document = replace_tables(DOCUMENT.read_text(encoding="utf-8"), tables_in(printed))
    DOCUMENT.write_text(document, encoding="utf-8")


def run_benchmark(name: str) -> str:
    """What a benchmark prints, shown as it comes.

    Raises:
        CalledProcessError: it failed.
    """
    command = [sys.executable, "-u", str(FOLDER / f"{name}.py")]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return "".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Run and write, one benchmark after another, so that one that fails loses no other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--printed", type=Path, help="run nothing, and write the tables that a benchmark printed here")
    options = parser.parse_args(argv)
    if options.printed is not None:
        write_tables(options.printed.read_text(encoding="utf-8"))
        return
    failed = []
    for name in options.names or BENCHMARKS:
        try:
            write_tables(run_benchmark(name))
        except subprocess.CalledProcessError:
            failed.append(name)
    if failed:
        sys.exit(f"Failed, and their tables are as they were: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
