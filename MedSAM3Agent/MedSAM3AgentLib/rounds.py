"""One round: for each target that is not settled a proposal, judged, and the page that shows it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MedSAM3AgentLib.actions import (
    MOST_CANDIDATES,
    Accept,
    Action,
    CarryEdits,
    ChooseObjects,
    EditMask,
    ExampleBox,
    LookCloser,
    ReportAbsent,
    SegmentPhrases,
    SetThreshold,
)
from MedSAM3AgentLib.backends.protocol import Subject
from MedSAM3AgentLib.backends.questions import action_question, verdict_question
from MedSAM3AgentLib.backends.replies import ReplyFault, action_in
from MedSAM3AgentLib.editing.apply import apply_commands
from MedSAM3AgentLib.evidence import box_of_cells
from MedSAM3AgentLib.judging import judge
from MedSAM3AgentLib.objects.agreement import Opinion
from MedSAM3AgentLib.objects.candidates import measure
from MedSAM3AgentLib.pages.page import Page, PageSource, draw_action_page, draw_close_page, draw_verdict_page
from MedSAM3AgentLib.planning.target_work import TargetWork
from MedSAM3AgentLib.planning.wordings import is_finding
from MedSAM3AgentLib.proposals import Proposer
from MedSAM3AgentLib.questioning import Asker
from MedSAM3AgentLib.session import Proposal, Verdict, with_verdict
from MedSAM3AgentLib.targets import Side
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.preprocessing.windowing import Window, choose_window, is_ct
from MedSAM3SegmentLib.units import format_volume


class RoundWork:
    """What one round does.

    Args:
        number: from 1.
        proposer: makes proposals from evidence.
        asker: asks the language model.

    Attributes:
        proposals: of this round, by target.
    """

    def __init__(self, number: int, proposer: Proposer, asker: Asker) -> None:
        self.number = number
        self.proposals: dict[str, Proposal] = {}
        self._proposer = proposer
        self._asker = asker
        self._page = b""

    def propose(self, work: TargetWork) -> None:
        """Make a proposal for a target, have it judged where checks are unsure, and settle it where that is the end.

        Raises:
            Cancelled: the user stopped.
        """
        is_first = self.number == 1 and not work.tried
        action, page = (work.first_action, None) if is_first else self._next_action(work)
        if action is None:
            work.is_settled = True
            return
        proposal = self._proposer.first(work, action) if is_first else self._perform(work, action, page)
        if proposal is None:
            work.is_settled = isinstance(action, Accept)
            return
        if not proposal.is_absent and self._asker.can_ask and self._is_to_be_judged(work, proposal):
            proposal = self._judged(work, proposal)
            if isinstance(action, CarryEdits) and proposal.verdict is Verdict.REJECTED:
                # What a person did outranks the votes.
                proposal = with_verdict(proposal, Verdict.UNSURE, proposal.votes, proposal.why)
        elif proposal.is_absent and proposal.verdict is Verdict.ACCEPTED and self._is_to_be_judged(work, proposal):
            # Small findings are missed by all wordings: that one is absent takes a second opinion.
            proposal = proposal if self.number > 1 else with_verdict(proposal, Verdict.UNSURE, (0, 0), proposal.why)
        work.tried.append(proposal)
        self.proposals[work.target.name] = proposal
        work.is_settled = proposal.verdict is Verdict.ACCEPTED or self._asker.backend.votes == 0

    def page(self, works: Sequence[TargetWork]) -> bytes:
        """The picture of this round: that which was judged, or the first target's best."""
        if self._page:
            return self._page
        shown = next((work for work in works if work.best is not None and not work.best.is_absent), None)
        if shown is None or shown.best is None:
            return b""
        return draw_verdict_page(self._source(shown), shown.best.mask, shown.target.name).png

    def _is_to_be_judged(self, work: TargetWork, proposal: Proposal) -> bool:
        """Whether votes are worth their price: where checks are unsure, and of findings also where wordings agree.

        A model that is wrong of an organ says so by other wordings; one that is wrong of a tumor is so by all of them.
        """
        if self._asker.backend.votes == 0 or (work.seed is not None and work.seed.command):
            return False
        return proposal.verdict is Verdict.UNSURE or is_finding(work.target.structure.phrase)

    def _judged(self, work: TargetWork, proposal: Proposal) -> Proposal:
        page = Page(b"", ())
        if self._asker.backend.sees_pictures:
            page = draw_verdict_page(self._source(work), proposal.mask, f"target: {work.target.name}")
            self._page = page.png
        subject = Subject(work.target, proposal.mask, tiles=page.tiles)

        def ask_vote(number: int) -> str | None:
            return self._asker.ask(verdict_question(proposal, page.png, subject, number))

        return judge(proposal, self._asker.backend.votes, ask_vote)

    def _next_action(self, work: TargetWork) -> tuple[Action | None, Page | None]:
        """What the language model wants next, and the page that it saw."""
        candidates = self._proposer.candidates(work, MOST_CANDIDATES - 3)
        heading = f"target: {work.target.name}; numbered candidates"
        sees = self._asker.backend.sees_pictures
        page = draw_action_page(self._source(work), candidates, heading, drawn=sees)
        self._page = page.png or self._page
        subject = Subject(
            work.target,
            None if work.best is None else work.best.mask,
            candidates,
            page.tiles,
            frozenset(type(one.action).__name__ for one in work.tried),
            work.wordings,
        )
        words = {number: self._measured(mask) for number, mask in candidates.items()}
        text = self._asker.ask(action_question(work.target.name, words, work.tried, page.png, subject))
        action = action_in(text) if text is not None else ReplyFault.EMPTY
        if isinstance(action, ReplyFault):
            return None, page
        if any(one.action == action for one in work.tried):
            return None, page
        return action, page

    def _perform(self, work: TargetWork, action: Action, page: Page | None) -> Proposal | None:
        """The proposal that an action leads to; None where it leads nowhere."""
        evidence, best = self._proposer.evidence, work.best
        match action:
            case SegmentPhrases():
                return self._segment(work, action)
            case ChooseObjects():
                candidates = self._proposer.candidates(work, MOST_CANDIDATES - 3)
                chosen = [candidates[number] for number in action.numbers if number in candidates]
                mask = np.logical_or.reduce(chosen) if chosen else None
                return None if mask is None else self._from_mask(work, action, mask)
            case SetThreshold():
                phrase = best.phrase if best is not None and best.phrase else work.wordings[0]
                if not evidence.has(phrase):
                    return None
                return self._from_mask(
                    work, action, self._proposer.cut(work, evidence.at_threshold(phrase, action.value)), phrase
                )
            case ExampleBox():
                tile = next((one for one in page.tiles if one.number == action.tile), None) if page else None
                if tile is None or evidence.request.plane not in (evidence.stack.plane, evidence.request.plane):
                    return None
                try:
                    concept = evidence.with_example(work.wordings[0], box_of_cells(action, tile, evidence.stack))
                except InputError:
                    return None
                return self._from_mask(work, action, self._proposer.cut(work, concept), work.wordings[0])
            case EditMask():
                return self._edit(work, action)
            case LookCloser():
                return self._look_closer(work, action, page)
            case ReportAbsent():
                agreed = best is not None and best.is_absent
                why = message("The language model sees none of it.")
                return self._proposer.absent(work, action, Verdict.ACCEPTED if agreed else Verdict.UNSURE, why)
        return None

    def _segment(self, work: TargetWork, action: SegmentPhrases) -> Proposal | None:
        evidence = self._proposer.evidence
        window = Window.preset(action.window) if action.window and is_ct(evidence.volume) else None
        evidence.ask(action.phrases, action.plane, window)
        new = tuple(phrase for phrase in action.phrases if phrase not in work.wordings)
        work.wordings = (*work.wordings, *new)
        masks = {phrase: self._proposer.cut(work, evidence.of(phrase)) for phrase in action.phrases}
        found = {phrase: mask for phrase, mask in masks.items() if mask.any()}
        if not found:
            return self._nowhere(work, action, message("The other phrases found nothing."))
        phrase = max(found, key=lambda one: self._proposer.score_of(one, found[one]))
        return self._from_mask(work, action, found[phrase], phrase)

    def _from_mask(self, work: TargetWork, action: Action, mask: BoolMask, phrase: str = "") -> Proposal:
        mask = self._proposer.as_left(work, mask)
        if not mask.any():
            return self._nowhere(work, action, message("That left nothing."))
        phrase = phrase or max(work.wordings, key=lambda one: self._proposer.score_of(one, mask))
        opinion = Opinion((phrase,), mask)
        proposal = self._proposer.proposal(work, action, opinion, self._proposer.checks(work, opinion))
        if proposal.verdict is Verdict.REJECTED:
            return with_verdict(proposal, Verdict.UNSURE, (0, 0), proposal.why)
        return proposal

    def _nowhere(self, work: TargetWork, action: Action, why: Message) -> Proposal:
        """An action that leaves nothing; that is no sign of absence, so whatever was there before is kept."""
        return self._proposer.absent(work, action, Verdict.REJECTED, why)

    def _edit(self, work: TargetWork, action: EditMask) -> Proposal | None:
        best = work.best
        if best is None or best.is_absent:
            return None
        evidence = self._proposer.evidence
        try:
            edited = apply_commands(best.mask, evidence.volume.grid, action.command, volume=evidence.volume)
        except InputError:
            return None
        return self._from_mask(work, action, edited.mask, best.phrase)

    def _look_closer(self, work: TargetWork, action: LookCloser, page: Page | None) -> Proposal | None:
        """The best proposal again, judged once more on one enlarged slice."""
        best = work.best
        tile = next((one for one in page.tiles if one.number == action.tile), None) if page else None
        if best is None or best.is_absent or tile is None:
            return None
        close = draw_close_page(self._source(work), best.mask, tile, f"target: {work.target.name}")
        subject = Subject(work.target, best.mask, tiles=close.tiles)

        def ask_vote(number: int) -> str | None:
            return self._asker.ask(verdict_question(best, close.png, subject, number))

        return judge(best, self._asker.backend.votes, ask_vote)

    def _measured(self, mask: BoolMask) -> str:
        evidence, midline = self._proposer.evidence, self._proposer.midline
        measures = measure(mask, evidence.volume, evidence.stack)
        if measures is None:
            return "empty"
        side = ""
        if midline is not None:
            side = f", {Side.RIGHT.value if measures.centroid[0] > midline else Side.LEFT.value} of the midline"
        unit = " HU" if is_ct(evidence.volume) else ""
        size = format_volume(evidence.volume, int(np.count_nonzero(mask)))
        first, last = measures.slices
        return f"{size}, slices {first} to {last}{side}, mean {measures.mean_intensity:.0f}{unit}"

    def _source(self, work: TargetWork) -> PageSource:
        evidence = self._proposer.evidence
        phrase = next((one for one in work.wordings if evidence.has(one)), "")
        window = evidence.of(phrase).window if phrase else choose_window(evidence.volume)
        scores = evidence.of(phrase).score_by_slice if phrase else {}
        return PageSource(evidence.volume, evidence.stack, window, scores, self._proposer.container_mask(work))
