"""Where the data that ships with this project lies, however it was installed."""

from __future__ import annotations

from pathlib import Path

from .errors import ModelError

_LIBRARY = Path(__file__).resolve().parent

#: Beside the library in a wheel and in Slicer; at the top of the repository in a checkout or an editable install.
_FOLDERS = (_LIBRARY / "Resources", _LIBRARY.parents[1] / "Resources")


def resource_path(*parts: str) -> Path:
    """The shipped file or folder ``Resources/<parts>``, such as ``resource_path("concepts.json")``.

    Raises:
        ModelError: it is not there.
    """
    for folder in _FOLDERS:
        path = folder.joinpath(*parts)
        if path.exists():
            return path
    missing = Path("Resources", *parts).as_posix()
    raise ModelError(
        "{missing}, which comes with MedSAM3, is missing from this installation; install MedSAM3 again.",
        missing=missing,
    )
