"""The public data sets as descriptions: where files lie, how masks are stored, how cases are divided, and the licenses.

``Resources/datasets.json`` holds them. An image is found by a regular expression on its path below a free prefix; what
the expression captures names the folder and the file of its reference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.resources import resource_path


class MaskKind(StrEnum):
    """How the reference of a concept is stored."""

    MASK = "mask"
    """Pictures, bright where it is; of several the union."""
    VALUES = "values"
    """A label map in which it has some values, 0 possibly among them."""
    OBJECT_FILES = "object files"
    """A picture for each object."""
    OUTLINES = "outlines"
    """Polygons in an XML file of Aperio ImageScope."""
    ABSENT = "absent"
    """No file: it is known not to be there."""


@dataclass(frozen=True)
class ConceptFiles:
    """One concept of a part of a data set.

    Attributes:
        phrase: what a model is asked.
        wordings: phrases of a sweep.
        fine: whether it belongs to the study of fine concepts.
        kind: how it is stored.
        folder, name: of its files: a path below the prefix, and a regular expression; ``{...}`` is what was captured.
        values: that it has, and all that may occur.
    """

    phrase: str
    kind: MaskKind
    folder: str = ""
    name: str = ""
    wordings: tuple[str, ...] = ()
    fine: bool = False
    values: tuple[int, ...] = ()
    known: tuple[int, ...] = ()


@dataclass(frozen=True)
class Part:
    """Images that are laid out alike.

    Attributes:
        image: regular expression of the path below the prefix; captures ``id`` and what else the templates name.
            ``group``, ``unit`` and ``split`` have a meaning of their own.
        case: template of the case's name.
        group, split: of all its images, where they are not captured.
        frames: whether the images of a unit are frames of one film.
        copy_geometry: ids whose references take over the place of their image, because their header is wrong.
    """

    image: str
    concepts: Mapping[str, ConceptFiles]
    case: str = "{id}"
    group: str = ""
    split: str = ""
    frames: bool = False
    copy_geometry: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A public data set.

    Attributes:
        expected: images by split as the data set calls it, "" for all.
        splits: what ``train``, ``val`` and ``test`` are called in it; empty where there is no official split.
        published: rows of published tables.
    """

    name: str
    title: str
    license: str
    source: str
    layout: str
    expected: Mapping[str, int]
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()
    splits: Mapping[str, Sequence[str]] | None = None
    published: tuple[Mapping[str, Any], ...] = ()

    @property
    def concepts(self) -> Mapping[str, ConceptFiles]:
        """All concepts of all parts."""
        return {name: files for part in reversed(self.parts) for name, files in part.concepts.items()}


def read_catalog() -> dict[str, Dataset]:
    """All data sets by name."""
    stored = json.loads(resource_path("datasets.json").read_text("utf-8"))
    return {name: _dataset(name, entry) for name, entry in stored["datasets"].items()}


def find_described(name: str) -> Dataset:
    """The data set of a name.

    Raises:
        InputError: there is none.
    """
    catalog = read_catalog()
    if name.lower() not in catalog:
        raise InputError(f"There is no data set '{name}'; there are {', '.join(catalog)}.")
    return catalog[name.lower()]


def _dataset(name: str, entry: Mapping[str, Any]) -> Dataset:
    given = {**_with_tuples(entry), "parts": tuple(_part(one) for one in entry["parts"])}
    return Dataset(name, **given)


def _part(entry: Mapping[str, Any]) -> Part:
    given = {**_with_tuples(entry), "concepts": {name: _concept(one) for name, one in entry["concepts"].items()}}
    return Part(**given)


def _concept(entry: Mapping[str, Any]) -> ConceptFiles:
    given = {**_with_tuples(entry), "kind": MaskKind(entry["kind"])}
    return ConceptFiles(**given)


def _with_tuples(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
