"""The table: spoiled bases times language backends on phantoms, with what is won back, harmed and asked.

Numbers speak of synthetic pictures and the model that was loaded only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from MedSAM3AgentLib.agent import Agent
from MedSAM3AgentLib.backends.oracle import OracleBackend
from MedSAM3AgentLib.backends.protocol import Backend
from MedSAM3AgentLib.backends.rules import RulesBackend
from MedSAM3AgentLib.planning.sentence import plan_by_rules
from MedSAM3AgentLib.planning.wordings import wordings_of
from MedSAM3AgentLib.session import AgentRequest
from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.evaluation.metrics import dice
from MedSAM3SegmentLib.evaluation.mode_comparison import spoiled
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.synthetic.phantom import CONCEPTS, Phantom
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .bases import KeptAnswers, SpoiledBase
from .policies import medsam_agent_policy, meta_policy

#: A round that lowers Dice by more than this did harm.
HARM = 0.02

#: Of a lost mean Dice smaller than this, no share is told.
LEAST_LOSS = 0.02

#: How bases are spoiled, by the name of the row.
BASES: Mapping[str, Mapping[str, float]] = {
    "clean": {},
    "swap .10": {"swap": 0.1},
    "swap .25": {"swap": 0.25},
    "swap .50": {"swap": 0.5},
    "deaf .25": {"deaf": 0.25},
    "threshold +.3": {"shift": 0.3},
    "threshold -.3": {"shift": -0.3},
    "inventing .50": {"inventing": 0.5},
    "spoiled slices .33": {"slices": 1 / 3},
}

MakeBackend = Callable[[Mapping[str, np.ndarray], SliceStack, int], Backend]

#: Backends by the name of the column.
BACKENDS: Mapping[str, MakeBackend] = {
    "rules": lambda *_: RulesBackend(),
    "oracle": lambda truths, stack, seed: OracleBackend(truths, stack, seed=seed),
    "noisy .90": lambda truths, stack, seed: OracleBackend(truths, stack, 0.9, 0.3, seed, 3),
    "noisy .78": lambda truths, stack, seed: OracleBackend(truths, stack, 0.78, 0.3, seed, 3),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One structure in one phantom by one backend on one base.

    Attributes:
        base, backend: names of the row.
        is_present: whether the phantom has it.
        before, after: Dice of the plain phrase's answer and of the agent's, 1 where it is absent and not found.
        found_before, found_after: whether it was reported found.
        calls: questions asked.
        seconds: of the agent without the segmenter.
        harmed: rounds that lowered the kept Dice by more than ``HARM``.
        rounds: that were made.
        score_fell: whether a kept own score was ever below the round's before.
    """

    seed: int
    base: str
    backend: str
    concept: str
    is_present: bool
    before: float
    after: float
    found_before: bool
    found_after: bool
    calls: int
    seconds: float
    harmed: int
    rounds: int
    score_fell: bool


def score_phantom(
    kept: KeptAnswers, phantom: Phantom, seed: int, bases: Sequence[str], backends: Sequence[str]
) -> Iterator[Case]:
    """All cases of a phantom; its slices, and its spoiled ones, are segmented once."""
    stack = SliceStack.along(phantom.volume.grid, Plane.AXIAL)
    vocabulary = Vocabulary.load()
    whole = phantom
    for base in bases:
        segmenter: SegmenterProtocol = kept
        phantom = whole
        if share := BASES[base].get("slices"):
            phantom = replace(whole, volume=spoiled(whole, stack, seed, share))
        elif BASES[base]:
            changes = BASES[base]
            segmenter = SpoiledBase(
                kept,
                seed,
                swap=changes.get("swap", 0.0),
                deaf=changes.get("deaf", 0.0),
                shift=changes.get("shift", 0.0),
                inventing=changes.get("inventing", 0.0),
                present=phantom.present,
            )
        for concept in CONCEPTS:
            truth = phantom.masks[concept]
            plain = segmenter.segment(phantom.volume, SegmentRequest((concept,), plane=Plane.AXIAL)).concepts[0]
            for name in backends:
                if name == "Meta's rules":
                    (target,) = plan_by_rules(concept, vocabulary).targets
                    phrases = wordings_of(target.structure, None, vocabulary)
                    mask, calls = meta_policy(segmenter, phantom.volume, phrases, truth, 3, Plane.AXIAL.value)
                    yield _case(seed, base, name, concept, truth, plain.mask, mask, calls)
                    continue
                yield _agent_case(segmenter, phantom, seed, base, name, concept, plain.mask, stack)


def score_medsam_agent(
    segmenter: SegmenterProtocol, kept: KeptAnswers, phantom: Phantom, seed: int, turns: int
) -> Iterator[Case]:
    """MedSAM-Agent's rules on the clean base of one phantom."""
    stack = SliceStack.along(phantom.volume.grid, Plane.AXIAL)
    truths = {concept: phantom.masks[concept] for concept in CONCEPTS if phantom.masks[concept].any()}
    found = medsam_agent_policy(segmenter, phantom.volume, truths, stack, turns)
    for concept, truth in truths.items():
        plain = kept.segment(phantom.volume, SegmentRequest((concept,), plane=Plane.AXIAL)).concepts[0]
        yield _case(seed, "clean", "MedSAM-Agent's rules", concept, truth, plain.mask, found[concept], turns)


