"""Carrying objects from slice to slice with the tracker, both ways from where they are shown, until they end.

Only what the tracker remembers is kept, and the masks; features are asked for slice by slice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from MedSAM3SegmentLib.geometry.soft_mask import mask_at
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.models.tracker import Tracker
from MedSAM3SegmentLib.models.tracker_types import PointPrompt, TrackedMask, TrackerFeatures
from MedSAM3SegmentLib.models.tracking_session import TrackingSession
from MedSAM3SegmentLib.progress import StageWatch, Watch
from MedSAM3SegmentLib.request import Stage
from MedSAM3SegmentLib.results.slice_detections import SoftMask
from MedSAM3SegmentLib.results.tracks import StopReason, Track
from MedSAM3SegmentLib.search_region import Gate

from .slice_check import judge, mask_of, probability_of
from .stop_rules import Doubt, StopRules
from .track_state import Kept, Walk
from .tracked_objects import Seed, Target

Mask = NDArray[np.bool_]

#: Gives one slice's features for the tracker.
FeaturesOf = Callable[[int], TrackerFeatures]


def follow(
    targets: Sequence[Target],
    tracker: Tracker,
    features_of: FeaturesOf,
    gate: Gate,
    watch: Watch,
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
        gate: outside of which nothing is followed.
        asked: the range of slices that was asked for, if a region leaves fewer; None for the whole stack.
        watch: is shown each slice as it is known.

    Returns:
        One track per target, in their order.

    Raises:
        Cancelled: between two slices.
    """
    if not targets:
        return []
    asked = range(gate.stack.count) if asked is None else asked
    tracks = _Run(targets, tracker, features_of, gate, watch, rules, memory_dtype, asked).tracks()
    corrected = {n: _corrected(target, tracks[n]) for n, target in enumerate(targets) if target.corrections}
    changed = {n: target for n, target in corrected.items() if len(target.seeds) > len(targets[n].seeds)}
    watch.settle(_steps([targets[n] for n in corrected]), _steps(list(changed.values())))
    for n in corrected.keys() - changed.keys():
        watch.tell(
            message(
                "The negative marks for '{concept}' changed nothing: the object is not there.",
                concept=targets[n].concept,
            )
        )
    if changed:
        again = _Run(list(changed.values()), tracker, features_of, gate, watch, rules, memory_dtype, asked).tracks()
        for n, track in zip(changed, again, strict=True):
            tracks[n] = track
    return tracks


def steps_to_follow(targets: Sequence[Target]) -> int:
    """How many slices ``follow`` goes through at most, both ways together, and again for corrections."""
    return _steps(targets) + _steps([target for target in targets if target.corrections])


def _steps(targets: Sequence[Target]) -> int:
    return sum(len(way) for way in _ways(targets)) if targets else 0


