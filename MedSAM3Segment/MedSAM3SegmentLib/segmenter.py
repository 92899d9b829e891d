"""A request and a volume in, a result out: the main road of the engine.

Called by every door (panel, effect, console, shell, agent), in-process or inside the engine's own process. The stages
are functions over the same ``RunContext``: ``prepare_run``, for each part of the request ``detect`` and ``track``, and
``assemble_result``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import torch

from MedSAM3SegmentLib.adaptation.detect_adapted import AdaptedDetections, detect_adapted
from MedSAM3SegmentLib.assembly.assemble import assemble
from MedSAM3SegmentLib.detection.detect_slices import report_slice
from MedSAM3SegmentLib.detection.fewer_slices import detect_fewer_slices
from MedSAM3SegmentLib.detection.multiplanar import detect_along_planes, other_stacks
from MedSAM3SegmentLib.detection.nested_concepts import NestedRegion, nest_concepts, split_request
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.features.feature_cache import DEFAULT_BUDGET, FeatureCache
from MedSAM3SegmentLib.few_shot.segment_from_examples import detect_from_examples, labelled_slices, with_labelled_slices
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.models.devices import Resolution, name_of
from MedSAM3SegmentLib.models.memory import features_budget, save_memory_on_small_gpu
from MedSAM3SegmentLib.models.threads import threads_for
from MedSAM3SegmentLib.reporting.sentences import describe_examples, describe_prompts
from MedSAM3SegmentLib.reporting.versions import package_versions
from MedSAM3SegmentLib.results.result import ConceptResult, SegmentResult
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.results.suggest_slice import with_next_slice
from MedSAM3SegmentLib.tracking.track_concepts import track_concepts
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .progress import NO_CALLBACKS, RunCallbacks, Stage
from .provenance import Provenance
from .request import SegmentRequest
from .run_context import RunContext, plan_detection, prepare_run
from .search_region import SearchRegion, regions_of_concepts
from .volume import Volume


class Segmenter:
    """A loaded model and the features it has already computed.

    Args:
        model: the network with its card and identity.
        vocabulary: decides each concept's default window.
        cache: where features are kept between runs.
    """

    def __init__(
        self, model: Sam3Detector, vocabulary: Vocabulary | None = None, cache: FeatureCache | None = None
    ) -> None:
        self.model = model
        self.vocabulary = vocabulary or Vocabulary.load()
        if cache is None:
            cache = FeatureCache(features_budget(model.features_device, DEFAULT_BUDGET))
        self.cache = cache

    @classmethod
    def load(
        cls,
        model: str = "demo",
        device: str = "auto",
        dtype: str = "auto",
        resolution: Resolution | None = None,
        cuda_graphs: bool = False,
    ) -> Segmenter:
        """A segmenter with the model that ``model`` names, as ``load_model.load_model`` takes it.

        Raises:
            ModelError: the model cannot be loaded exactly.
            InputError: the device or the format is not there, or the resolution does not fit.
        """
        from MedSAM3SegmentLib.models.load_model import load_model

        loaded = load_model(model, device, dtype=dtype, resolution=resolution, cuda_graphs=cuda_graphs)
        save_memory_on_small_gpu(loaded)
        return cls(loaded)

    @torch.inference_mode()
    def segment(self, volume: Volume, request: SegmentRequest, callbacks: RunCallbacks = NO_CALLBACKS) -> SegmentResult:
        """Segment every concept of ``request`` in ``volume``, by words or as its examples show it.

        With examples, slices that they label in ``volume`` itself come back as they are. In the mode ``slices`` every
        slice is compared with them by itself, in the mode ``propagate`` what is found so is also tracked; the
        threshold is 0.5 unless the request names one.

        Raises:
            InputError: the request does not fit the volume, or a draft is asked of a model that was not loaded as one.
            MissingTrackerError: the request needs a tracker and the model has none.
            Cancelled: ``callbacks.cancel`` said so between two batches or two concepts.
        """
        own = self.model.own_image_size
        if request.draft and self.model.image_size >= own:
            raise InputError(
                "A draft was asked of a model that looks with all of its {own} x {own} pixels; load it as a draft, or "
                "turn the draft off.",
                own=own,
            )
        with threads_for(self.model):
            return self._segment(volume, request, callbacks)

    def _segment(self, volume: Volume, request: SegmentRequest, callbacks: RunCallbacks) -> SegmentResult:
        run = prepare_run(self.model, self.vocabulary, self.cache, volume, request, callbacks)
        outer, *inner = split_request(run.request)
        found = track(run, outer, run.search_region, detect(run, outer, run.search_region))
        nested = NestedRegion.of(run.request, run.search_region)
        for part in inner:
            (container,) = found
            container = assemble_concept(run, container, run.search_region)
            nested = nest_concepts(run.request, run.search_region, container.mask, run.reporter)
            found = [container, *track(run, part, nested.search_region, detect(run, part, nested.search_region))]
        return assemble_result(run, found, nested)


def detect(run: RunContext, part: SegmentRequest, region: SearchRegion) -> list[ConceptResult]:
    """The concepts of a part of the request with their detections, not assembled.

    Raises:
        Cancelled: between two batches of slices.
    """
    find = _detect_from_examples if run.request.examples else _detect_by_words
    with run.timed("segmenting"), run.reporter.reserved(run.steps[part.concepts].detecting):
        evidence = find(run, part, region)
    return [replace(run.unassembled(name), evidence=tuple(evidence.get(name, ()))) for name in part.concepts]


def track(
    run: RunContext, part: SegmentRequest, region: SearchRegion, concepts: list[ConceptResult]
) -> list[ConceptResult]:
    """The concepts of a part of the request with tracks, where they are tracked and may be anywhere at all.

    Raises:
        InputError: what was drawn does not fit the volume.
        Cancelled: between two slices.
    """
    adapted = AdaptedDetections()
    if run.request.adapt is not None:
        adapted = detect_adapted(run, part, region, concepts)
        concepts, part = adapted.of(concepts), adapted.as_detected(part)
    with run.reporter.reserved(run.steps[part.concepts].tracking):
        for names, own in regions_of_concepts(region, part.concepts):
            if own.slices and any(part.tracks(name) for name in names):
                with run.timed("propagating"):
                    among = [concept for concept in concepts if concept.concept in names]
                    asked = part if len(names) == len(part.concepts) else part.for_concepts(names)
                    done = track_concepts(
                        among, asked, run.features, own, run.threshold, run.reporter, adapted.only_beyond
                    )
                tracked = {concept.concept: concept for concept in done}
                concepts = [tracked.get(concept.concept, concept) for concept in concepts]
    if run.request.examples:
        concepts = [_keep_labelled_slices(run, concept, region) for concept in concepts]
    return concepts


def assemble_concept(run: RunContext, concept: ConceptResult, region: SearchRegion) -> ConceptResult:
    """A concept's mask and instances from its detections or tracks."""
    own = region.for_concept(concept.concept)
    return assemble(concept, region.stack, run.threshold, run.request.assembly, own)


