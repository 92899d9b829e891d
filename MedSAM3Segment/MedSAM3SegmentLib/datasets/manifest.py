"""A manifest: a JSON file that names images, what is labelled in each and on which slices, and what labels mean.

Nothing is learnt as absent by mistake: values that are nowhere, labels that no concept names, and names that two
concepts share are refused or said. What the labels of a case are is in ``manifest_labels``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for

from .findings import Findings
from .label_files import stem_of
from .labelled_case import LabelledCase, LabelledDataset, LabelledSlices

#: Splits that a case may name.
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ManifestCase:
    """One image with labels.

    Attributes:
        concepts: by concept, its labels (numbers) or the names of its segments; none where it is absent.
        ignored: labels or names of segments under which nothing is known.
        labelled_slices: on which somebody looked, see ``labelled_case.LabelledSlices``.
        split: one of ``SPLITS``, or "".
    """

    image: Path
    labels: Path
    concepts: dict[str, tuple[int | str, ...]]
    plane: Plane
    ignored: tuple[int | str, ...] = ()
    labelled_slices: LabelledSlices = None
    split: str = ""


def manifest_dataset(path: Path, findings: Findings) -> LabelledDataset:
    """The cases of a manifest, as ``read_manifest`` understands it.

    Raises:
        InputError: it cannot be used.
    """
    from .manifest_labels import read_case_labels

    listed = read_manifest(path, findings)
    names = [stem_of(case.image) or case.image.name for case in listed]
    cases = [
        LabelledCase(
            name if names.count(name) == 1 else f"{name} (case {number})",
            case.image,
            tuple(case.concepts),
            partial(read_case_labels, case),
            frozenset(concept for concept, values in case.concepts.items() if not values),
            case.plane,
            case.split,
            case.labelled_slices,
        )
        for number, (name, case) in enumerate(zip(names, listed, strict=True), start=1)
    ]
    return LabelledDataset(path, "a manifest", cases)


def read_manifest(path: Path, findings: Findings | None = None) -> list[ManifestCase]:
    """The cases of a manifest; that their files are there is checked, and nothing is read yet.

    A manifest is a JSON file: ``{"cases": [{"image": "a.nii.gz", "labels": "a-labels.nii.gz",
    "concepts": {"liver": [1], "kidney": [2, 3], "spleen": ["Spleen"]}}, ...]}``, in UTF-8 or UTF-16. Paths are relative
    to the manifest; a concept lists the values it has in the label map, or the names of its segments in a
    ``.seg.nrrd``, and an empty list says that it is absent. ``"plane"`` may name another plane, ``"ignore"`` labels
    under which nothing is known, ``"labelled_slices"`` the slices that somebody looked at, ``"split"`` the split. See
    docs/training-data.md.

    Args:
        findings: where faults of single cases are kept; None to raise the first.

    Raises:
        InputError: it cannot be understood, says one thing twice, or names a file that is not there.
    """
    findings = Findings() if findings is None else findings
    document = read_json(path, "The training manifest", twice=False)
    listed = document.get("cases") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise InputError(f'The training manifest {path} has no list "cases"; see docs/training-data.md.')
    if not listed:
        raise InputError(f"The training manifest {path} names no case; add at least one image with labels.")
    cases = []
    for number, entry in enumerate(listed, start=1):
        try:
            cases.append(_case(entry, path.parent))
        except ValueError as error:
            findings.refuse(
                f"Case {number} of the training manifest {path} cannot be used: {error}; see docs/training-data.md."
            )
    _check_twins(cases, path, findings)
    return cases


def read_json(path: Path, what: str, *, twice: bool = True) -> Any:
    """A JSON file, in any encoding that JSON knows.

    Args:
        what: it is, for the sentence.
        twice: whether a key may stand twice in one object, so that the later one counts.

    Raises:
        InputError: it cannot be read.
    """
    try:
        # As bytes, of which json tells UTF-8 from UTF-16, each with or without the mark that Windows editors put.
        return json.loads(path.read_bytes(), object_pairs_hook=dict if twice else _without_twins)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{what} {path} cannot be read ({error}); see docs/training-data.md.") from None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, whose later keys would otherwise take the place of earlier ones unseen."""
    made = dict(pairs)
    if len(made) < len(pairs):
        twin = next(key for key in made if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f'"{twin}" is there twice in one object')
    return made