def _agent_case(
    segmenter: SegmenterProtocol,
    phantom: Phantom,
    seed: int,
    base: str,
    name: str,
    concept: str,
    plain: np.ndarray,
    stack: SliceStack,
) -> Case:
    truth = phantom.masks[concept]
    (target,) = plan_by_rules(concept, Vocabulary.load()).targets
    backend = BACKENDS[name]({target.name: truth}, stack, seed)
    started = time.monotonic()
    result = Agent(segmenter, backend, draws_pages=False).ask(phantom.volume, AgentRequest(concept, plane=Plane.AXIAL))
    own = time.monotonic() - started - sum(done.seconds["segmenting"] for done in result.rounds)
    course = [next(iter(done.kept.values())) for done in result.rounds]
    agreements = [dice(one.mask, truth) for one in course]
    drops = sum(later < earlier - HARM for earlier, later in pairwise(agreements))
    fell = any(later.score < earlier.score for earlier, later in pairwise(course))
    case = _case(seed, base, name, concept, truth, plain, result.kept[0].mask, result.calls)
    return replace(case, seconds=own, harmed=drops, rounds=len(result.rounds), score_fell=fell)


def _case(
    seed: int, base: str, name: str, concept: str, truth: np.ndarray, before: np.ndarray, after: np.ndarray, calls: int
) -> Case:
    return Case(
        seed, base, name, concept, bool(truth.any()), dice(before, truth), dice(after, truth),
        bool(before.any()), bool(after.any()), calls, 0.0, 0, 1, False,
    )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        before, after: mean Dice over structures that are there.
        change: of the mean, with the ends of its 95 % interval by bootstrap over phantoms.
        won_back: share of what the spoiling lost, None on the clean base and where it lost next to nothing.
        absent_before, absent_after: structures reported found that are not there, of ``absent``.
        harmed: share of rounds after the first that lowered the kept Dice.
        calls: median and most.
    """

    base: str
    backend: str
    before: float
    after: float
    change: tuple[float, float, float]
    won_back: float | None
    absent_before: int
    absent_after: int
    absent: int
    harmed: float
    calls: tuple[float, int]


def rows_of(cases: Sequence[Case]) -> list[Row]:
    """The lines of the table, in the order of the cases."""
    clean = {(one.seed, one.concept): one.before for one in cases if one.base == "clean"}
    rows = []
    for base, backend in dict.fromkeys((one.base, one.backend) for one in cases):
        mine = [one for one in cases if (one.base, one.backend) == (base, backend)]
        present, absent = [one for one in mine if one.is_present], [one for one in mine if not one.is_present]
        before, after = _mean([one.before for one in present]), _mean([one.after for one in present])
        ideal = _mean([clean.get((one.seed, one.concept), np.nan) for one in present])
        lost = ideal - before
        later = sum(one.rounds - 1 for one in mine)
        rows.append(
            Row(
                base,
                backend,
                before,
                after,
                _interval(present),
                (after - before) / lost if base != "clean" and lost > LEAST_LOSS else None,
                sum(one.found_before for one in absent),
                sum(one.found_after for one in absent),
                len(absent),
                sum(one.harmed for one in mine) / later if later else 0.0,
                (float(np.median([one.calls for one in mine])), max(one.calls for one in mine)),
            )
        )
    return rows


def _interval(cases: Sequence[Case]) -> tuple[float, float, float]:
    seeds = sorted({one.seed for one in cases})
    by_seed = [[one.after - one.before for one in cases if one.seed == seed] for seed in seeds]
    rng = np.random.default_rng(0)
    means = []
    for _ in range(1000):
        drawn = rng.integers(0, len(seeds), len(seeds))
        means.append(_mean([value for n in drawn for value in by_seed[n]]))
    low, high = np.percentile(means, [2.5, 97.5])
    return _mean([value for values in by_seed for value in values]), float(low), float(high)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def table_markdown(rows: Sequence[Row]) -> str:
    """The table as Markdown."""
    lines = [
        "| base | agent | Dice before | after | change (95 %) | won back | absent found before, after | rounds that "
        "harmed | calls: median, most |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        won = "" if row.won_back is None else f"{100 * row.won_back:.0f} %"
        change = "{:+.3f} ({:+.3f} to {:+.3f})".format(*row.change)
        absent = f"{row.absent_before}, {row.absent_after} of {row.absent}"
        lines.append(
            f"| {row.base} | {row.backend} | {row.before:.3f} | {row.after:.3f} | {change} | {won} | {absent} | "
            f"{100 * row.harmed:.1f} % | {row.calls[0]:g}, {row.calls[1]} |"
        )
    return "\n".join(lines) + "\n"
