"""Carrying objects from slice to slice with the tracker, both ways from where they are shown, until they end.

Only what the tracker remembers is kept, and the masks; features are asked for slice by slice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.soft_mask import MASK_THRESHOLD, SoftMask, soft_mask_to_binary
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.models.tracker import Tracker
from MedSAM3SegmentLib.models.tracker_types import PointPrompt, TrackerFeatures, TrackerOutput
from MedSAM3SegmentLib.models.tracking_session import TrackingSession
from MedSAM3SegmentLib.progress import RunReporter, Stage, StageProgress
from MedSAM3SegmentLib.results.tracks import SliceSource, StopReason, Track
from MedSAM3SegmentLib.search_region import SearchRegion

from .slice_check import assess_slice, binary_mask, probability_map
from .stop_rules import StopCandidate, StopRules
from .track_state import TrackedSlice, TrackState
from .tracked_objects import ConditioningPrompt, TrackedObject

#: Gives one slice's features for the tracker.
FeaturesOf = Callable[[int], TrackerFeatures]


def propagate(
    targets: Sequence[TrackedObject],
    tracker: Tracker,
    features_of: FeaturesOf,
    search_region: SearchRegion,
    reporter: RunReporter,
    rules: StopRules = StopRules(),  # noqa: B008 (frozen)
    memory_dtype: torch.dtype = torch.float32,
    asked: range | None = None,
) -> list[Track]:
    """Follow every target both ways from its seeds.

    All seeds are given before the first step; on the way a detection that agrees may show an object anew. Between two
    seeds an object is carried from both, and the nearer one counts more. Slices that a person drew come back as they
    were drawn.

    Args:
        targets: any number; they do not influence each other.
        features_of: called once per slice and way.
        search_region: outside of which nothing is followed.
        asked: the range of slices that was asked for, if a region leaves fewer; None for the whole stack.
        reporter: is shown each slice as it is known.

    Returns:
        One track per target, in their order.

    Raises:
        Cancelled: between two slices.
    """
    if not targets:
        return []
    asked = range(search_region.stack.count) if asked is None else asked
    tracks = _Run(targets, tracker, features_of, search_region, reporter, rules, memory_dtype, asked).tracks()
    corrected = {n: _corrected(target, tracks[n]) for n, target in enumerate(targets) if target.corrections}
    changed = {n: target for n, target in corrected.items() if len(target.seeds) > len(targets[n].seeds)}
    for n in corrected.keys() - changed.keys():
        reporter.add_message(
            message(
                "The negative marks for '{concept}' changed nothing: the object is not there.",
                concept=targets[n].concept,
            )
        )
    if changed:
        again = _Run(
            list(changed.values()), tracker, features_of, search_region, reporter, rules, memory_dtype, asked
        ).tracks()
        for n, track in zip(changed, again, strict=True):
            tracks[n] = track
    return tracks


def count_steps(targets: Sequence[TrackedObject]) -> int:
    """How many slices ``propagate`` goes through at most, both ways together, and again for corrections."""
    chosen = targets, [target for target in targets if target.corrections]
    return sum(len(way) for some in chosen if some for way in _ways(some))


def _ways(targets: Sequence[TrackedObject]) -> tuple[range, range]:
    """The slices with rising and with falling index, from the outermost seed on."""
    first = min(min(seed.slice_index for seed in target.seeds) for target in targets)
    last = max(max(seed.slice_index for seed in target.seeds) for target in targets)
    low = min(min(target.slices.start for target in targets), first)
    high = max(max(target.slices.stop for target in targets), last + 1)
    return range(first, high), range(last, low - 1, -1)


class _Run:
    """One session of the tracker: all targets, first with rising and then with falling slices."""

    def __init__(
        self,
        targets: Sequence[TrackedObject],
        tracker: Tracker,
        features_of: FeaturesOf,
        search_region: SearchRegion,
        reporter: RunReporter,
        rules: StopRules,
        memory_dtype: torch.dtype,
        asked: range,
    ) -> None:
        self._targets = targets
        self._features_of = features_of
        self._search_region = search_region
        self._reporter = reporter
        self._rules = rules
        self._asked = asked
        self._session = TrackingSession(tracker, search_region.stack.count, memory_dtype=memory_dtype)
        self._shown: list[dict[int, tuple[BoolMask, TrackedSlice]]] = [{} for _ in targets]

    def tracks(self) -> list[Track]:
        """Follow everything."""
        rising, falling = _ways(self._targets)
        stage = self._reporter.begin(Stage.PROPAGATING, len(rising) + len(falling))
        self._show_seeds(stage)
        forward = self._sweep(rising, False, stage)
        backward = self._sweep(falling, True, stage)
        stage.finish()
        return [
            _track(target, shown, there, back)
            for target, shown, there, back in zip(self._targets, self._shown, forward, backward, strict=True)
        ]

    def _show_seeds(self, stage: StageProgress) -> None:
        seeds = [(seed, number) for number, target in enumerate(self._targets) for seed in target.seeds]
        for index in sorted({seed.slice_index for seed, _ in seeds}):
            stage.check()
            features = self._features_of(index)
            for seed, number in seeds:
                if seed.slice_index == index:
                    answer = self._session.prompt(number, index, features, seed.prompt)
                    kept = _as_shown(seed, answer)
                    self._shown[number][index] = (binary_mask(answer), kept)
                    self._show(number, index, kept)

    def _sweep(self, order: range, reverse: bool, stage: StageProgress) -> list[TrackState]:
        """Follow all targets over the slices of ``order``."""
        tip = int(self._rules.tip_mm / self._search_region.stack.spacing[0])
        states = [TrackState(reverse, tip) for _ in self._targets]
        seeds = [{seed.slice_index for seed in target.seeds} for target in self._targets]
        ahead = set[int]().union(*seeds)
        for index in order:
            stage.check()
            for state, target in zip(states, self._targets, strict=True):
                if state.going and index not in target.slices:
                    state.stop(
                        index, StopCandidate(StopReason.LEFT_REGION, f"slices {_span(target.slices)} were asked for")
                    )
            active = [n for n, state in enumerate(states) if state.going and index not in self._shown[n]]
            if active:
                features = self._features_of(index)
                for n, answer in self._session.step(index, features, reverse=reverse, objects=active).items():
                    assert isinstance(n, int)
                    verdict = assess_slice(answer, index, states[n], self._targets[n], self._search_region, self._rules)
                    self._show(n, index, verdict.kept)
                    states[n].go_on(index, verdict, self._rules)
                    if verdict.detected is not None and self._is_due(states[n], index):
                        self._renew(states[n], n, index, features, verdict.detected)
            for state, shown, own in zip(states, self._shown, seeds, strict=True):
                # Where the other way showed an object anew is no start: how far this way begins is for others' seeds.
                if index in own or (index in shown and state.going):
                    state.begin(index, shown[index][0])
            ahead.discard(index)
            stage.advance()
            if not ahead and not any(state.going for state in states):
                break
        for state in states:
            if state.going:
                reason = StopReason.LEFT_REGION if order.stop in self._asked else StopReason.END_OF_RANGE
                state.stop(order.stop, StopCandidate(reason, f"followed to slice {order.stop - order.step}"))
        return states

    def _is_due(self, state: TrackState, index: int) -> bool:
        """Whether it is time to show an object to the tracker anew."""
        rules = self._rules
        return state.renewals < rules.most_reconditionings and abs(index - state.origin) >= rules.recondition_every

    def _renew(self, state: TrackState, number: int, index: int, features: TrackerFeatures, detected: BoolMask) -> None:
        """Show an object anew, by a detection that agrees."""
        seed = ConditioningPrompt(index, detected)
        answer = self._session.prompt(number, index, features, seed.prompt)
        self._shown[number][index] = (binary_mask(answer), _as_shown(seed, answer))
        state.renewals += 1

    def _show(self, number: int, index: int, kept: TrackedSlice) -> None:
        shape = self._search_region.stack.slice_shape

        def mask() -> BoolMask:
            full = soft_mask_to_binary(kept.soft, shape)
            return full if kept.sure else self._search_region.clip(index, full)

        self._reporter.report_partial(self._targets[number].concept, index, kept.score, mask)


def _as_shown(seed: ConditioningPrompt, answer: TrackerOutput) -> TrackedSlice:
    """A seed as part of the track: masks as they were given, points as they were answered."""
    if seed.mask is not None:
        return TrackedSlice(SoftMask.of(seed.mask), float(seed.mask.any()), seed.slice_index, sure=True)
    return TrackedSlice(
        SoftMask.of(probability_map(answer)), float(answer.object_score_logits.sigmoid()), seed.slice_index, sure=True
    )


def _track(
    target: TrackedObject, shown: Mapping[int, tuple[BoolMask, TrackedSlice]], forward: TrackState, backward: TrackState
) -> Track:
    kept = {index: one for index, (_, one) in shown.items()}
    for index in forward.kept.keys() | backward.kept.keys():
        found = [state.kept[index] for state in (forward, backward) if index in state.kept]
        kept[index] = found[0] if len(found) == 1 else _between(index, *found)
    indices = sorted(kept)
    best = max((shown[seed.slice_index][1].score for seed in target.seeds), default=0.0)
    return Track(
        seeds=tuple(sorted(shown)),
        score=min(target.score, best) if best <= 0.5 else target.score,
        masks={index: kept[index].soft for index in indices},
        object_scores={index: kept[index].score for index in indices},
        drawn=tuple(seed.slice_index for seed in target.seeds if seed.drawn),
        stops=(*forward.stops, *backward.stops),
        shown=target.shown,
        sources={index: SliceSource.DETECTED for index in indices if _is_detection(kept[index], index, target)},
    )


def _is_detection(kept: TrackedSlice, index: int, target: TrackedObject) -> bool:
    """Whether a slice rests on the detector's mask and not on the tracker's or a person's."""
    if index in {seed.slice_index for seed in target.seeds}:
        return not target.shown
    return kept.sure


