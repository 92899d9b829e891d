"""Where what examples show lies in another volume, so that only the slices that resemble theirs are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from MedSAM3SegmentLib.localization.locate import are_same_kind, locate_structures
from MedSAM3SegmentLib.localization.place import Place, Standing
from MedSAM3SegmentLib.progress import NO_CALLBACKS, Progress, RunCallbacks, Stage
from MedSAM3SegmentLib.prompts.examples import Example
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.volume import Volume


def with_places_of_examples(
    request: SegmentRequest, volume: Volume, callbacks: RunCallbacks = NO_CALLBACKS
) -> SegmentRequest:
    """The request with the places that its examples give, each in other volumes.

    The images alone say it: the examples are aligned with the volume, with orientation and spacing as they are in the
    patient, and vote. What they cannot tell is searched everywhere, and so is what the volume seems not to show.

    Args:
        callbacks: told of each step; may cancel between two.

    Raises:
        Cancelled: they said so.
    """
    templates = {
        name: examples
        for name, examples in request.examples.items()
        if name in request.concepts and name not in request.places and _are_whole(examples, volume)
    }
    if not templates:
        return request

    def advance(done: int, total: int) -> None:
        if callbacks.progress is not None:
            callbacks.progress(Progress(Stage.LOCATING, done, total))

    found = locate_structures(volume, templates, callbacks.check, advance)
    places: dict[str, Place] = {name: place for name, place in found.items() if place.standing is Standing.FOUND}
    return replace(request, places={**request.places, **places})


def _are_whole(examples: Sequence[Example], volume: Volume) -> bool:
    """Whether all of them are whole volumes of the same kind as ``volume`` and none is ``volume`` itself."""
    return all(
        example.slices is None
        and example.volume.content_hash != volume.content_hash
        and are_same_kind(volume, example.volume)
        for example in examples
    )
