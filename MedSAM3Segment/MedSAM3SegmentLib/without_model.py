"""Filling what lies between drawn slices where there is no model at all; needs no PyTorch."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import numpy as np

from MedSAM3SegmentLib.assembly.assemble import assemble
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.interpolation.drawn_concepts import (
    concept_shown_elsewhere,
    describe_without_model,
    drawn_slices,
    evidence_of,
    with_examples_drawn,
)
from MedSAM3SegmentLib.interpolation.fill_track import drawn_track, fill_track
from MedSAM3SegmentLib.messages.message import as_message, message
from MedSAM3SegmentLib.preprocessing.windowing import choose_window, is_ct
from MedSAM3SegmentLib.reporting.sentences import describe_prompts
from MedSAM3SegmentLib.reporting.versions import package_versions
from MedSAM3SegmentLib.results.result import ConceptResult, SegmentResult
from MedSAM3SegmentLib.results.suggest_slice import with_next_slice
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .progress import NO_CALLBACKS, RunCallbacks, RunReporter, Stage
from .provenance import ModelIdentity, Provenance
from .request import NO_MODEL, Mode, SegmentRequest
from .search_region import SearchRegion
from .units import is_plain_picture
from .volume import Volume

#: What results say of the model that made them.
_IDENTITY = ModelIdentity(NO_MODEL, "", is_demo=False)

#: Objects that were drawn reach any threshold.
_THRESHOLD = 0.5


class ShapeSegmenter:
    """Fills the slices between drawn ones, by their shapes and the image; everything else needs a model."""

    def __init__(self, vocabulary: Vocabulary | None = None) -> None:
        self._vocabulary = vocabulary or Vocabulary.load()

    def segment(self, volume: Volume, request: SegmentRequest, callbacks: RunCallbacks = NO_CALLBACKS) -> SegmentResult:
        """Fill between the drawn slices of every concept.

        Examples in ``volume`` itself are drawn slices too.

        Raises:
            InputError: a concept was drawn on fewer than two slices, or the request does not fit the volume.
            Cancelled: ``callbacks.cancel`` said so between two slices.
        """
        started = time.monotonic()
        request, said = _with_examples_drawn(request, volume).in_drawn_plane(volume.grid)
        stack = SliceStack.along(volume.grid, request.plane)
        region = SearchRegion.of(_without_words(request), stack, is_plain_picture(volume))
        reporter = RunReporter(callbacks).only_of(request.concepts)
        stage = reporter.begin(Stage.PROPAGATING, len(request.concepts))
        concepts, messages = [], [*volume.messages, *said]
        if request.adapt is not None:
            messages.append(message("Nothing was learnt from the drawn slices, since there is no model."))
        for name in request.concepts:
            stage.check()
            drawn = drawn_slices(request.prompts.get(name), stack)
            if not drawn:
                raise InputError(
                    "Without a model only what lies between drawn slices can be filled; draw '{concept}' on two slices "
                    "at least, or choose a model.",
                    concept=name,
                )
            track = fill_track(drawn_track(drawn), stack, volume, check=callbacks.check)
            preset = self._vocabulary.window_for(name) if is_ct(volume) else None
            window = choose_window(volume, preset, request.window)
            nothing = np.zeros(volume.grid.shape, bool)
            concept = ConceptResult(
                concept=name,
                prompt=name,
                window=window,
                evidence=evidence_of(track),
                found=False,
                reason=as_message(""),
                mask=nothing,
                instance_map=nothing.astype(np.uint16),
                instances=(),
                tracks=(track,),
            )
            concept = assemble(concept, stack, _THRESHOLD, request.assembly, region)
            concepts.append(with_next_slice(concept, stack))
            messages.append(describe_without_model(request.prompts[name], name))
            stage.advance()
        return SegmentResult(
            stack=stack,
            concepts=tuple(concepts),
            provenance=Provenance(
                model=_IDENTITY,
                device="cpu",
                plane=stack.plane.value,
                threshold=_THRESHOLD,
                input_name=volume.name,
                input_sha256=volume.content_hash,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                versions=package_versions(),
                mode=Mode.FROM_PROMPTS.value,
                prompts={name: describe_prompts(prompts) for name, prompts in request.prompts.items()},
            ),
            seconds={"interpolating": time.monotonic() - started},
            messages=tuple(messages),
            assembly=request.assembly,
            search_region=region,
        )


def _with_examples_drawn(request: SegmentRequest, volume: Volume) -> SegmentRequest:
    """The request with what its examples show of ``volume`` itself as drawn slices.

    Raises:
        InputError: an example lies in another volume.
    """
    if not request.examples:
        return request
    elsewhere = concept_shown_elsewhere(request, volume)
    if elsewhere is not None:
        raise InputError(
            "An example of '{concept}' lies in another image, which needs a model; choose one.", concept=elsewhere
        )
    return with_examples_drawn(request)


def _without_words(request: SegmentRequest) -> SegmentRequest:
    """The request, which must not look inside of something that words name.

    Raises:
        InputError: it does.
    """
    if isinstance(request.inside, str):
        raise InputError(
            "'{words}' can only be looked for with a model; choose one, or give a mask to look inside of.",
            words=request.inside,
        )
    return request