def assemble_result(run: RunContext, found: Sequence[ConceptResult], nested: NestedRegion) -> SegmentResult:
    """The result, once every concept has its detections and tracks; what is assembled already stays as it is."""
    by_name = {concept.concept: concept for concept in found}
    stage = run.reporter.begin(Stage.ASSEMBLING, len(run.request.concepts))
    done = []
    with run.timed("assembling"):
        for name in run.request.concepts:
            run.reporter.callbacks.check()
            concept, region = by_name[name], nested.search_region.for_concept(name)
            concept = concept if name == nested.container else assemble_concept(run, concept, region)
            done.append(with_next_slice(concept, region.stack))
            stage.advance()
    for finish in run.at_end:
        finish()
    return SegmentResult(
        stack=run.search_region.stack,
        concepts=tuple(done),
        provenance=_provenance(run, nested.description),
        seconds=run.seconds,
        messages=(*_messages(run.features.model, run.volume), *run.said),
        assembly=run.request.assembly,
        search_region=nested.search_region,
    )


def _detect_by_words(
    run: RunContext, part: SegmentRequest, region: SearchRegion
) -> Mapping[str, list[SliceDetections]]:
    evidence: dict[str, list[SliceDetections]] = {}
    for queries, regions in plan_detection(run, part, region):
        if run.request.saving.is_wanted:
            (alone,) = regions
            saving = run.request.saving
            seen, skipped = detect_fewer_slices(run.features, queries, alone, run.threshold, run.reporter, saving)
            run.skipped.append(skipped)
            run.reporter.add_message(skipped)
        else:
            seen = detect_along_planes(run.features, queries, regions, run.threshold, run.reporter)
        evidence |= {query.concept: items for query, items in zip(queries, seen, strict=True)}
    return evidence


