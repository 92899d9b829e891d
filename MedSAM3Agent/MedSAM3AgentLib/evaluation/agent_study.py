"""The study of the agent: spoiled bases times language backends on phantoms, what is won back, harmed and asked.

``medsam3 evaluate --study agent``. Numbers speak of synthetic pictures and the model that was loaded only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from MedSAM3AgentLib.agent import Agent
from MedSAM3AgentLib.backends.oracle import OracleBackend
from MedSAM3AgentLib.backends.protocol import Backend
from MedSAM3AgentLib.backends.rules import RulesBackend
from MedSAM3AgentLib.planning.sentence import plan_by_rules
from MedSAM3AgentLib.planning.wordings import wordings_of
from MedSAM3AgentLib.session import AgentRequest
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.evaluation.case_row import CaseRow
from MedSAM3SegmentLib.evaluation.metrics import dice
from MedSAM3SegmentLib.evaluation.prediction import Prediction, Prompt
from MedSAM3SegmentLib.evaluation.studies.phantom_cases import spoil_volume
from MedSAM3SegmentLib.evaluation.studies.study import Study, StudyQuestion
from MedSAM3SegmentLib.evaluation.tables import Table
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.synthetic.phantom import CONCEPTS, ORGANS
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary
from MedSAM3SegmentLib.volume import Volume

from .bases import KeptAnswers, SpoiledBase
from .policies import medsam_agent_policy, meta_policy

#: A round that lowers Dice by more than this did harm.
HARM = 0.02

#: Of a lost mean Dice smaller than this, no share is told.
LEAST_LOSS = 0.02

CLEAN = "clean"

#: How bases are spoiled, by the name of the condition.
BASES: Mapping[str, Mapping[str, float]] = {
    CLEAN: {},
    "swap .10": {"swap": 0.1},
    "swap .25": {"swap": 0.25},
    "swap .50": {"swap": 0.5},
    "deaf .25": {"deaf": 0.25},
    "threshold +.3": {"shift": 0.3},
    "threshold -.3": {"shift": -0.3},
    "inventing .50": {"inventing": 0.5},
    "spoiled slices .33": {"slices": 1 / 3},
}

MakeBackend = Callable[[Mapping[str, BoolMask], SliceStack, int], Backend]

#: Backends by the name of the method.
BACKENDS: Mapping[str, MakeBackend] = {
    "rules": lambda *_: RulesBackend(),
    "oracle": lambda truths, stack, seed: OracleBackend(truths, stack, seed=seed),
    "noisy .90": lambda truths, stack, seed: OracleBackend(truths, stack, 0.9, 0.3, seed, 3),
    "noisy .78": lambda truths, stack, seed: OracleBackend(truths, stack, 0.78, 0.3, seed, 3),
}  # fmt: skip

#: The answer to the plain phrase, and other agents' rules.
PLAIN, META, MEDSAM_AGENT = "plain phrase", "Meta's rules", "MedSAM-Agent's rules"

#: Boxes and clicks of MedSAM-Agent's rules.
_TURNS = 2

#: What is measured of an agent besides.
QUESTIONS, ROUNDS, HARMED, FELL = "questions", "rounds after the first", "rounds that harmed", "own score ever fell"


def _predict(asked: StudyQuestion) -> Iterator[Prediction]:
    """All bases and agents of a phantom; its slices, and its spoiled ones, are segmented once."""
    kept = KeptAnswers(asked.segmenter)
    for base in asked.conditions:
        volume, changes = asked.volume, BASES[base]
        segmenter: SegmenterProtocol = kept
        if share := changes.get("slices"):
            volume = spoil_volume(asked.volume, asked.masks, asked.seed, share)
        elif changes:
            present = tuple(name for name, mask in asked.masks.items() if mask.any())
            segmenter = SpoiledBase(kept, asked.seed, **changes, present=present)
        for concept in asked.references:
            yield from _of_concept(asked, segmenter, volume, base, concept)
    if asked.wants(MEDSAM_AGENT, CLEAN):
        truths = {concept: mask for concept, mask in asked.masks.items() if mask.any()}
        found = medsam_agent_policy(asked.segmenter, asked.volume, truths, asked.stack, _TURNS)
        for concept, mask in found.items():
            yield Prediction(concept, Prompt(MEDSAM_AGENT, CLEAN), mask)


def _of_concept(
    asked: StudyQuestion, segmenter: SegmenterProtocol, volume: Volume, base: str, concept: str
) -> Iterator[Prediction]:
    truth, phrase = asked.masks[concept], asked.phrases[concept]
    target = plan_by_rules(phrase, Vocabulary.load()).targets[0]
    for name in asked.methods:
        if name == PLAIN:
            plain = segmenter.segment(volume, SegmentRequest((phrase,), plane=Plane.AXIAL)).concepts[0]
            yield Prediction(concept, Prompt(PLAIN, base), plain.mask)
        elif name == META:
            phrases = wordings_of(target.structure, None, Vocabulary.load())
            mask, calls = meta_policy(segmenter, volume, phrases, truth, 3, Plane.AXIAL.value)
            yield Prediction(concept, Prompt(META, base), mask, measured={QUESTIONS: calls})
        elif name in BACKENDS:
            backend = BACKENDS[name]({target.name: truth}, asked.stack, asked.seed)
            agent = Agent(segmenter, backend, draws_pages=False)
            result = agent.ask(volume, AgentRequest(phrase, plane=Plane.AXIAL))
            course = [next(iter(done.kept.values())) for done in result.rounds]
            agreements = [dice(one.mask, truth) for one in course]
            measured = {
                QUESTIONS: result.calls,
                ROUNDS: len(result.rounds) - 1,
                HARMED: sum(later < earlier - HARM for earlier, later in pairwise(agreements)),
                FELL: float(any(later.score < earlier.score for earlier, later in pairwise(course))),
            }
            yield Prediction(concept, Prompt(name, base), result.kept[0].mask, measured=measured)


def won_back(rows: Sequence[CaseRow]) -> list[Table]:
    """Of the mean Dice that spoiling takes from the plain phrase, the share that each agent wins back.

    Over structures that are there, all concepts together; empty where the clean base was not measured too.
    """
    means: dict[tuple[str, str], float] = {}
    for key in dict.fromkeys((row.prompt, row.phrase) for row in rows):
        some = [row.dice for row in rows if (row.prompt, row.phrase) == key and row.dice is not None]
        means[key] = float(np.mean(some)) if some else float("nan")
    ideal = means.get((PLAIN, CLEAN))
    cells = []
    for (agent, base), mean in means.items():
        before = means.get((PLAIN, base))
        if agent == PLAIN or base == CLEAN or ideal is None or before is None:
            continue
        lost = ideal - before
        share = f"{100 * (mean - before) / lost:.0f} %" if lost > LEAST_LOSS else ""
        cells.append([base, agent, f"{before:.3f}", f"{mean:.3f}", share])
    title = "Won back of what spoiling the base lost"
    return [Table(title, ["base", "agent", "Dice of the plain phrase", "Dice of the agent", "won back"], cells)]


AGENT = Study(
    "agent",
    _predict,
    (PLAIN, *BACKENDS, META),
    tuple(BASES),
    (CLEAN,),
    further_methods=(MEDSAM_AGENT,),
    seeds=(200100, 200120),
    spacing=8.0,
    concepts=CONCEPTS,
    with_absent=True,
    groups={"all structures": CONCEPTS, "organs": (*ORGANS, "kidney")},
    compared=tuple((name, PLAIN) for name in (*BACKENDS, META)),
    further_tables=won_back,
)
