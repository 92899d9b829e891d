"""What is said of a concept that is written into a segmentation, beside why it was found."""

from __future__ import annotations

from collections.abc import Sequence

from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.units import format_milliliters


def describe_other_segment(concept: str, segment: str) -> Message:
    """Where one more object of a concept is."""
    return message("Another object of '{name}' is in the segment '{segment}'.", name=concept, segment=segment)


def describe_other_slices() -> Message:
    """What became of the slices that were not looked at."""
    return message("The other slices of its segment stay as they were.")


def describe_masked(concept: str) -> Message:
    """Why a concept that was found is in no segment."""
    return message("'{name}' was not written, because masking lets nothing of it be edited.", name=concept)


def describe_loss(segment: str, volume_mm3: float) -> Message:
    """What another segment lost, because the Segment Editor overwrites it."""
    return message(
        "The segment '{name}' lost {amount} to it, as the Segment Editor's overwrite mode says; Undo restores it.",
        name=segment,
        amount=format_milliliters(volume_mm3),
    )


def describe_left(names: Sequence[str]) -> list[Message]:
    """What there is to say of segments of earlier runs that nothing was written into."""
    if not names:
        return []
    if len(names) == 1:
        return [message("The segment '{name}' of an earlier run was left as it was.", name=names[0])]
    return [
        message(
            "The segments {names} and '{last}' of earlier runs were left as they were.",
            names=", ".join(f"'{name}'" for name in names[:-1]),
            last=names[-1],
        )
    ]