def _detect_from_examples(
    run: RunContext, part: SegmentRequest, region: SearchRegion
) -> Mapping[str, list[SliceDetections]]:
    evidence = {}
    for name in part.concepts:
        examples = list(zip(run.request.examples[name], run.example_windows[name], strict=True))

        def show(item: SliceDetections, name: str = name) -> None:
            own = region.for_concept(name)
            if item.slice_index in own.slices:
                report_slice(name, item, own, run.threshold, run.reporter)

        window = run.queries[name].window
        own = region.for_concept(name)
        # What all slices of the volume share is taken away before they are compared, so all are looked at.
        compared = region if own.slices else own
        found = detect_from_examples(examples, run.features, window, compared, run.reporter, show)
        evidence[name] = [item for item in found if item.slice_index in own.slices]
    return evidence


def _keep_labelled_slices(run: RunContext, concept: ConceptResult, region: SearchRegion) -> ConceptResult:
    """A concept whose slices that examples label in the volume itself come back as they are."""
    labelled = labelled_slices(run.request.examples[concept.concept], run.volume, region.stack)
    if not labelled:
        return concept
    assembled = assemble_concept(run, concept, region)
    return with_labelled_slices(assembled, labelled, region.stack, run.volume, run.reporter.callbacks.check)


def _provenance(run: RunContext, inside: str) -> Provenance:
    model, request, stack = run.features.model, run.request, run.search_region.stack
    shown = {name: describe_examples([one.volume.name for one in some]) for name, some in request.examples.items()}
    return Provenance(
        model=model.identity,
        device=str(model.device),
        plane=", ".join(cut.plane.value for cut in (stack, *other_stacks(request, stack))),
        threshold=run.threshold,
        input_name=run.volume.name,
        input_sha256=run.volume.content_hash,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=package_versions(),
        mode=request.mode.value,
        prompts=shown or {concept: describe_prompts(prompts) for concept, prompts in request.prompts.items()},
        inside=inside,
        skipped=" ".join(map(str, (*_describe_resolution(model), *run.skipped))),
        number_format=name_of(model.network.dtype),
    )


def _describe_resolution(model: Sam3Detector) -> tuple[Message, ...]:
    """One sentence where a model looks with less than all of its pixels."""
    if model.image_size >= model.own_image_size:
        return ()
    return (
        message(
            "Slices were looked at with {size} x {size} pixels in place of the model's own {own} x {own}; small "
            "structures and edges may be lost.",
            size=model.image_size,
            own=model.own_image_size,
        ),
    )


def _messages(model: Sam3Detector, volume: Volume) -> tuple[Message, ...]:
    said = _describe_resolution(model)
    if not model.identity.is_demo:
        return (*said, *volume.messages)
    return (
        *said,
        message(
            "This is the demo model, trained on synthetic pictures: it shows how the program works and says "
            "nothing about a real patient."
        ),
        *volume.messages,
    )
