"""What a person types into Slicer's Python console or panel, as the engine's request."""

from __future__ import annotations

from collections.abc import Iterable

from MedSAM3SegmentLib.concepts import split_phrases
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.grid import Plane
from MedSAM3SegmentLib.intensity import Window
from MedSAM3SegmentLib.request import SegmentRequest


def request_from(
    concepts: str | Iterable[str],
    plane: str = Plane.ACQUIRED,
    window: str | tuple[float, float] | Window | None = None,
    threshold: float | None = None,
    slices: tuple[int, int] | None = None,
) -> SegmentRequest:
    """The request for what was typed.

    Args:
        concepts: phrases, or text in which ``;`` and new lines separate them.
        plane: ``acquired``, ``axial``, ``coronal`` or ``sagittal``.
        window: a preset's name, (low, high) in the volume's unit, or None for each concept's own.
        threshold: lowest score that is kept, 0 to 1, or None for the model's own.
        slices: half-open range (first, end) along the stack, or None for all.

    Raises:
        InputError: one of them cannot be used; the message says which and why.
    """
    phrases = split_phrases(concepts if isinstance(concepts, str) else "\n".join(concepts))
    try:
        named_plane = Plane(str(plane).strip().lower())
    except ValueError:
        raise InputError(f"There is no plane named '{plane}'; use one of {', '.join(Plane)}.") from None
    if isinstance(window, str):
        window = Window.parse(window)
    elif window is not None and not isinstance(window, Window):
        window = Window(*map(float, window))
    return SegmentRequest(
        concepts=phrases,
        plane=named_plane,
        slices=None if slices is None else (int(slices[0]), int(slices[1])),
        window=window,
        threshold=None if threshold is None else float(threshold),
    )
