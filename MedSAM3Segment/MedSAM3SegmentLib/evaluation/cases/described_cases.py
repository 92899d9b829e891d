"""Cases of a described data set in a folder: found, completeness checked, and divided."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from MedSAM3SegmentLib.datasets.findings import listed
from MedSAM3SegmentLib.errors import InputError

from .case import CaseSet, EvaluationCase
from .dataset_catalog import ConceptFiles, Dataset, MaskKind, Part
from .described_masks import DescribedReferences
from .splits import TEST_SHARE, choose_test_units, join_copies, read_names


@dataclass(frozen=True, eq=False)
class _Found:
    """An image with the files of its references; without some, what is missing."""

    name: str
    image: Path
    files: Mapping[str, tuple[ConceptFiles, tuple[Path, ...]]]
    group: str
    unit: str
    sequence: str
    split: str
    copies_geometry: bool
    missing: str


def described_cases(dataset: Dataset, root: Path, split: str = "test", *, partial: bool = False) -> CaseSet:
    """The cases of a data set.

    Args:
        root: folder with the data set, at any height above the layout that it describes.
        split: ``train``, ``val``, ``test``, ``all``, or a text file with names of cases.
        partial: whether fewer images than the data set has are taken.

    Raises:
        InputError: files are missing or laid out otherwise, or there is no such split.
    """
    if not root.is_dir():
        raise InputError(f"{root} is no folder; give the folder with {dataset.title}.")
    found = _with_references(list(_find(dataset, root)))
    if not found:
        raise InputError(
            f"{root} does not hold {dataset.title} as it is published; expected is {dataset.layout} (from "
            f"{dataset.source})."
        )
    _check_twins(found, root)
    without = [f"{one.name} ({one.missing})" for one in found if one.missing]
    if without:
        raise InputError(
            f"{len(without)} images in {root} have no reference: {listed(without)}; unpack all files again."
        )
    chosen, description, notes = _divide(dataset, found, split)
    if not partial:
        _check_complete(dataset, found, chosen, root)
    elif len(found) < sum(dataset.expected.values()):
        notes.append(f"Only {len(found)} images are here; the data set has {sum(dataset.expected.values())} or more.")
    units, _ = join_copies({one.name: one.image for one in found}, {one.name: one.unit for one in found})
    cases = [
        EvaluationCase(
            one.name,
            DescribedReferences(one.image, one.files, one.copies_geometry),
            tuple(dict.fromkeys(path for _, paths in one.files.values() for path in paths)) or (one.image,),
            one.image,
            one.group,
            units[one.name],
            one.sequence,
        )
        for one in chosen
    ]
    concepts = {name: files.phrase for name, files in dataset.concepts.items()}
    return CaseSet(
        dataset.title,
        concepts,
        cases,
        _values_of_tools(dataset),
        (*dataset.notes, *notes),
        dataset.published,
        description,
    )


def _values_of_tools(dataset: Dataset) -> dict[str, tuple[int | str, ...]]:
    """What label maps of tools have that keep the data set's values; nothing where 0 is one of them."""
    values = {name: files.values for name, files in dataset.concepts.items()}
    return {} if len(values) == 1 or any(not some or 0 in some for some in values.values()) else {**values}


def _find(dataset: Dataset, root: Path) -> Iterator[_Found]:
    files = _files_below(root)
    names = {folder: [path.rsplit("/", 1)[-1] for path in paths] for folder, paths in files.items()}
    for part in dataset.parts:
        pattern = re.compile(f"(?P<prefix>(?:.*/)?){part.image}")
        for paths in files.values():
            for path in paths:
                match = pattern.fullmatch(path)
                if match:
                    yield _found(part, root, path, match, names)


def _found(part: Part, root: Path, path: str, match: re.Match[str], names: Mapping[str, list[str]]) -> _Found:
    captured = {key: value or "" for key, value in match.groupdict().items()}
    files: dict[str, tuple[ConceptFiles, tuple[Path, ...]]] = {}
    missing = ""
    for concept, how in part.concepts.items():
        folder = (captured["prefix"] + _filled(how.folder, captured)).strip("/")
        wanted = re.compile(_filled(how.name, {key: re.escape(value) for key, value in captured.items()}))
        there = [root / folder / name for name in names.get(folder, ()) if wanted.fullmatch(name)]
        if not there and how.kind is not MaskKind.ABSENT:
            missing = f"no {folder}/{_filled(how.name, captured)}"
        if len(there) > 1 and how.kind in (MaskKind.VALUES, MaskKind.OUTLINES):
            raise InputError(f"{there[0]} and {there[1]} are both references of {root / path}; remove one of them.")
        files[concept] = (how, tuple(sorted(there)))
    name = _filled(part.case, captured)
    return _Found(
        name,
        root / path,
        files,
        captured.get("group", part.group),
        captured.get("unit", name),
        captured.get("unit", name) if part.frames else "",
        captured.get("split", part.split),
        captured["id"] in part.copy_geometry,
        missing,
    )


