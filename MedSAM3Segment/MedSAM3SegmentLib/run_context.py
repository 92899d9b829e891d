"""What the stages of one run of the segmenter share, and how it is prepared."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from MedSAM3SegmentLib.detection.detect_slices import ConceptQuery
from MedSAM3SegmentLib.detection.exemplars import Exemplars
from MedSAM3SegmentLib.detection.fewer_slices import check_saving
from MedSAM3SegmentLib.detection.multiplanar import search_regions_along
from MedSAM3SegmentLib.detection.nested_concepts import split_request
from MedSAM3SegmentLib.features.feature_cache import FeatureCache
from MedSAM3SegmentLib.features.slice_encoder import SliceFeatures
from MedSAM3SegmentLib.few_shot.locate_examples import with_places_of_examples
from MedSAM3SegmentLib.few_shot.match_field_of_view import match_fields_of_view
from MedSAM3SegmentLib.few_shot.segment_from_examples import LIKENESS_THRESHOLD, limit_to_labelled_slices
from MedSAM3SegmentLib.few_shot.support_set import choose_support_slices
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.interpolation.drawn_concepts import concept_shown_elsewhere, drawn_slices, with_examples_drawn
from MedSAM3SegmentLib.messages.message import Message, as_message
from MedSAM3SegmentLib.models.abilities import check_adaptation, tracker_of
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.preprocessing.intensity_check import check_intensities
from MedSAM3SegmentLib.preprocessing.windowing import Window, choose_window, is_ct
from MedSAM3SegmentLib.prompts.slice_prompts import boxes_on
from MedSAM3SegmentLib.reporting.place_sentences import describe_place
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.vocabulary.advice import advice_for, describe_cut
from MedSAM3SegmentLib.vocabulary.phrases import VISUAL_PHRASE, prompt_for
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .progress import RunCallbacks, RunReporter, Stage
from .request import SegmentRequest
from .search_region import SearchRegion, regions_of_concepts
from .units import is_plain_picture
from .volume import Volume


@dataclass(frozen=True)
class PartSteps:
    """How many slices finding and following the concepts of a part of the request take at most."""

    detecting: int
    tracking: int


@dataclass(frozen=True, eq=False)
class RunContext:
    """A request on its way to a result.

    Attributes:
        search_region: of the request, before any of its concepts cuts another.
        features: of the volume, cut as the search region's stack is.
        threshold: lowest score that counts.
        queries: what the model is asked, by concept, that which the others must lie in included.
        example_windows: the windows that the volumes of its examples are seen through, by concept.
        steps: of each part, by its concepts.
        said: sentences for the user, as they come.
        skipped: which slices were not looked at, as that comes.
        at_end: what is done once all concepts are assembled.
        seconds: by stage, as they pass.
    """

    volume: Volume
    request: SegmentRequest
    search_region: SearchRegion
    features: SliceFeatures
    threshold: float
    queries: Mapping[str, ConceptQuery]
    example_windows: Mapping[str, Sequence[Window]]
    reporter: RunReporter
    steps: Mapping[tuple[str, ...], PartSteps] = field(default_factory=dict)
    said: list[Message] = field(default_factory=list)
    skipped: list[Message] = field(default_factory=list)
    at_end: list[Callable[[], None]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reporter", replace(self.reporter, say=self.said.append))

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the time that passes in a stage, in which the run may be several times."""
        started = time.monotonic()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - started

    def unassembled(self, concept: str) -> ConceptResult:
        """A concept of which nothing is known yet."""
        query, shape = self.queries[concept], self.volume.grid.shape
        place = self.request.places.get(concept)
        return ConceptResult(
            concept=query.concept,
            prompt=query.prompt,
            window=query.window,
            evidence=(),
            found=False,
            reason=as_message(""),
            mask=np.zeros(shape, bool),
            instance_map=np.zeros(shape, np.uint16),
            instances=(),
            messages=(*query.messages, *describe_place(concept, place, self.search_region.stack)),
            place=place,
        )


def prepare_run(
    model: Sam3Detector,
    vocabulary: Vocabulary,
    cache: FeatureCache,
    volume: Volume,
    request: SegmentRequest,
    callbacks: RunCallbacks,
) -> RunContext:
    """What the stages of a run share, with one progress from the first slice to the last.

    Raises:
        InputError: the request does not fit the volume.
        MissingTrackerError: it needs a tracker and the model has none.
        Cancelled: between two concepts.
    """
    check_adaptation(request, model)
    shown_by_examples = bool(request.examples)
    request = _fit_request(request, volume)
    if shown_by_examples and model.tracker is None and concept_shown_elsewhere(request, volume) is None:
        # What they show are slices of this volume, which are filled between as drawn ones are.
        request = with_examples_drawn(request)
    by_examples = bool(request.examples)
    request, said = request.in_drawn_plane(volume.grid)
    request = _without_places_of_drawn(request)
    if by_examples:
        request = with_places_of_examples(request, volume, callbacks)
    region = SearchRegion.of(request, SliceStack.along(volume.grid, request.plane), is_plain_picture(volume))
    if by_examples:
        examples = {
            name: [limit_to_labelled_slices(one, volume, region.stack) for one in request.examples[name]]
            for name in request.concepts
        }
        request = replace(request, examples=examples)
    check_saving(request, region.stack, vocabulary)
    threshold = LIKENESS_THRESHOLD if by_examples else model.card.threshold
    parts = split_request(request)
    run = RunContext(
        volume=volume,
        request=request,
        search_region=region,
        features=SliceFeatures(model, cache, volume, region.stack),
        threshold=threshold if request.threshold is None else request.threshold,
        queries={
            concept: _query(model, vocabulary, volume, request, concept, region.stack, callbacks)
            for part in parts
            for concept in part.concepts
        },
        example_windows={
            name: [_window(vocabulary, one.volume, request, name) for one in examples]
            for name, examples in request.examples.items()
        },
        reporter=RunReporter(callbacks).only_of(request.concepts),
    )
    tracked = [] if by_examples else [(part, name) for part in parts for name in part.concepts if part.tracks(name)]
    if not all(drawn_slices(part.prompts.get(name), region.stack) for part, name in tracked):
        # What was drawn on several slices is filled between them without one.
        tracker_of(model, None if shown_by_examples else request.mode)
    steps = {part.concepts: _most_steps(run, part) for part in parts}
    most = sum(each.detecting + each.tracking for each in steps.values())
    if request.window is None:
        run.said.extend(check_intensities(volume))
    run.said.extend(said)
    # Windows are chosen by the examples as they are.
    request = replace(request, examples=match_fields_of_view(request.examples, volume, region.stack))
    return replace(run, request=request, steps=steps, reporter=run.reporter.counting(Stage.SEGMENTING, most))


