"""The agent: plans, segments, checks, asks where checks are unsure, keeps the best, and stops with a reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from MedSAM3AgentLib.backends.protocol import Backend
from MedSAM3AgentLib.backends.questions import answer_question, plan_question
from MedSAM3AgentLib.backends.replies import ReplyFault, answer_in, plan_in
from MedSAM3AgentLib.backends.rules import RulesBackend
from MedSAM3AgentLib.budget import Budget
from MedSAM3AgentLib.evidence import Evidence
from MedSAM3AgentLib.going_on import with_text
from MedSAM3AgentLib.objects.sides import midline_of
from MedSAM3AgentLib.pages.page import PageSource, draw_action_page
from MedSAM3AgentLib.planning.seeds import Seeds
from MedSAM3AgentLib.planning.sentence import is_fully_known, is_implicit_question, plan_by_rules
from MedSAM3AgentLib.planning.target_work import TargetWork
from MedSAM3AgentLib.proposals import Proposer
from MedSAM3AgentLib.questioning import Asker, Recorder
from MedSAM3AgentLib.rounds import RoundWork
from MedSAM3AgentLib.sending.consent import Consent
from MedSAM3AgentLib.sending.disclosure import OnConsent
from MedSAM3AgentLib.sending.gate import SendingGate
from MedSAM3AgentLib.session import (
    AgentRequest,
    AgentResult,
    Round,
    Stop,
    Verdict,
)
from MedSAM3AgentLib.stop_sentences import describe_end, describe_stop
from MedSAM3AgentLib.targets import Plan, Target
from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.messages.message import Message
from MedSAM3SegmentLib.preprocessing.windowing import choose_window
from MedSAM3SegmentLib.progress import NO_CALLBACKS, RunCallbacks
from MedSAM3SegmentLib.units import format_volume
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary
from MedSAM3SegmentLib.volume import Volume

RoundCallback = Callable[[Round], None]


class Agent:
    """Segments what a sentence describes.

    Args:
        segmenter: a model in this process, or an engine in another one.
        language: who answers where checks are unsure; the rules by default, which ask nobody.
        vocabulary: knows structures; the shipped one by default.
        draws_pages: whether each round comes with its picture, also where no model looks at one.
        on_consent: asks a person before anything of a volume leaves for another computer, once for host and volume;
            without one the answer is no.
        consent: what was agreed to before, and the institution's policy; a new one with the site's by default.
    """

    def __init__(
        self,
        segmenter: SegmenterProtocol,
        language: Backend | None = None,
        vocabulary: Vocabulary | None = None,
        *,
        draws_pages: bool = True,
        on_consent: OnConsent | None = None,
        consent: Consent | None = None,
    ) -> None:
        self.segmenter = segmenter
        self.language: Backend = language or RulesBackend()
        self.vocabulary = vocabulary or Vocabulary.load()
        self.draws_pages = draws_pages
        self.on_consent = on_consent
        self.consent = consent

    def ask(
        self,
        volume: Volume,
        request: AgentRequest | str,
        callbacks: RunCallbacks = NO_CALLBACKS,
        on_round: RoundCallback | None = None,
        recorder: Recorder | None = None,
        seeds: Seeds | None = None,
    ) -> AgentResult:
        """Segment what ``request`` describes in ``volume``.

        A kept proposal is never replaced by one that is worse by the agent's own score. A failing language model ends
        the rounds and keeps the best.

        Args:
            on_round: told of each round as soon as it is done.
            recorder: told of each question and its reply.
            seeds: an earlier round as a person left it, to go on from; None to begin.

        Raises:
            InputError: nothing to look for was recognized, the request does not fit the volume, there is nothing to
                go on with, or the institution's policy does not allow the language model's host.
            ModelError, EngineError: the segmenter failed in the first round.
            Cancelled: the user stopped before the first round was done; later the best round is kept.
        """
        if isinstance(request, str):
            request = AgentRequest(request)
        gate = self._gate(volume, request)
        budget = Budget(request)
        asker = Asker(self.language, request.calls, budget, recorder, callbacks.cancel, gate.check if gate else None)
        if seeds is not None:
            seeds = self._with_text(seeds, volume, asker)
        plan = self._plan(request, asker) if seeds is None else seeds.plan
        earlier = None if seeds is None else seeds.provenance
        evidence = Evidence(self.segmenter, volume, request, callbacks, earlier=earlier)
        proposer = Proposer(evidence, self.vocabulary, midline_of(volume))
        works = [self._work(target, seeds, asker) for target in plan.targets]
        if all(work.is_settled for work in works):
            raise InputError(
                "There is nothing to go on with: edit a slice, delete or rename a segment, choose a region, or type "
                "what to change."
            )
        open_works = [work for work in works if not work.is_settled]
        first = tuple(dict.fromkeys(phrase for work in open_works for phrase in work.phrases(self.vocabulary)))
        offset = 0 if seeds is None else seeds.first_number - 1
        rounds: list[Round] = []
        while True:
            number = len(rounds) + 1
            started, in_model, in_language = time.monotonic(), evidence.seconds, asker.seconds
            before = 0 if number == 1 else asker.calls
            turn = RoundWork(number, proposer, asker)
            try:
                if number == 1:
                    evidence.ask(first)
                for work in works:
                    if not work.is_settled:
                        turn.propose(work)
            except Cancelled:
                if number == 1:
                    raise
                return self._result(request, plan, rounds, Stop.USER, evidence, asker)
            seconds = {
                "all": time.monotonic() - started,
                "segmenting": evidence.seconds - in_model,
                "language model": asker.seconds - in_language,
            }
            done = Round(
                offset + number,
                turn.proposals,
                {work.target.name: best for work in works if (best := work.best) is not None},
                turn.page(works) if self.draws_pages else b"",
                asker.calls - before,
                seconds,
                tuple(proposal for work in works for proposal in work.rejected),
                evidence.provenance,
            )
            rounds.append(done)
            if on_round is not None:
                on_round(done)
            stop = self._stop(request, works, rounds, asker, turn)
            if stop is not None:
                return self._result(request, plan, rounds, stop, evidence, asker)

    def _gate(self, volume: Volume, request: AgentRequest) -> SendingGate | None:
        """What questions pass where they leave this computer; None where they do not."""
        # Backends of other programs may know of no host.
        host = getattr(self.language, "sends_to", "")
        if not host:
            return None
        self.consent = self.consent or Consent.of()
        self.consent.check_policy(host)

        def draw_volume() -> bytes:
            stack = SliceStack.along(volume.grid, request.plane)
            source = PageSource(volume, stack, request.window or choose_window(volume), {})
            return draw_action_page(source, {}, "slices through the volume").png

        return SendingGate(host, volume, request.text, self.consent, self.on_consent, draw_volume)

    def _plan(self, request: AgentRequest, asker: Asker) -> Plan:
        """The vocabulary first; a language model where that does not know it or a question is asked."""
        is_question = is_implicit_question(request.text, self.vocabulary)
        plan = None
        try:
            plan = plan_by_rules(request.text, self.vocabulary)
        except InputError:
            if not asker.can_ask:
                raise
        if plan is not None and not is_question and is_fully_known(plan, self.vocabulary):
            return plan
        text = asker.ask(plan_question(request.text)) if asker.can_ask else None
        read = plan_in(text, self.language.name) if text is not None else ReplyFault.EMPTY
        if isinstance(read, Plan):
            return read
        if plan is None:
            raise InputError(
                "No structure to look for was recognized in the request, and the language model named none ({fault}); "
                "name one, such as 'the mass in the right kidney'.",
                fault=read.value if asker.ended is None else str(asker.ended),
            )
        return plan

    def _with_text(self, seeds: Seeds, volume: Volume, asker: Asker) -> Seeds:
        """What was typed, by rules; a language model where they do not know it names what else to look for."""
        try:
            return with_text(seeds, volume, self.vocabulary)
        except InputError:
            text = asker.ask(plan_question(seeds.text)) if asker.can_ask else None
            read = plan_in(text, self.language.name) if text is not None else ReplyFault.EMPTY
            if not isinstance(read, Plan):
                raise
            known = {target.name for target in seeds.plan.targets}
            added = tuple(target for target in read.targets if target.name not in known)
            plan = replace(seeds.plan, targets=(*seeds.plan.targets, *added), by=read.by, rationale=read.rationale)
            return replace(seeds, plan=plan)

    def _work(self, target: Target, seeds: Seeds | None, asker: Asker) -> TargetWork:
        work = TargetWork.of(target, self.vocabulary)
        seed = None if seeds is None else seeds.targets.get(target.name)
        work.seed = seed
        work.bounds = None if seeds is None else seeds.container
        if seed is not None and not seed.is_changed and seed.earlier is not None:
            work.tried.append(seed.earlier)
            work.is_settled = seed.earlier.verdict is Verdict.ACCEPTED or not asker.can_ask
        return work

    def _stop(
        self,
        request: AgentRequest,
        works: Sequence[TargetWork],
        rounds: Sequence[Round],
        asker: Asker,
        turn: RoundWork,
    ) -> Stop | None:
        if all(work.is_settled for work in works):
            best = [work.best for work in works]
            is_absent = all(one is not None and one.is_absent for one in best)
            is_accepted = all(one is not None and one.verdict is Verdict.ACCEPTED for one in best)
            if is_accepted:
                return Stop.ABSENT if is_absent else Stop.ACCEPTED
        if asker.ended is not None:
            return asker.ended.stop
        if not asker.can_ask:
            return Stop.CALLS if asker.backend.votes and not asker.calls_left else Stop.NOTHING_NEW
        if all(work.is_settled for work in works):
            return Stop.NOTHING_NEW
        if len(rounds) >= request.rounds:
            return Stop.ROUNDS
        return Stop.NOTHING_NEW if len(rounds) > 1 and not turn.proposals else None

    def _result(
        self,
        request: AgentRequest,
        plan: Plan,
        rounds: Sequence[Round],
        stop: Stop,
        evidence: Evidence,
        asker: Asker,
    ) -> AgentResult:
        said: list[Message] = list(evidence.messages)
        answer = plan.rationale
        if is_implicit_question(request.text, self.vocabulary) and asker.can_ask and stop is not Stop.USER:
            kept = [rounds[-1].kept[target.name] for target in plan.targets]
            sizes = [format_volume(evidence.volume, int(one.mask.sum())) for one in kept]
            with suppress(Cancelled):
                text = asker.ask(answer_question(request.text, kept, sizes, rounds[-1].page))
                answer = " ".join(filter(None, (answer, answer_in(text or ""))))
        if asker.ended is not None:
            said.append(describe_end(self.language.name, str(asker.ended), asker.ended.stop))
        spent = asker.budget.spent(asker.calls)
        if request.price is not None and spent.calls:
            said.append(spent.words)
        return AgentResult(
            request,
            plan,
            tuple(rounds),
            stop,
            describe_stop(stop, rounds),
            evidence.provenance,
            answer,
            tuple(said),
            spent,
        )