def _files_below(root: Path) -> dict[str, list[str]]:
    """Paths below ``root`` by their folder, without hidden files and what archives of macOS leave."""
    found: dict[str, list[str]] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(one for one in folders if not one.startswith((".", "__MACOSX")))
        inside = Path(folder).relative_to(root).as_posix()
        prefix = "" if inside == "." else inside
        kept = sorted(name for name in names if not name.startswith("."))
        if kept:
            found[prefix] = [f"{prefix}/{name}" if prefix else name for name in kept]
    return found


def _filled(template: str, captured: Mapping[str, str]) -> str:
    for key, value in captured.items():
        template = template.replace(f"{{{key}}}", value)
    return template


def _with_references(found: list[_Found]) -> list[_Found]:
    """Without folders none of whose images has a reference, such as test images whose labels are kept back."""
    labelled = {one.image.parent for one in found if not one.missing}
    return [one for one in found if one.image.parent in labelled]


def _check_twins(found: list[_Found], root: Path) -> None:
    """Raises InputError where a case is there twice, as in a copy of the whole data set."""
    seen: dict[str, _Found] = {}
    for one in found:
        if (other := seen.setdefault(one.name, one)) is not one:
            raise InputError(
                f"{root} holds {one.name} twice, as {other.image.relative_to(root)} and "
                f"{one.image.relative_to(root)}; give the folder of one copy."
            )


def _divide(dataset: Dataset, found: list[_Found], split: str) -> tuple[list[_Found], str, list[str]]:
    """The cases of a split, in words how they were chosen, and what the user should know.

    Raises:
        InputError: there is no such split.
    """
    official = dataset.splits
    images = {one.name: one.image for one in found}
    units, copies = join_copies(images, {one.name: one.unit for one in found})
    notes = []
    if copies and official is None:
        notes.append(f"{copies} images are the same file as another one; copies are on one side of the split.")
    if split == "all":
        return found, "all cases", notes
    if split in ("train", "test") and official is None:
        test = choose_test_units(dataset.name, list(units.values()))
        chosen = [one for one in found if (units[one.name] in test) == (split == "test")]
        share = f"{TEST_SHARE:.0%}"
        return chosen, f"{split} of our own split ({share} of the units to test, by hash; none is official)", notes
    if official is not None and split in official:
        chosen = [one for one in found if one.split in official[split]]
        others = {units[one.name] for one in found if one.split not in official[split]}
        shared = sum(units[one.name] in others for one in chosen)
        if shared:
            notes.append(f"{shared} of these images are, as the same file, in another official split too.")
        return chosen, f"the official split {split}", notes
    if not Path(split).is_file():
        names = ["train", "test"] if official is None else list(official)
        raise InputError(f"{dataset.title} has no split '{split}'; give {', '.join(names)}, all, or a file of names.")
    wanted = read_names(Path(split))
    missing = [name for name in wanted if name not in images]
    if missing:
        raise InputError(f"{split} names {listed(missing)}, which the data set does not hold; correct the list.")
    inside = {units[name] for name in wanted}
    left = sum(units[one.name] in inside for one in found if one.name not in set(wanted))
    if left:
        notes.append(f"{left} images that are not in the list are of the same patient, sequence or file as one in it.")
    return [one for one in found if one.name in set(wanted)], f"the {len(wanted)} cases of {Path(split).name}", notes


def _check_complete(dataset: Dataset, found: list[_Found], chosen: list[_Found], root: Path) -> None:
    """Raises InputError where images of the chosen splits are missing."""
    splits = {one.split for one in chosen} if dataset.splits is not None else {""}
    for split, count in dataset.expected.items():
        here = sum(one.split == split for one in found) if split else len(found)
        is_meant = not split or split in splits or not chosen
        if is_meant and here < count:
            part = f" in '{split}'" if split else ""
            raise InputError(
                f"{root} holds {here} of {count} images{part} of {dataset.title}; unpack all of {dataset.source}, or "
                "give --partial to go on with what is here."
            )
