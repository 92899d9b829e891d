"""What is said of an oblique slice, which has no number among the slices of the volume."""

from __future__ import annotations

from MedSAM3SegmentLib.messages.message import Message, as_message, message
from MedSAM3SegmentLib.reporting.sentences import reason_on_this_slice
from MedSAM3SegmentLib.results.result import ConceptResult


def reason_on_cut(concept: ConceptResult) -> Message:
    """Whether a concept was found on an oblique slice; the engine knows no more of it than that it is its slice 0."""
    if not concept.found:
        return reason_on_this_slice(as_message(concept.reason))
    scores = concept.score_by_slice.values()
    if not scores:
        return message("Found on this slice.")
    return message("Found on this slice; the score is {score:.2f}.", score=max(scores))
