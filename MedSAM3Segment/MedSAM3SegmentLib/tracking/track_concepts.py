"""From evidence and from what was drawn to tracks: what to follow, following it, and what detections add to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.assembly.assemble import assemble
from MedSAM3SegmentLib.features.slice_encoder import SliceFeatures
from MedSAM3SegmentLib.interpolation.drawn_concepts import describe_without_tracker, drawn_slices
from MedSAM3SegmentLib.interpolation.fill_track import drawn_track, fill_track
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.models.abilities import tracker_of
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.models.tracker_types import TrackerFeatures
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.progress import RunReporter
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.results.tracks import Track
from MedSAM3SegmentLib.search_region import SearchRegion

from .detection_agreement import DetectionAgreement
from .fill_gaps import interpolate_gap
from .join_detections import (
    detected_masks,
    instance_labels,
    labels_of_drawn,
    labels_of_track,
    with_detections,
    with_object_scores,
)
from .merge_tracks import merge_tracks
from .propagation import count_steps, propagate
from .separate_tracks import separate_tracks
from .stop_rules import StopRules
from .tracked_objects import (
    TrackedObject,
    detected_objects,
    drawn_objects,
    masks_of_drawn_boxes,
)


def _warn_of_adapter(model: Sam3Detector, reporter: RunReporter) -> None:
    adapter = model.adapters.active_adapter if model.adapters is not None and model.adapters.vision_merged else None
    if adapter is not None and adapter.touches_vision:
        reporter.add_message(
            message(
                "The adapter {adapter} changes the image features that the tracker was trained with; if objects are "
                "lost on the way, try the base model.",
                adapter=adapter.identity.name,
            )
        )


@dataclass(frozen=True, eq=False)
class _Followed:
    """A target and whose it is.

    Attributes:
        number: of the concept.
        labels: of the detected objects in the concept's instance map that it is; none where nothing was detected.
    """

    number: int
    target: TrackedObject
    labels: tuple[int, ...] = ()


def track_concepts(
    concepts: Sequence[ConceptResult],
    request: SegmentRequest,
    features: SliceFeatures,
    search_region: SearchRegion,
    threshold: float,
    reporter: RunReporter,
    only_beyond: Collection[str] = (),
) -> list[ConceptResult]:
    """The concepts with tracks, for those whose objects are followed.

    Args:
        concepts: with the evidence there is, not assembled.
        features: the same that were detected on; no slice is encoded twice.
        only_beyond: concepts whose detections count beyond the drawn slices alone.

    Raises:
        InputError: what was drawn does not fit the volume.
        Cancelled: between two slices or two concepts.
    """
    followed = [n for n, concept in enumerate(concepts) if request.tracks(concept.concept)]
    if not followed:
        return list(concepts)
    found = {}
    for n in followed:
        reporter.callbacks.check()
        found[n] = assemble(concepts[n], search_region.stack, threshold, request.assembly, search_region)
    if features.model.tracker is None and all(_is_drawn(concepts[n], request, search_region) for n in followed):
        return [
            _without_tracker(concept, found.get(n), request, features, search_region, reporter, only_beyond)
            for n, concept in enumerate(concepts)
        ]
    tracker = tracker_of(features.model, request.mode)
    _warn_of_adapter(features.model, reporter)
    jobs = [
        job for n in followed for job in _targets(n, found[n], request, search_region, threshold, reporter, only_beyond)
    ]
    tracks: list[Track] = [_NOTHING] * len(jobs)
    windows = list(dict.fromkeys(concepts[job.number].window for job in jobs))
    together = [[n for n, job in enumerate(jobs) if concepts[job.number].window == window] for window in windows]
    reporter.expect(sum(count_steps([jobs[n].target for n in chosen]) for chosen in together))
    for window, chosen in zip(windows, together, strict=True):

        def features_of(index: int, window: Window = window) -> TrackerFeatures:
            return tracker.build_features(features.of([index], window))

        targets = [jobs[n].target for n in chosen]
        dtype, asked = features.model.network.dtype, request.slice_range(search_region.stack)
        done = propagate(targets, tracker, features_of, search_region, reporter, memory_dtype=dtype, asked=asked)
        for n, track in zip(chosen, done, strict=True):
            tracks[n] = track
    shape, spacing = search_region.stack.slice_shape, search_region.stack.spacing
    if request.assembly.fill_gaps:
        # Before it is known what is another's, which must not come back.
        tracks = [interpolate_gap(track, shape, spacing[0]) if track.drawn else track for track in tracks]
    tracks = separate_tracks(tracks, shape, spacing[1:])
    result = list(concepts)
    for number in followed:
        reporter.callbacks.check()
        own = [
            with_detections(track, found[number], job.labels, search_region) if job.labels else track
            for job, track in zip(jobs, tracks, strict=True)
            if job.number == number
        ]
        merged = [_with_true_stops(track) for track in merge_tracks(own, shape)]
        if request.assembly.fill_gaps:
            merged = [interpolate_gap(track, shape, spacing[0], only_missing=bool(track.drawn)) for track in merged]
        own_jobs = [job for job in jobs if job.number == number]
        seen = None if concepts[number].concept in only_beyond else found[number]
        merged = [_filled(track, own_jobs, seen, features, search_region, reporter) for track in merged]
        evidence = with_object_scores(concepts[number].evidence, merged)
        result[number] = replace(concepts[number], evidence=evidence, tracks=tuple(merged))
    return result


def _filled(
    track: Track,
    jobs: Sequence[_Followed],
    found: ConceptResult | None,
    features: SliceFeatures,
    search_region: SearchRegion,
    reporter: RunReporter,
) -> Track:
    """A track with what lies between its drawn slices filled by shape, and moved by what is surer."""
    if not track.drawn:
        return track
    own = [job for job in jobs if any(seed.drawn for seed in job.target.seeds)]
    shown = {seed.slice_index for job in own for seed in job.target.seeds}
    shown |= {point.slice_index for job in own for point in job.target.corrections} & set(track.seeds)
    detected: dict[int, BoolMask] = {}
    for job in own:
        if job.labels and found is not None:
            detected |= detected_masks(found, job.labels, search_region.stack)
    stack, check = search_region.stack, reporter.callbacks.check
    return fill_track(track, stack, features.volume, shown, detected, check)


def _is_drawn(concept: ConceptResult, request: SegmentRequest, search_region: SearchRegion) -> bool:
    return bool(drawn_slices(request.prompts.get(concept.concept), search_region.stack))


def _without_tracker(
    concept: ConceptResult,
    found: ConceptResult | None,
    request: SegmentRequest,
    features: SliceFeatures,
    search_region: SearchRegion,
    reporter: RunReporter,
    only_beyond: Collection[str],
) -> ConceptResult:
    """A concept that nothing can follow: drawn slices, what lies between them, and what is detected beyond."""
    if found is None:
        return concept
    prompts, stack = request.prompts[concept.concept], search_region.stack
    reporter.add_message(describe_without_tracker(prompts, concept.concept))
    track = drawn_track(drawn_slices(prompts, stack))
    detected: dict[int, BoolMask] = {}
    labels = labels_of_track(track, found, stack) if request.detects(concept.concept) and prompts.is_phrase else ()
    if labels and concept.concept not in only_beyond:
        detected = detected_masks(found, labels, stack)
    track = fill_track(track, stack, features.volume, (), detected, reporter.callbacks.check)
    if labels:
        track = with_detections(track, found, labels, search_region)
    return replace(concept, evidence=with_object_scores(concept.evidence, [track]), tracks=(track,))


#: Stands in a list until its track is there.
_NOTHING = Track((), 0.0, {}, {})


def _targets(
    number: int,
    found: ConceptResult,
    request: SegmentRequest,
    search_region: SearchRegion,
    threshold: float,
    reporter: RunReporter,
    only_beyond: Collection[str],
) -> list[_Followed]:
    """What to follow of one concept."""
    stack, slices = search_region.stack, range(search_region.slices[0], search_region.slices[-1] + 1)
    prompts = request.prompts.get(found.concept)
    evidence = found.evidence
    if found.concept in only_beyond:
        evidence = _not_between(evidence, drawn_slices(prompts, stack))
    agreement = DetectionAgreement(evidence, threshold, search_region) if evidence else None
    followed = []
    if prompts is not None and not prompts.are_exemplars_only:
        for target in drawn_objects(found.concept, prompts, stack, slices, agreement):
            if agreement is not None and prompts.is_phrase:
                target = masks_of_drawn_boxes(target, agreement, stack)
                if not _knows(agreement, target):
                    reporter.add_message(
                        message(
                            "The model does not see '{concept}' where it was drawn, so its detections were no check.",
                            concept=found.concept,
                        )
                    )
                    target = replace(target, agreement=None)
            detects_it = request.mode is Mode.PROPAGATE and target.agreement is not None and prompts.is_phrase
            followed.append(_Followed(number, target, labels_of_drawn(target, found, stack) if detects_it else ()))
    if prompts is None or prompts.are_exemplars:
        detected = detected_objects(found, stack, slices, agreement)
        followed += [
            _Followed(number, one, (label,)) for one, label in zip(detected, instance_labels(found), strict=True)
        ]
    # Slices around a drawn box were looked at only to find the seed; they are no check for the others.
    if request.mode is Mode.FROM_PROMPTS and not request.detects(found.concept):
        followed = [replace(job, target=replace(job.target, agreement=None)) for job in followed]
    return followed


def _not_between(evidence: Sequence[SliceDetections], drawn: Mapping[int, BoolMask]) -> tuple[SliceDetections, ...]:
    """The evidence of drawn slices and of those beyond them."""
    between = set(range(min(drawn, default=0), max(drawn, default=0))) - drawn.keys()
    return tuple(item for item in evidence if item.slice_index not in between)


def _knows(agreement: DetectionAgreement, target: TrackedObject) -> bool:
    """Whether the detector sees the object on one of the slices that it was drawn on, if it was drawn at all.

    If not, it means something else by the phrase, or nothing, and its silence further on says nothing.
    """
    drawn = [seed for seed in target.seeds if seed.drawn and seed.mask is not None and seed.mask.any()]
    overlaps = [agreement.best_match(seed.slice_index, seed.mask)[1] for seed in drawn if seed.mask is not None]
    return not overlaps or max(overlaps) >= StopRules().agreement_iou


def _with_true_stops(track: Track) -> Track:
    """With one stop for each way, the last; those beyond which something else carried the object on were none."""
    ends = [stop for stop in track.stops if stop.slice_index not in track.masks]
    upwards = max((stop for stop in ends if stop.forward), key=lambda stop: stop.slice_index, default=None)
    downwards = min((stop for stop in ends if not stop.forward), key=lambda stop: stop.slice_index, default=None)
    return replace(track, stops=tuple(stop for stop in (upwards, downwards) if stop is not None))
