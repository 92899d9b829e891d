"""What the stages of one run of the segmenter share, and how it is prepared."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from MedSAM3SegmentLib.detection.detect_slices import ConceptQuery, count_steps
from MedSAM3SegmentLib.detection.exemplars import Exemplars
from MedSAM3SegmentLib.detection.multiplanar import search_regions_along
from MedSAM3SegmentLib.detection.nested_concepts import split_request
from MedSAM3SegmentLib.features.feature_cache import FeatureCache
from MedSAM3SegmentLib.features.slice_encoder import SliceFeatures
from MedSAM3SegmentLib.few_shot.segment_from_examples import (
    LIKENESS_THRESHOLD,
    count_example_steps,
    limit_to_labelled_slices,
)
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.messages.message import Message, as_message
from MedSAM3SegmentLib.models.abilities import tracker_of
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.preprocessing.windowing import Window, choose_window, is_ct
from MedSAM3SegmentLib.prompts.slice_prompts import boxes_on
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.tracking.track_concepts import most_tracking_steps
from MedSAM3SegmentLib.vocabulary.phrases import VISUAL_PHRASE, prompt_for
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary, advice_for

from .progress import RunCallbacks, RunReporter, Stage
from .request import SegmentRequest
from .search_region import SearchRegion
from .volume import Volume


@dataclass(frozen=True, eq=False)
class RunContext:
    """A request on its way to a result.

    Attributes:
        search_region: of the request, before any of its concepts cuts another.
        features: of the volume, cut as the search region's stack is.
        threshold: lowest score that counts.
        queries: what the model is asked, by concept, that which the others must lie in included.
        example_windows: the windows that the volumes of its examples are seen through, by concept.
        said: sentences for the user, as they come.
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
    said: list[Message] = field(default_factory=list)
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
            messages=query.messages,
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
    by_examples = bool(request.examples)
    request = _fit_request(request, volume)
    region = SearchRegion.of(request, SliceStack.along(volume.grid, request.plane))
    if by_examples:
        examples = {
            name: [limit_to_labelled_slices(one, volume, region.stack) for one in request.examples[name]]
            for name in request.concepts
        }
        request = replace(request, examples=examples)
    threshold = LIKENESS_THRESHOLD if by_examples else model.card.threshold
    parts = split_request(request)
    run = RunContext(
        volume=volume,
        request=request,
        search_region=region,
        features=SliceFeatures(model, cache, volume, region.stack),
        threshold=threshold if request.threshold is None else request.threshold,
        queries={
            concept: _query(vocabulary, volume, request, concept, region.stack, callbacks)
            for part in parts
            for concept in part.concepts
        },
        example_windows={
            name: [_window(vocabulary, one.volume, request, name) for one in examples]
            for name, examples in request.examples.items()
        },
        reporter=RunReporter(callbacks).only_of(request.concepts),
    )
    if not by_examples and any(part.tracks(concept) for part in parts for concept in part.concepts):
        tracker_of(model, request.mode)
    windows = {concept: query.window for concept, query in run.queries.items()}
    steps = sum(count_detection_steps(run, part, region) for part in parts)
    steps += sum(most_tracking_steps(part, windows, region) for part in parts)
    return replace(run, reporter=run.reporter.over(Stage.SEGMENTING, steps))


#: Queries that are asked together, and the regions, one for each plane, in which they are.
_Plan = Iterable[tuple[list[ConceptQuery], list[SearchRegion]]]


def plan_detection(run: RunContext, part: SegmentRequest, region: SearchRegion) -> _Plan:
    """What is looked for on all slices along every plane, and where boxes alone need it on theirs."""
    if not region.slices:
        return
    queries = [run.queries[concept] for concept in part.concepts]
    everywhere = [query for query in queries if part.detects(query.concept)]
    if everywhere:
        yield everywhere, search_regions_along(part, region)
    for query in queries:
        slices = sorted({box.middle for box in query.exemplars.boxes if box.positive})
        if query not in everywhere and query.is_phrase and slices:
            yield [query], [replace(region, slices=tuple(slices))]


def count_detection_steps(run: RunContext, part: SegmentRequest, region: SearchRegion) -> int:
    """How many slices ``detect`` looks at."""
    if run.request.examples:
        return sum(count_example_steps(run.request.examples[name], region) for name in part.concepts)
    plan = plan_detection(run, part, region)
    return sum(count_steps(queries, region) for queries, regions in plan for region in regions)


def _query(
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
        return ConceptQuery(concept, prompt_for(concept), window, advice_for(concept))
    exemplars = Exemplars.of(boxes_on(stack, prompts.boxes), stack.spacing[0])
    if not prompts.is_phrase:
        return ConceptQuery(concept, VISUAL_PHRASE, window, (), exemplars, is_phrase=False)
    return ConceptQuery(concept, prompt_for(concept), window, advice_for(concept), exemplars)


def _window(vocabulary: Vocabulary, volume: Volume, request: SegmentRequest, concept: str) -> Window:
    preset = vocabulary.window_for(concept) if is_ct(volume) else None
    return choose_window(volume, preset, request.window)


def _fit_request(request: SegmentRequest, volume: Volume) -> SegmentRequest:
    """The request without what makes no sense for ``volume``: frames have no thickness, so none are too few."""
    if not volume.is_sequence:
        return request
    return replace(request, assembly=replace(request.assembly, drop_isolated=False))
