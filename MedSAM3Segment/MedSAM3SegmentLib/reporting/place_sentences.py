"""What is said of where templates let a structure be looked for."""

from __future__ import annotations

from typing import Any

from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.localization.place import Place, Standing
from MedSAM3SegmentLib.messages.message import Message, message


def describe_place(concept: str, place: Place | None, stack: SliceStack) -> tuple[Message, ...]:
    """Where a concept was looked for and why, as one sentence; none where no template was asked."""
    if place is None:
        return ()
    if place.standing is Standing.UNKNOWN:
        return (
            message(
                "The templates look too little like this volume to say where '{concept}' lies, so it was looked for "
                "everywhere.",
                concept=concept,
            ),
        )
    if place.standing is Standing.NOT_SHOWN:
        return (message("No template shows '{concept}', so it was looked for everywhere.", concept=concept),)
    if place.box is None or place.tight is None:
        return ()  # which the reason says
    axis = stack.array_axes[0]
    (first, end), (tight_first, tight_end) = place.box[axis], place.tight[axis]
    return (
        message(
            "'{concept}' was looked for on slices {first} to {last} of 0 to {of} only and in a box there: by the "
            "templates it lies on slices {tight_first} to {tight_last}.",
            concept=concept,
            first=first,
            last=end - 1,
            of=stack.count - 1,
            tight_first=tight_first,
            tight_last=tight_end - 1,
        ),
    )


def describe_not_searched(place: Place) -> Message:
    """Why a concept was not looked for."""
    if place.standing is Standing.OUTSIDE:
        return message(
            "Not searched: by the templates its place lies outside of the field of view. If that is wrong, leave the "
            "templates out."
        )
    return message(
        "Not searched: at its place by the templates the image shows nothing like it (likeness {likeness:.2f}). If "
        "that is wrong, leave the templates out.",
        likeness=place.likeness,
    )


def place_as_dict(place: Place, stack: SliceStack) -> dict[str, Any]:
    """A place in plain JSON values: first and last of the slices and of each axis, in both counted from 0."""
    axis = stack.array_axes[0]
    values: dict[str, Any] = {"standing": place.standing.value, "templates": list(place.templates)}
    if place.box is not None and place.tight is not None:
        values["slices"] = [place.box[axis][0], place.box[axis][1] - 1]
        values["slices_without_margin"] = [place.tight[axis][0], place.tight[axis][1] - 1]
        values["box"] = {name: [first, end - 1] for name, (first, end) in zip("kji", place.box, strict=True)}
    if place.standing in (Standing.FOUND, Standing.NOT_SEEN):
        values["likeness"] = round(place.likeness, 3)
    return values