def _between(index: int, one: TrackedSlice, other: TrackedSlice) -> TrackedSlice:
    """A slice between two seeds, carried from both."""
    for kept in (one, other):
        if kept.sure:
            return kept
    nearness = abs(index - other.origin) / max(abs(index - one.origin) + abs(index - other.origin), 1)
    soft = nearness * one.soft.full() + (1 - nearness) * other.soft.full()
    score = nearness * one.score + (1 - nearness) * other.score
    return TrackedSlice(SoftMask.of(soft), score, one.origin)


def _corrected(target: TrackedObject, track: Track) -> TrackedObject:
    """The target with a seed on every slice where a negative click hit what was tracked."""
    seeds = list(target.seeds)
    for index in sorted({point.slice_index for point in target.corrections}):
        soft = track.masks.get(index)
        if soft is None:
            continue
        here = [point for point in target.corrections if point.slice_index == index]
        probability = soft.full()
        rows, columns = probability.shape
        hits = [
            probability[min(int(p.y * rows), rows - 1), min(int(p.x * columns), columns - 1)] > MASK_THRESHOLD
            for p in here
        ]
        if not any(hits):
            continue
        logits = torch.from_numpy(probability).clamp(1e-4, 1 - 1e-4).logit()
        prompt = PointPrompt(tuple((p.x, p.y) for p in here), (0,) * len(here), refines=logits)
        seeds.append(ConditioningPrompt(index, points=prompt))
    return replace(target, seeds=tuple(sorted(seeds, key=lambda seed: seed.slice_index)))


def _span(slices: range) -> str:
    return f"{slices.start} to {slices.stop - 1}"
