"""From the segmenter's answers to proposals: wordings compared, objects cut to side and container, checks made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from MedSAM3AgentLib.actions import Action, CarryEdits, EditMask
from MedSAM3AgentLib.evidence import Evidence
from MedSAM3AgentLib.objects.agreement import NEARLY_EQUAL_IOU, Opinion, is_one_against, opinions_of
from MedSAM3AgentLib.objects.candidates import (
    mean_slice_score,
    objects_of,
    on_side,
    outside,
    pick_objects,
    united,
    within,
    without_holes,
)
from MedSAM3AgentLib.objects.carrying import carried_over
from MedSAM3AgentLib.objects.checks import CheckContext, check_mask
from MedSAM3AgentLib.planning.target_work import TargetWork
from MedSAM3AgentLib.planning.wordings import is_finding, is_paired, wordings_of
from MedSAM3AgentLib.session import Check, OwnScore, Proposal, Verdict, with_verdict
from MedSAM3AgentLib.targets import Pick, Structure, Target
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import MissingTrackerError
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.tracking.correction import slice_scores
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

#: Checks that by themselves make a proposal doubtful whatever the wordings say.
HARD_CHECKS = frozenset({"side", "container", "confusers", "extent"})

#: A finding that one wording gave and that fails the contrast check needs at least this mean score to be believed.
_SURE_SCORE = 0.7


@dataclass(frozen=True, eq=False)
class Proposer:
    """Makes proposals from evidence.

    Attributes:
        evidence: of the session.
        vocabulary: knows the structures.
        midline: R of the body's middle in millimeters, or None.
    """

    evidence: Evidence
    vocabulary: Vocabulary
    midline: float | None
    _cuts: dict[tuple[Target, str], BoolMask] = field(default_factory=dict)
    _structures: dict[Structure, BoolMask] = field(default_factory=dict)
    _containers: dict[Structure, BoolMask] = field(default_factory=dict)

    def opinions(self, work: TargetWork) -> list[Opinion]:
        """What the wordings of a target gave, most supported first."""
        asked = [phrase for phrase in work.wordings if self.evidence.has(phrase)]
        for phrase in asked:
            if (work.target, phrase) not in self._cuts:
                self._cuts[work.target, phrase] = self.cut(work, self.evidence.of(phrase))
        return opinions_of({phrase: self._cuts[work.target, phrase] for phrase in asked})

    def cut(self, work: TargetWork, concept: ConceptResult) -> BoolMask:
        """An answer's objects on the target's side, in its container, without what is excluded, and of these the meant.

        A container that only the vocabulary implies drops objects beside it but cuts none.
        """
        target, grid = work.target, self.evidence.volume.grid
        objects = objects_of(concept)
        if target.structure.side and self.midline is not None:
            objects = on_side(objects, target.structure.side, grid, self.midline)
        container = self.container_mask(work)
        if container is not None:
            inside = within(objects, container)
            objects = inside if work.is_container_asked else [one for one in objects if within([one], container)]
        for other in target.without:
            objects = outside(objects, self._found(other))
        if work.seed is not None and work.seed.rejected is not None:
            objects = outside(objects, work.seed.rejected)
        if work.bounds is not None:
            objects = [one & work.bounds for one in objects]
        return united(pick_objects(objects, target.pick, target.count, grid), grid.shape)

    def container_mask(self, work: TargetWork) -> BoolMask | None:
        """What the target lies in, filled; None where there is none, or an implied one was not found surely."""
        if work.container is None or not (work.is_container_asked or self._is_agreed(work.container)):
            return None
        mask = self._found(work.container)
        if not mask.any():
            return mask if work.is_container_asked else None
        if work.container not in self._containers:
            self._containers[work.container] = without_holes(mask, self.evidence.stack)
        return self._containers[work.container]

    def first(self, work: TargetWork, action: Action) -> Proposal:
        """The proposal of the first round: the opinion that most wordings and checks speak for, or what a person did.

        Raises:
            InputError, ModelError, EngineError, Cancelled: as ``Evidence.ask``.
        """
        if isinstance(action, EditMask):
            return self._as_typed(work, action)
        if isinstance(action, CarryEdits):
            return self._from_edits(work, action)
        opinions = self.opinions(work)
        if not opinions:
            return self._nothing(work, action)
        checked = [(opinion, self.checks(work, opinion, opinions)) for opinion in opinions]
        typed = work.wordings[0]
        if is_one_against(typed, opinions):
            said = message(
                "'{typed}' found nothing, and '{phrase}' alone gave something, which is not believed.",
                typed=typed,
                phrase=opinions[0].phrases[0],
            )
            return self.absent(work, action, Verdict.UNSURE, said)

        def worth(pair: tuple[Opinion, tuple[Check, ...]]) -> tuple[float, bool]:
            opinion, checks = pair
            failed = [check.name for check in checks if not check.passed]
            # What one similar structure gave is one phrase's word against those of the wordings.
            hard = sum(name in HARD_CHECKS and name != "confusers" for name in failed)
            return opinion.support - 2.0 * hard - (len(failed) - hard), typed in opinion.phrases

        opinion, checks = max(checked, key=worth)
        proposal = self.proposal(work, action, opinion, checks)
        if proposal.verdict is Verdict.REJECTED:
            work.dropped.append(proposal)
            said = message("What '{phrase}' gave is not believed. {words}", phrase=proposal.phrase, words=proposal.why)
            return self.absent(work, action, Verdict.UNSURE, said)
        return proposal

    def checks(self, work: TargetWork, opinion: Opinion, opinions: Sequence[Opinion] = ()) -> tuple[Check, ...]:
        """The checks of an opinion.

        Args:
            opinions: all of the same target, or none where wordings do not matter.
        """
        concept = self.vocabulary.find(work.target.structure.phrase)
        others = {
            phrase: self.evidence.of(phrase).mask
            for phrase in work.confusers
            if self.evidence.has(phrase) and phrase not in opinion.phrases
        }
        context = CheckContext(
            volume=self.evidence.volume,
            stack=self.evidence.stack,
            target=work.target,
            organ=concept.phrase if concept else "",
            is_finding=is_finding(work.target.structure.phrase),
            midline=self.midline,
            container=self.container_mask(work),
            confusers=others,
            wordings=sum(one.support for one in opinions),
        )
        return check_mask(context, opinion)

    def proposal(self, work: TargetWork, action: Action, opinion: Opinion, checks: tuple[Check, ...]) -> Proposal:
        """A proposal with the verdict that checks alone give.

        Accepted where all pass and several wordings agree; rejected where a finding shows no contrast and little score,
        or does not lie in its organ; else unsure.
        """
        phrase = opinion.phrases[0]
        mean_score = self.score_of(phrase, opinion.mask)
        failed = [check for check in checks if not check.passed]
        verdict, why = Verdict.UNSURE, message("Nothing speaks against it, but one wording alone gave it.")
        if failed:
            why = message("Doubtful: {words}", words=failed[0].words)
            if is_finding(work.target.structure.phrase) and _is_unbelievable(failed, mean_score, opinion.support):
                verdict = Verdict.REJECTED
        elif opinion.support > 1:
            verdict = Verdict.ACCEPTED
            why = message("{count} wordings agree and all checks passed.", count=opinion.support)
        score = OwnScore(verdict, sum(1 if check.passed else -1 for check in checks), 0.5, mean_score)
        known = self._scores(phrase)
        return Proposal(work.target, action, opinion.mask, phrase, checks, verdict, (0, 0), why, score, known)

    def absent(self, work: TargetWork, action: Action, verdict: Verdict, why: Message) -> Proposal:
        """A proposal that the target is not there."""
        mask = self.as_left(work, np.zeros(self.evidence.volume.grid.shape, bool))
        best = max((max(self._scores(phrase).values(), default=0.0) for phrase in work.wordings), default=0.0)
        score = OwnScore(verdict, 0, 0.5, 1 - best)
        return Proposal(work.target, action, mask, "", (), verdict, (0, 0), why, score)

    def as_left(self, work: TargetWork, mask: BoolMask) -> BoolMask:
        """A mask with the slices that a person edited as they were left."""
        return mask if work.seed is None else work.seed.with_edits(mask, self.evidence.stack)

    def candidates(self, work: TargetWork, most: int) -> dict[int, BoolMask]:
        """Different masks by number: what wordings gave, then objects of the first, then what confusers gave."""
        opinions = self.opinions(work)
        masks = [opinion.mask for opinion in opinions]
        if opinions:
            typed = self.evidence.of(opinions[0].phrases[0])
            objects = objects_of(typed)
            masks += objects[:4] if len(objects) > 1 else []
        raw = [self.evidence.of(phrase).mask for phrase in work.wordings if self.evidence.has(phrase)]
        others = [self.evidence.of(phrase).mask for phrase in work.confusers if self.evidence.has(phrase)]
        unique = opinions_of({str(n): mask for n, mask in enumerate([*masks, *raw, *others])}, NEARLY_EQUAL_IOU)
        ordered = sorted(unique, key=lambda opinion: int(opinion.phrases[0]))
        return {n: opinion.mask for n, opinion in enumerate(ordered[:most], start=1)}

    def score_of(self, phrase: str, mask: BoolMask) -> float:
        """Mean slice score of a mask by the phrase it came from; 0 where the phrase was not asked."""
        if not self.evidence.has(phrase):
            return 0.0
        return mean_slice_score(self.evidence.of(phrase), mask, self.evidence.stack_of(phrase))

    def _scores(self, phrase: str) -> Mapping[int, float]:
        return self.evidence.of(phrase).score_by_slice if self.evidence.has(phrase) else {}

    def _found(self, structure: Structure) -> BoolMask:
        """The mask of a container or an exclusion, by what most of its wordings gave."""
        if structure not in self._structures:
            opinions = self._opinions_of(structure)
            empty = np.zeros(self.evidence.volume.grid.shape, bool)
            self._structures[structure] = opinions[0].mask if opinions else empty
        return self._structures[structure]

    def _is_agreed(self, structure: Structure) -> bool:
        """Whether the wordings of a structure do not contradict each other to the last one."""
        opinions = self._opinions_of(structure)
        return len(opinions) == 1 or any(opinion.support > 1 for opinion in opinions)

    def _opinions_of(self, structure: Structure) -> list[Opinion]:
        target = Target(structure, pick=Pick.ALL)
        return self.opinions(TargetWork(target, wordings_of(structure, None, self.vocabulary), (), None, False))

    def _as_typed(self, work: TargetWork, action: EditMask) -> Proposal:
        """What a typed command left; who typed it has decided."""
        assert work.seed is not None
        earlier = work.seed.earlier
        phrase, mean_score = (earlier.phrase, earlier.score.mean_score) if earlier else ("", 0.0)
        why = message("Changed by a typed command.")
        score = OwnScore(Verdict.ACCEPTED, 0, 0.5, mean_score)
        return Proposal(work.target, action, work.seed.mask, phrase, (), Verdict.ACCEPTED, (0, 0), why, score)

    def _from_edits(self, work: TargetWork, action: CarryEdits) -> Proposal:
        """Edited slices carried through the stack; without a tracker the phrase's own answer around them."""
        seed, phrase = work.seed, work.wordings[0]
        assert seed is not None
        concept = None
        try:
            concept = self.evidence.with_drawn(phrase, seed.drawn(self.evidence.stack))
        except MissingTrackerError:
            self.evidence.say(message("The model cannot follow what was edited; only the edited slices changed."))
            mask = seed.mask
        else:
            mask = self._carried(work, self.cut(work, concept))
        if not mask.any():
            return self.absent(work, action, Verdict.ACCEPTED, message("Nothing was left on the edited slices."))
        opinion = Opinion((phrase,), mask)
        proposal = self.proposal(work, action, opinion, self.checks(work, opinion))
        if concept is not None:
            proposal = replace(proposal, slice_scores=slice_scores(concept))
        failed = [check for check in proposal.checks if not check.passed]
        if failed:
            return with_verdict(proposal, Verdict.UNSURE, (0, 0), message("Doubtful: {words}", words=failed[0].words))
        why = message("Goes on from {count} edited slices; all checks passed.", count=len(seed.edited))
        return with_verdict(proposal, Verdict.ACCEPTED, (0, 0), why)

    def _carried(self, work: TargetWork, carried: BoolMask) -> BoolMask:
        """What a target holds once its edited slices were carried; see ``carrying.carried_over``."""
        seed, stack = work.seed, self.evidence.stack
        assert seed is not None
        structure = work.target.structure
        is_single = not is_finding(structure.phrase) and (
            structure.side is not None or not is_paired(structure.phrase, self.vocabulary)
        )
        nothing = np.zeros(stack.grid.shape, bool)
        # By another name it was another thing.
        is_same = seed.earlier is not None and seed.earlier.target.structure == structure
        held = seed.earlier.mask if seed.earlier is not None and is_same else nothing
        mask = carried_over(held, seed.mask, carried, seed.edited, stack, is_single=is_single)
        return self.as_left(work, mask if work.bounds is None else mask & work.bounds)

    def _nothing(self, work: TargetWork, action: Action) -> Proposal:
        asked = [phrase for phrase in work.wordings if self.evidence.has(phrase)]
        dropped = [phrase for phrase in asked if self.evidence.of(phrase).found]
        best = max((max(self._scores(phrase).values(), default=0.0) for phrase in asked), default=0.0)
        if dropped:
            why = message("'{phrase}' gave something, but not where it must lie.", phrase=dropped[0])
            return self.absent(work, action, Verdict.UNSURE, why)
        why = message("None of {count} wordings found it; the best score is {score:.2f}.", count=len(asked), score=best)
        return self.absent(work, action, Verdict.ACCEPTED, why)


def _is_unbelievable(failed: Sequence[Check], mean_score: float, support: int) -> bool:
    names = {check.name for check in failed}
    is_faint = support < 2 and bool(names & {"contrast", "thickness"}) and mean_score < _SURE_SCORE
    return bool(names & HARD_CHECKS) or is_faint