#: Queries that are asked together, and the regions, one for each plane, in which they are.
_Plan = Iterable[tuple[list[ConceptQuery], list[SearchRegion]]]


def plan_detection(run: RunContext, part: SegmentRequest, region: SearchRegion) -> _Plan:
    """What is looked for on all slices along every plane, and where boxes alone need it on theirs."""
    if not region.slices:
        return
    queries = [run.queries[concept] for concept in part.concepts]
    everywhere = [query for query in queries if part.detects(query.concept)]
    for names, own in regions_of_concepts(region, [query.concept for query in everywhere]):
        if own.slices:
            yield [query for query in everywhere if query.concept in names], search_regions_along(part, own)
    for query in queries:
        slices = sorted({box.middle for box in query.exemplars.boxes if box.positive})
        if query not in everywhere and query.is_phrase and slices:
            yield [query], [replace(region, slices=tuple(slices))]


def _most_steps(run: RunContext, part: SegmentRequest) -> PartSteps:
    """How many slices a part of the request takes at most, whatever will be found.

    Raises:
        InputError: an example or a plane does not fit.
    """
    slices, queries = run.search_region.slices, [run.queries[concept] for concept in part.concepts]
    if not slices:
        return PartSteps(0, 0)
    if part.examples:
        supports = [
            choose_support_slices(stack.extract(one.mask), one)
            for name in part.concepts
            for one in part.examples[name]
            for stack in [SliceStack.along(one.volume.grid, run.search_region.stack.plane)]
        ]
        # Each new slice is looked at twice for every concept.
        detecting = sum(map(len, supports)) + 2 * len(slices) * len(queries)
    else:
        detecting = sum(
            len({query.window for query in asked}) * sum(len(region.slices) for region in regions)
            for asked, regions in plan_detection(run, part, run.search_region)
        )
    tracked = [query for query in queries if part.tracks(query.concept)]
    prompts = [part.prompts[query.concept] for query in tracked if query.concept in part.prompts]
    # Up and down through all slices where there are seeds on several, and again for clicks on what is not meant.
    ways = 2 if all(point.positive for drawn in prompts for point in drawn.points) else 4
    tracking = ways * len({query.window for query in tracked}) * (slices[-1] + 1 - slices[0])
    return PartSteps(detecting, tracking)


def phrase_messages(model: Sam3Detector, concept: str) -> tuple[Message, ...]:
    """What the user should know of a concept's words before the model is asked for them."""
    prompt = prompt_for(concept)
    last_word = model.last_word_read(prompt)
    cut = () if last_word is None else (describe_cut(prompt, last_word, model.context_length),)
    return (*advice_for(concept), *cut)


def _query(
    model: Sam3Detector,
    vocabulary: Vocabulary,
    volume: Volume,
    request: SegmentRequest,
    concept: str,
    stack: SliceStack,
    callbacks: RunCallbacks,
) -> ConceptQuery:
    callbacks.check()
    window = _window(vocabulary, volume, request, concept)
    if request.examples:
        return ConceptQuery(concept, concept, window)
    prompts = request.prompts.get(concept)
    if prompts is None:
        return ConceptQuery(concept, prompt_for(concept), window, phrase_messages(model, concept))
    exemplars = Exemplars.of(boxes_on(stack, prompts.boxes), stack.spacing[0])
    if not prompts.is_phrase:
        return ConceptQuery(concept, VISUAL_PHRASE, window, (), exemplars, is_phrase=False)
    return ConceptQuery(concept, prompt_for(concept), window, phrase_messages(model, concept), exemplars)


def _window(vocabulary: Vocabulary, volume: Volume, request: SegmentRequest, concept: str) -> Window:
    preset = vocabulary.window_for(concept) if is_ct(volume) else None
    return choose_window(volume, preset, request.window)


def _without_places_of_drawn(request: SegmentRequest) -> SegmentRequest:
    """The request in which templates say nothing of what a person drew and is followed: who drew it knows better."""
    drawn = {name for name, prompts in request.prompts.items() if not prompts.are_exemplars_only}
    return replace(request, places={name: place for name, place in request.places.items() if name not in drawn})


def _fit_request(request: SegmentRequest, volume: Volume) -> SegmentRequest:
    """The request without what makes no sense for ``volume``: frames have no thickness, so none are too few."""
    if not volume.is_sequence:
        return request
    return replace(request, assembly=replace(request.assembly, drop_isolated=False))
