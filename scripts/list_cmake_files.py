"""Write the file lists of the modules' ``CMakeLists.txt`` from what lies in their folders.

``python scripts/list_cmake_files.py`` after a file was added, moved or deleted; ``--check`` writes nothing and ends
with 1 where a list is out of date.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = ("MedSAM3Segment", "MedSAM3Agent")

#: Shared resources that are for readers only.
_FOR_READERS = (".png", ".md")


def files_of(module: str) -> dict[str, list[str]]:
    """The files of a module, by the CMake variable that lists them; paths as CMake has them."""
    folder, shared = ROOT / module, ROOT / "Resources"
    scripts = sorted(
        path.relative_to(folder).as_posix()
        for library in folder.iterdir()
        if (library / "__init__.py").is_file()
        for path in library.rglob("*.py")
    )
    return {
        "MODULE_PYTHON_SCRIPTS": ["${MODULE_NAME}.py", *scripts],
        "MODULE_PYTHON_RESOURCES": _files_below(folder / "Resources", folder),
        "SHARED_RESOURCES": [name for name in _files_below(shared, shared) if not name.endswith(_FOR_READERS)],
    }


def listed(text: str, files: dict[str, list[str]]) -> str:
    """The text of a ``CMakeLists.txt`` with these files in the lists that it has."""
    for variable, names in files.items():
        body = "".join(f"  {name}\n" for name in names)
        pattern = re.compile(rf"^(set\({variable}\n).*?^(  \)|\))$", re.MULTILINE | re.DOTALL)
        text = pattern.sub(lambda found, body=body: f"{found[1]}{body}{found[2]}", text)  # type: ignore[misc]
    return text


def _files_below(folder: Path, base: Path) -> list[str]:
    return sorted(path.relative_to(base).as_posix() for path in folder.rglob("*") if path.is_file())


def main() -> int:
    """Write the lists, or check them; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a list is out of date")
    check = parser.parse_args().check
    stale = []
    for module in MODULES:
        file = ROOT / module / "CMakeLists.txt"
        text = file.read_text("utf-8")
        wanted = listed(text, files_of(module))
        if wanted != text:
            stale.append(file.relative_to(ROOT).as_posix())
            if not check:
                file.write_text(wanted, "utf-8", newline="\n")
    for name in stale:
        print(f"{name} {'is out of date; run python scripts/list_cmake_files.py' if check else 'was written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
