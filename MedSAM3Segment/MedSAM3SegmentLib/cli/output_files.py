"""Several files that are written together: all of them, whole, or none."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.atomic_write import check_folder

from .signals import Interruption


def check_outputs(paths: Sequence[Path], *inputs: Path) -> None:
    """Make sure, before a long run, that all of ``paths`` can be written and that none of them destroys another file.

    Raises:
        InputError: two are the same file, one is an input, or a folder is missing or write-protected.
    """
    seen: set[Path] = set()
    for path in paths:
        check_folder(path)
        place = path.resolve()
        if place in {file.resolve() for file in inputs}:
            raise InputError(f"{path} is the input itself and would be overwritten; choose another output.")
        if place in seen:
            raise InputError(f"{path} is given for two outputs; choose another name for one of them.")
        seen.add(place)


@contextmanager
def written_together(paths: Sequence[Path], interruption: Interruption) -> Iterator[Mapping[Path, Path]]:
    """Give for each of ``paths`` a draft to write, in a hidden folder beside it; at the end they take their places.

    A file that is written beside a draft (the names of a label map) goes with it. When the body raises or is
    interrupted, or the disk fails, nothing is left behind and older files stay as they were.

    Raises:
        InputError: a folder cannot be written to, or the disk failed.
    """
    drafts: dict[Path, Path] = {}
    try:
        with ExitStack() as stack:
            for folder in dict.fromkeys(path.parent for path in paths):
                temporary = tempfile.TemporaryDirectory(prefix=".medsam3-", dir=folder)
                drafts[folder] = Path(stack.enter_context(temporary))
            yield {path: drafts[path.parent] / path.name for path in paths}
            # From here on it is all; Ctrl-C is too late.
            with interruption.gently():
                for folder, drafted in drafts.items():
                    for draft in sorted(drafted.iterdir()):
                        draft.replace(folder / draft.name)
    except InputError as error:
        # A writer knows its draft only; the user knows the file it was to become.
        text = str(error)
        for folder, drafted in drafts.items():
            text = text.replace(str(drafted), str(folder))
        raise InputError(text) from error
    except OSError as error:
        names = ", ".join(str(path) for path in paths)
        raise InputError(f"{names} could not be written ({error.strerror or error}); check the disk.") from None
