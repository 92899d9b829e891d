"""Which segment a command is said of, and which other one it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from MedSAM3AgentLib.editing.commands import BeyondSegment, Combine, Command
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import message

from .edited_segments import EditedSegment, EditedSegments


def given_ids(segmentation_node: Any, segments: Sequence[str] | str | None) -> list[str]:
    """The IDs of segments that were given by ID or, where no segment has that ID, by name.

    Raises:
        InputError: there is no such segment, or there are several.
    """
    segmentation = segmentation_node.GetSegmentation()
    found = []
    for given in [segments] if isinstance(segments, str) else segments or ():
        ids = [str(given)] if segmentation.GetSegment(str(given)) is not None else []
        ids = ids or [str(one) for one in segmentation.GetSegmentIDs() if _is_named(segmentation, one, str(given))]
        if len(ids) != 1:
            raise InputError(
                "'{segmentation}' has no single segment '{name}'; it has {names}.",
                segmentation=segmentation_node.GetName(),
                name=str(given),
                names=_listed([segmentation.GetSegment(one).GetName() for one in segmentation.GetSegmentIDs()]),
            )
        found += ids
    return list(dict.fromkeys(found))


def segments_meant(
    edits: EditedSegments, name: str, given: Sequence[str], before: Sequence[EditedSegment]
) -> list[EditedSegment]:
    """The segments that a clause changes.

    Args:
        name: that the clause says, or empty.
        given: IDs of those that are meant where no clause has said a name yet; the only one, where none is given.
        before: those of the clause before.

    Raises:
        InputError: it is not known which, in words.
    """
    if name:
        found = edits.named(name)
        chosen = [one for one in found if one.segment_id in given]
        found = chosen if len(found) > 1 and len(chosen) == 1 else found
        if len(found) != 1:
            raise _not_single(name, found, edits)
        return found
    if before:
        return list(before)
    if given:
        return [one for one in edits.segments if one.segment_id in given]
    if not edits.segments:
        raise InputError("There is no segment to change; add one first.")
    if len(edits.segments) > 1:
        names = _listed([one.name for one in edits.segments])
        raise InputError("There are several segments; name one in the command, or select it: {names}.", names=names)
    return list(edits.segments)


def other_segment(edits: EditedSegments, target: EditedSegment, command: Command) -> EditedSegment | None:
    """The other segment that a command names; None for one that names none.

    Raises:
        InputError: there is no such segment, or there are several.
    """
    name = command.other if isinstance(command, Combine | BeyondSegment) else ""
    if not name:
        return None
    found = edits.named(name, but=target)
    if len(found) != 1:
        raise _not_single(name, found, edits, but=target)
    return found[0]


def _not_single(
    name: str, found: Sequence[EditedSegment], edits: EditedSegments, but: EditedSegment | None = None
) -> InputError:
    if found:
        return InputError("Several segments are called '{name}'; give them different names first.", name=name)
    known = _listed([one.name for one in edits.segments if one is not but])
    if but is not None:
        return InputError("There is no segment '{name}'; the other segments are: {known}.", name=name, known=known)
    return InputError("There is no segment '{name}'; the segments are: {known}.", name=name, known=known)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or message("none")


def _is_named(segmentation: Any, segment_id: str, name: str) -> bool:
    return str(segmentation.GetSegment(segment_id).GetName()).casefold() == name.casefold()