def _case(entry: Any, folder: Path) -> ManifestCase:
    """Raises ValueError, which says what is wrong."""
    if not isinstance(entry, dict):
        raise ValueError("it is no object")
    paths = [_path(entry, key, folder) for key in ("image", "labels")]
    if paths[0].resolve() == paths[1].resolve():
        raise ValueError("its labels are the image itself")
    named = entry.get("concepts")
    if not isinstance(named, dict) or not named:
        raise ValueError('it has no object "concepts" that says what the labels mean')
    plane = entry.get("plane", Plane.ACQUIRED.value)
    if plane not in list(Plane):
        raise ValueError(f'"plane" is {plane!r} and none of {", ".join(Plane)}')
    split = entry.get("split", "")
    if split not in ("", *SPLITS):
        raise ValueError(f'"split" is {split!r} and none of {", ".join(SPLITS)}')
    concepts: dict[str, tuple[int | str, ...]] = {}
    meanings: dict[str, str] = {}
    for name, values in named.items():
        meant = prompt_for(name)
        if not meant:
            raise ValueError("a concept has no name")
        if meant in meanings:
            raise ValueError(f"'{meanings[meant]}' and '{name}' mean the same")
        meanings[meant] = name
        concepts[name] = _values(name, values)
    ignored = _values("ignore", entry.get("ignore", []))
    for name, values in concepts.items():
        if shared := set(values) & set(ignored):
            raise ValueError(f"\"ignore\" and '{name}' both have {sorted(shared, key=str)[0]!r}")
    return ManifestCase(
        paths[0], paths[1], concepts, Plane(plane), ignored, parse_labelled_slices(entry.get("labelled_slices")), split
    )


def parse_labelled_slices(given: Any) -> LabelledSlices:
    """Which slices somebody looked at: ``all``, ``drawn``, or a list of numbers and of ranges such as ``"40:90"``.

    Slices are numbered from 0 as Slicer numbers voxels; the end of a range is not part of it.

    Raises:
        ValueError: it is something else, or empty.
    """
    if given is None or given in ("all", "drawn"):
        return given  # type: ignore[no-any-return]
    numbers: set[int] = set()
    for one in given if isinstance(given, list) else [given]:
        if isinstance(one, int) and not isinstance(one, bool) and one >= 0:
            numbers.add(one)
            continue
        first, colon, end = one.partition(":") if isinstance(one, str) else ("", "", "")
        if not (colon and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
            raise ValueError(
                f'"labelled_slices" has {one!r}, which is neither the number of a slice nor a range such as "40:90"'
            )
        numbers.update(range(int(first), int(end)))
    if not numbers:
        raise ValueError('"labelled_slices" is empty; list the slices that somebody looked at, or write "all"')
    return frozenset(numbers)


def _path(entry: dict[str, Any], key: str, folder: Path) -> Path:
    text = entry.get(key)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'it has no "{key}" with a path')
    path = folder / text
    if not path.exists() and "\\" in text:
        path = folder / PureWindowsPath(text).as_posix()
    if not path.exists():
        raise ValueError(f"{path} does not exist (paths are relative to the manifest)")
    return path


def _values(concept: str, values: Any) -> tuple[int | str, ...]:
    return tuple(_value(concept, value) for value in (values if isinstance(values, list) else [values]))


def _value(concept: str, value: Any) -> int | str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError(f"'{concept}' has {value!r}, which is neither a label nor the name of a segment")
    if value == 0:
        raise ValueError(f"'{concept}' has the label 0, which is the background; write [] where it is absent")
    return int(value)


def _check_twins(cases: list[ManifestCase], path: Path, findings: Findings) -> None:
    """Refuse one concept that is labelled twice in one image."""
    known: dict[tuple[Path, Plane, str], int] = {}
    for number, case in enumerate(cases, start=1):
        for concept in case.concepts:
            key = (case.image.resolve(), case.plane, prompt_for(concept))
            if key in known:
                findings.refuse(
                    f"The training manifest {path} says twice where '{concept}' is in {case.image.name}, in the cases "
                    f"{known[key]} and {number}; remove one."
                )
            known.setdefault(key, number)
