"""Which of the images in a folder are meant: those of one series, of one stack, and of one volume in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import Message, joined, message

from .elements import text, typed_text
from .frames import Frame
from .repeats import Part, have_repeats, mixes_components, split_repeats

#: A series with this many times the slices of any other in the same folder is the one that is meant.
_MEANT_RATIO = 10

#: Direction cosines that differ by less are the same: half a pixel at the edge of a field of view of 500 mm.
_SAME_DIRECTION = 1e-3

#: Stacks that a folder may hold.
_MOST_GROUPS = 1000

#: Series that an error lists.
_MOST_LISTED = 20


@dataclass(frozen=True, eq=False)
class _Group:
    """Images of one series that have one size and one direction.

    Attributes:
        label: what ``--series`` takes for it.
    """

    frames: list[Frame]
    label: str = ""

    @property
    def uid(self) -> str:
        return self.frames[0].image.series

    @property
    def number(self) -> str:
        return text(self.frames[0].image.data, "SeriesNumber")

    @property
    def description(self) -> str:
        return typed_text(self.frames[0].image.data, "SeriesDescription")

    @property
    def modality(self) -> str:
        return self.frames[0].image.modality

    @property
    def is_localizer(self) -> bool:
        return any("LOCALIZER" in code for code in self.frames[0].image.image_type)


def choose_frames(
    frames: Sequence[Frame], path: Path, wanted: str | None = None
) -> tuple[list[Frame], tuple[Message, ...]]:
    """The images of the one volume that is meant, and what to tell about the others.

    Args:
        path: what was given, for errors.
        wanted: a series by its UID, its number, or a part of its description; with ``.2`` and so on after it the second
            of several volumes in it. None for the only one there is.

    Raises:
        InputError: it is not clear which one is meant, or none is called like that.
    """
    groups = _labeled(_grouped(frames, path))
    if wanted is not None:
        if (part := _part_called(groups, wanted)) is not None:
            return part.frames, (message("The series holds several volumes; one was read: {name}.", name=part.name),)
        meant = _one_called(groups, wanted, path)
        return _one_volume(meant, path)
    candidates = [group for group in groups if not group.is_localizer] or groups
    if len(candidates) > 1 and len(candidates[0].frames) < _MEANT_RATIO * len(candidates[1].frames):
        raise InputError(
            "{path} holds {count} image series ({names}); give a folder with only one of them, or choose one with "
            "--series (its number, its UID or a part of its description).",
            path=path,
            count=len(candidates),
            names=_list(candidates),
        )
    chosen, messages = _one_volume(candidates[0], path)
    if len(groups) > 1:
        # Messages travel with results, so they say nothing that somebody typed at the scanner.
        others = joined((_kind(group) for group in groups[:_MOST_LISTED] if group is not candidates[0]), "; ")
        messages = (message("The folder also holds what was left out: {others}.", others=others), *messages)
    return chosen, messages


def _one_volume(group: _Group, path: Path) -> tuple[list[Frame], tuple[Message, ...]]:
    """The frames of a group, of which the magnitude is meant where there are others at the same positions."""
    frames = group.frames
    if not _have_places(frames):
        return frames, ()
    if not have_repeats(frames) and not mixes_components(frames):
        return frames, ()
    parts, what = split_repeats(frames)
    magnitudes = [part for part in parts if part.is_magnitude]
    if len(magnitudes) == 1:
        others = joined((part.name for part in parts if part is not magnitudes[0]), "; ")
        said = message("Only the magnitude images were read; left out: {others}.", others=others)
        return magnitudes[0].frames, (said,)
    if parts:
        labels = "; ".join(f"{_part_label(group, n)}: {part.name}" for n, part in enumerate(parts[:_MOST_LISTED]))
        raise InputError(
            "{path} holds several images at the same position, {count} volumes in all; choose one with --series "
            "({labels}), or give a folder with only one of them.",
            path=path,
            count=len(parts),
            labels=labels,
        )
    raise InputError(
        "{path} holds several images at the same position ({what}); give a folder with only one of each, or convert "
        "it with dcm2niix.",
        path=path,
        what=what,
    )


def _have_places(frames: Sequence[Frame]) -> bool:
    """Whether the frames can be put in order by their places."""
    if frames[0].refusal is not None or frames[0].image.is_film:
        return False
    return all(frame.position is not None and frame.orientation is not None for frame in frames)


def _part_label(group: _Group, n: int) -> str:
    return f"{group.label or group.uid}.{n + 1}"


def _part_called(groups: Iterable[_Group], wanted: str) -> Part | None:
    base, _, end = wanted.rpartition(".")
    if not end.isdigit():
        return None
    for group in groups:
        if base not in (group.label, group.uid) or any(wanted in (other.label, other.uid) for other in groups):
            continue
        if _have_places(group.frames):
            parts, _ = split_repeats(group.frames)
            if 1 <= int(end) <= len(parts):
                return parts[int(end) - 1]
    return None


def _one_called(groups: list[_Group], wanted: str, path: Path) -> _Group:
    called = [group for group in groups if wanted in (group.label, group.uid, group.number)]
    part = " ".join(wanted.split()).casefold()
    called = called or [group for group in groups if part and part in group.description.casefold()]
    if len(called) == 1:
        return called[0]
    if called:
        raise InputError(
            "{path} holds {count} image series that '{wanted}' may mean ({names}); give the number or the UID of one.",
            path=path,
            count=len(called),
            wanted=wanted,
            names=_list(called),
        )
    raise InputError(
        "{path} holds no image series '{wanted}' among {count} ({names}); give the number or the UID of one.",
        path=path,
        count=len(groups),
        wanted=wanted,
        names=_list(groups),
    )


def _grouped(frames: Sequence[Frame], path: Path) -> list[list[Frame]]:
    """Images of one series, size, stack and direction, the most images first."""
    groups = _group_by(frames, path, by_stack=True)
    # Some write another stack for each frame.
    if len(groups) == len(frames) > 1 and any(frame.stack for frame in frames):
        groups = _group_by(frames, path, by_stack=False)
    return sorted(groups, key=len, reverse=True)


def _group_by(frames: Sequence[Frame], path: Path, by_stack: bool) -> list[list[Frame]]:
    found: dict[Any, list[tuple[tuple[float, ...] | None, list[Frame]]]] = {}
    count = 0
    for frame in frames:
        directions = found.setdefault((frame.image.series, frame.size, by_stack and frame.stack), [])
        group = next(
            (group for direction, group in reversed(directions) if same_direction(direction, frame.orientation)), None
        )
        if group is None:
            group = []
            directions.append((frame.orientation, group))
            count += 1
            if count > _MOST_GROUPS:
                raise InputError("{path} holds images in too many directions; give one series.", path=path)
        group.append(frame)
    return [group for directions in found.values() for _, group in directions]


def same_direction(first: tuple[float, ...] | None, second: tuple[float, ...] | None) -> bool:
    """Whether direction cosines differ by rounding only; what has none is like what has none."""
    if first is None or second is None:
        return first is second
    return first == second or float(np.abs(np.subtract(first, second)).max()) < _SAME_DIRECTION


def _labeled(groups: list[list[Frame]]) -> list[_Group]:
    made = [_Group(frames) for frames in groups]
    series: dict[str, list[_Group]] = {}
    for group in made:
        series.setdefault(group.uid, []).append(group)
    numbers = Counter(members[0].number for members in series.values())
    labels: dict[int, str] = {}
    for uid, members in series.items():
        number = members[0].number
        base = number if number and numbers[number] == 1 else uid
        for n, group in enumerate(members, start=1):
            labels[id(group)] = base if len(members) == 1 else f"{base}.{n}"
    return [replace(group, label=labels[id(group)]) for group in made]


def _list(groups: Sequence[_Group]) -> Message:
    named = [_call(group) for group in groups[:_MOST_LISTED]]
    if len(groups) > _MOST_LISTED:
        named.append(message("and {count} more", count=len(groups) - _MOST_LISTED))
    return joined(named, "; ")


def _call(group: _Group) -> Message:
    name = " ".join(filter(None, (group.modality, f"'{group.description}'" if group.description else "")))
    return message("{label}: {name} with {files}", label=group.label or "?", name=name, files=_files(group))


def _kind(group: _Group) -> Message:
    modality = group.modality
    return joined([modality, _files(group)], ", ") if modality else message("images, {files}", files=_files(group))


def _files(group: _Group) -> Message:
    files = len({frame.image.path for frame in group.frames})
    if files != len(group.frames):
        return message("{count} images", count=len(group.frames))
    return message("1 file") if files == 1 else message("{count} files", count=files)
