"""A target while it is worked on: its phrases, what it lies in, what was tried, and what a person left of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from MedSAM3AgentLib.actions import Action, CarryEdits, EditMask, SegmentPhrases
from MedSAM3AgentLib.planning.seeds import TargetSeed
from MedSAM3AgentLib.session import Proposal, Verdict
from MedSAM3AgentLib.targets import Structure, Target
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .wordings import confusers_of, is_finding, organ_of_finding, wordings_of


@dataclass(eq=False)
class TargetWork:
    """A target while it is worked on.

    Attributes:
        target: what is asked for.
        wordings: phrases that mean it, the typed one first.
        confusers: phrases for what is easily taken for it.
        container: what it lies in, asked for or implied by the vocabulary, or None.
        is_container_asked: whether the request names it.
        tried: proposals of all rounds so far.
        dropped: proposals that were not believed from the start, and were replaced by one that it is absent.
        is_settled: whether nothing more is to be done for it.
        seed: what a person left of it in an earlier round, or None.
        bounds: drawn by a person, bool ``[k, j, i]`` that it must lie in, or None.
    """

    target: Target
    wordings: tuple[str, ...]
    confusers: tuple[str, ...]
    container: Structure | None
    is_container_asked: bool
    tried: list[Proposal] = field(default_factory=list)
    dropped: list[Proposal] = field(default_factory=list)
    is_settled: bool = False
    seed: TargetSeed | None = None
    bounds: BoolMask | None = None

    @classmethod
    def of(cls, target: Target, vocabulary: Vocabulary) -> TargetWork:
        container, asked = target.inside, target.inside is not None
        if container is None and (organ := organ_of_finding(target.structure.phrase, vocabulary)):
            container = Structure(organ, target.structure.side)
        return cls(
            target,
            wordings_of(target.structure, target.inside, vocabulary),
            () if is_finding(target.structure.phrase) else confusers_of(target.structure, vocabulary),
            container,
            asked,
        )

    def phrases(self, vocabulary: Vocabulary) -> tuple[str, ...]:
        """All that is asked for it in the first round."""
        others = [wordings_of(one, None, vocabulary)[:1] for one in self.target.without]
        container = wordings_of(self.container, None, vocabulary) if self.container else ()
        if self.seed is not None and self.seed.command:
            return ()
        # What a person drew shows the object; other wordings need not agree on it.
        wordings = self.wordings[:1] if self.seed is not None and self.seed.edited else self.wordings
        listed = (*wordings, *self.confusers, *container, *(phrase for some in others for phrase in some))
        return tuple(dict.fromkeys(listed))

    @property
    def first_action(self) -> Action:
        """What is tried first."""
        if self.seed is not None and self.seed.command:
            return EditMask(self.seed.command)
        if self.seed is not None and self.seed.edited:
            return CarryEdits(self.seed.edited)
        return SegmentPhrases(self.wordings)

    @property
    def rejected(self) -> list[Proposal]:
        """What was found and is not believed."""
        tried = [*self.dropped, *self.tried]
        best = self.best
        return [one for one in tried if one.verdict is Verdict.REJECTED and not one.is_absent and one is not best]

    @property
    def best(self) -> Proposal | None:
        """The proposal with the best own score; the earlier of equals."""
        best = None
        for proposal in self.tried:
            if best is None or proposal.score > best.score:
                best = proposal
        return best