def _ways(targets: Sequence[Target]) -> tuple[range, range]:
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
        targets: Sequence[Target],
        tracker: Tracker,
        features_of: FeaturesOf,
        gate: Gate,
        watch: Watch,
        rules: StopRules,
        memory_dtype: torch.dtype,
        asked: range,
    ) -> None:
        self._targets = targets
        self._features_of = features_of
        self._gate = gate
        self._watch = watch
        self._rules = rules
        self._asked = asked
        self._session = TrackingSession(tracker, gate.stack.count, memory_dtype=memory_dtype)
        self._shown: list[dict[int, tuple[Mask, Kept]]] = [{} for _ in targets]

    def tracks(self) -> list[Track]:
        """Follow everything."""
        rising, falling = _ways(self._targets)
        stage = self._watch.begin(Stage.PROPAGATING, len(rising) + len(falling))
        self._show_seeds(stage)
        forward = self._sweep(rising, False, stage)
        backward = self._sweep(falling, True, stage)
        stage.finish()
        return [
            _track(target, shown, there, back)
            for target, shown, there, back in zip(self._targets, self._shown, forward, backward, strict=True)
        ]

    def _show_seeds(self, stage: StageWatch) -> None:
        seeds = [(seed, number) for number, target in enumerate(self._targets) for seed in target.seeds]
        for index in sorted({seed.slice_index for seed, _ in seeds}):
            stage.check()
            features = self._features_of(index)
            for seed, number in seeds:
                if seed.slice_index == index:
                    answer = self._session.prompt(number, index, features, seed.prompt)
                    kept = _as_shown(seed, answer)
                    self._shown[number][index] = (mask_of(answer), kept)
                    self._show(number, index, kept)

    def _sweep(self, order: range, reverse: bool, stage: StageWatch) -> list[Walk]:
        """Follow all targets over the slices of ``order``."""
        tip = int(self._rules.tip_mm / self._gate.stack.spacing[0])
        walks = [Walk(reverse, tip) for _ in self._targets]
        seeds = [{seed.slice_index for seed in target.seeds} for target in self._targets]
        ahead = set[int]().union(*seeds)
        for index in order:
            stage.check()
            for walk, target in zip(walks, self._targets, strict=True):
                if walk.going and index not in target.slices:
                    walk.stop(index, Doubt(StopReason.LEFT_REGION, f"slices {_span(target.slices)} were asked for"))
            active = [n for n, walk in enumerate(walks) if walk.going and index not in self._shown[n]]
            if active:
                features = self._features_of(index)
                for n, answer in self._session.step(index, features, reverse=reverse, objects=active).items():
                    assert isinstance(n, int)
                    verdict = judge(answer, index, walks[n], self._targets[n], self._gate, self._rules)
                    self._show(n, index, verdict.kept)
                    walks[n].go_on(index, verdict, self._rules)
                    if verdict.detected is not None and self._is_due(walks[n], index):
                        self._renew(walks[n], n, index, features, verdict.detected)
            for walk, shown, own in zip(walks, self._shown, seeds, strict=True):
                # Where the other way showed an object anew is no start: how far this way begins is for others' seeds.
                if index in own or (index in shown and walk.going):
                    walk.begin(index, shown[index][0])
            ahead.discard(index)
            stage.advance()
            if not ahead and not any(walk.going for walk in walks):
                break
        for walk in walks:
            if walk.going:
                reason = StopReason.LEFT_REGION if order.stop in self._asked else StopReason.END_OF_RANGE
                walk.stop(order.stop, Doubt(reason, f"followed to slice {order.stop - order.step}"))
        return walks

    def _is_due(self, walk: Walk, index: int) -> bool:
        """Whether it is time to show an object to the tracker anew."""
        rules = self._rules
        return walk.renewals < rules.most_renewals and abs(index - walk.origin) >= rules.renewal_interval

    def _renew(self, walk: Walk, number: int, index: int, features: TrackerFeatures, detected: Mask) -> None:
        """Show an object anew, by a detection that agrees."""
        seed = Seed(index, detected)
        answer = self._session.prompt(number, index, features, seed.prompt)
        self._shown[number][index] = (mask_of(answer), _as_shown(seed, answer))
        walk.renewals += 1

    def _show(self, number: int, index: int, kept: Kept) -> None:
        shape = self._gate.stack.slice_shape

        def mask() -> Mask:
            full = mask_at(kept.soft, shape)
            return full if kept.sure else self._gate.cut(index, full)

        self._watch.show(self._targets[number].concept, index, kept.score, mask)


def _as_shown(seed: Seed, answer: TrackedMask) -> Kept:
    """A seed as part of the track: masks as they were given, points as they were answered."""
    if seed.mask is not None:
        return Kept(SoftMask.of(seed.mask), float(seed.mask.any()), seed.slice_index, sure=True)
    return Kept(SoftMask.of(probability_of(answer)), float(answer.object_score.sigmoid()), seed.slice_index, sure=True)


def _track(target: Target, shown: Mapping[int, tuple[Mask, Kept]], forward: Walk, backward: Walk) -> Track:
    kept = {index: one for index, (_, one) in shown.items()}
    for index in forward.kept.keys() | backward.kept.keys():
        found = [walk.kept[index] for walk in (forward, backward) if index in walk.kept]
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
    )


def _between(index: int, one: Kept, other: Kept) -> Kept:
    """A slice between two seeds, carried from both."""
    for kept in (one, other):
        if kept.sure:
            return kept
    nearness = abs(index - other.origin) / max(abs(index - one.origin) + abs(index - other.origin), 1)
    soft = nearness * one.soft.full() + (1 - nearness) * other.soft.full()
    score = nearness * one.score + (1 - nearness) * other.score
    return Kept(SoftMask.of(soft), score, one.origin)


def _corrected(target: Target, track: Track) -> Target:
    """The target with a seed on every slice where a negative click hit what was tracked."""
    seeds = list(target.seeds)
    for index in sorted({point.slice_index for point in target.corrections}):
        soft = track.masks.get(index)
        if soft is None:
            continue
        here = [point for point in target.corrections if point.slice_index == index]
        probability = soft.full()
        rows, columns = probability.shape
        hits = [probability[min(int(p.y * rows), rows - 1), min(int(p.x * columns), columns - 1)] > 0.5 for p in here]
        if not any(hits):
            continue
        logits = torch.from_numpy(probability).clamp(1e-4, 1 - 1e-4).logit()
        prompt = PointPrompt(tuple((p.x, p.y) for p in here), (0,) * len(here), refines=logits)
        seeds.append(Seed(index, points=prompt))
    return replace(target, seeds=tuple(sorted(seeds, key=lambda seed: seed.slice_index)))


def _span(slices: range) -> str:
    return f"{slices.start} to {slices.stop - 1}"
