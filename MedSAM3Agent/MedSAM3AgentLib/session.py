"""The typed words of the agent: a request, its rounds, verdicts and why it stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum

from MedSAM3AgentLib.actions import Action
from MedSAM3AgentLib.targets import Plan, Target
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.provenance import Provenance

#: Rounds that a request may have; more do not help (Meta's loop burns 100 generations on what is absent).
MOST_ROUNDS = 5


@dataclass(frozen=True)
class AgentRequest:
    """What is asked of the agent.

    Attributes:
        text: one or more sentences, as typed.
        rounds: most rounds, 1 to 5.
        calls: most questions to a language model.
        plane, slices, window, threshold: as in ``request.SegmentRequest``, for every round.
        pictures: most pages that a language model is shown; one that is shown to several votes counts each time.
        seconds: after which no question is asked and no reply waited for any more, or None for any number.
        money: most that questions may cost, in the currency of ``price``, or None for any amount.
        price: of a thousand tokens in and of a thousand out, or None where it is not known.
    """

    text: str
    rounds: int = 3
    calls: int = 10
    plane: Plane = Plane.ACQUIRED
    slices: tuple[int, int] | None = None
    window: Window | None = None
    threshold: float | None = None
    pictures: int = 16
    seconds: float | None = None
    money: float | None = None
    price: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise InputError("The request is empty; say what to find, such as 'the mass in the right kidney'.")
        if not 1 <= self.rounds <= MOST_ROUNDS:
            raise InputError(
                "{rounds} rounds cannot be done; choose 1 to {most}.", rounds=self.rounds, most=MOST_ROUNDS
            )
        if not 0 <= self.calls <= 100:
            raise InputError("{calls} calls of a language model are too many; choose 0 to 100.", calls=self.calls)
        if not 0 <= self.pictures <= 100:
            raise InputError("{count} pictures cannot be shown; choose 0 to 100.", count=self.pictures)
        if self.seconds is not None and not self.seconds > 0:
            raise InputError("{seconds} seconds are no time; choose more than 0.", seconds=self.seconds)
        if self.money is not None and self.price is None:
            raise InputError(
                "What questions may cost needs the price of a thousand tokens; give that too (--price IN,OUT)."
            )
        amounts = (*(self.price or ()), *(() if self.money is None else (self.money,)))
        if not all(0 <= amount < float("inf") for amount in amounts):
            raise InputError("A price and what may be spent are numbers of 0 or more; correct them.")


class Verdict(IntEnum):
    """What is thought of a proposal; a higher one is kept before a lower one."""

    REJECTED = 0
    UNSURE = 1
    ACCEPTED = 2

    @property
    def words(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Check:
    """One thing that was computed of a proposal.

    Attributes:
        name: of the check (``side``, ``size``).
        passed: False where it speaks against the proposal.
        words: what was found, in a sentence.
    """

    name: str
    passed: bool
    words: Message


@dataclass(frozen=True, order=True)
class OwnScore:
    """How good a proposal is by the agent's own measure; ``<`` compares the fields in this order.

    Attributes:
        verdict: by checks and votes.
        checks: passed less failed.
        votes: share of judging votes in favor, 0.5 where nobody was asked.
        mean_score: mean over the object's slices of the model's scores.
    """

    verdict: Verdict
    checks: int
    votes: float
    mean_score: float


@dataclass(frozen=True, eq=False)
class Proposal:
    """What one round has for one target.

    Attributes:
        target: what was asked for.
        action: what was tried.
        mask: bool ``[k, j, i]`` on the volume's grid; empty where the target is reported absent.
        phrase: that it comes from; empty where it is absent.
        checks: that were computed.
        verdict: by checks and votes.
        votes: how many judged, and how many of them in favor.
        why: the verdict's reason.
        score: by the agent's own measure.
        slice_scores: how sure the model was of each slice, where that is known.
    """

    target: Target
    action: Action
    mask: BoolMask
    phrase: str
    checks: tuple[Check, ...]
    verdict: Verdict
    votes: tuple[int, int]
    why: Message
    score: OwnScore
    slice_scores: Mapping[int, float] = field(default_factory=dict)

    @property
    def is_absent(self) -> bool:
        return not self.mask.any()


def with_verdict(proposal: Proposal, verdict: Verdict, votes: tuple[int, int], why: Message) -> Proposal:
    """A proposal after it was judged; ``votes`` are how many judged, and how many of them in favor."""
    share = votes[1] / votes[0] if votes[0] else 0.5
    score = replace(proposal.score, verdict=verdict, votes=share)
    return replace(proposal, verdict=verdict, votes=votes, why=why, score=score)


@dataclass(frozen=True, eq=False)
class Round:
    """One round.

    Attributes:
        number: from 1.
        proposals: of this round, by target.
        kept: the best of this and all earlier rounds, one for each target.
        rejected: of this and all earlier rounds, what was found and is not believed.
        provenance: of the segmenter's first run.
        page: the picture that this round was judged by, PNG bytes, or empty.
        calls: questions asked of a language model in it.
        seconds: that it took, and how many of them in the segmenter and in the language model.
    """

    number: int
    proposals: Mapping[str, Proposal]
    kept: Mapping[str, Proposal]
    page: bytes
    calls: int
    seconds: Mapping[str, float]
    rejected: tuple[Proposal, ...] = ()
    provenance: Provenance | None = None


class Stop(StrEnum):
    """Why the agent stopped."""

    ACCEPTED = "accepted"
    ABSENT = "absent"
    NOTHING_NEW = "nothing new to try"
    ROUNDS = "rounds used up"
    CALLS = "calls used up"
    LANGUAGE_MODEL = "the language model failed"
    PICTURES = "pictures used up"
    SECONDS = "seconds used up"
    MONEY = "money used up"
    NOT_AGREED = "sending was not agreed to"
    USER = "stopped by the user"


@dataclass(frozen=True)
class Spent:
    """What questions to a language model took.

    Attributes:
        calls: questions that were sent.
        pictures: pages that went with them.
        tokens_in, tokens_out: as they were reported, or estimated.
        is_estimated: whether some were not reported.
        cost: in the currency of the request's price, or None without one.
    """

    calls: int = 0
    pictures: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    is_estimated: bool = False
    cost: float | None = None

    @property
    def words(self) -> Message:
        """One sentence for people."""
        if self.cost is None:
            return message(
                "{calls} questions with {pictures} pictures took {sent} tokens in and {received} out.",
                calls=self.calls,
                pictures=self.pictures,
                sent=self.tokens_in,
                received=self.tokens_out,
            )
        if self.is_estimated:
            return message(
                "{calls} questions with {pictures} pictures took about {sent} tokens in and {received} out and cost "
                "about {cost:.4f}; the server does not report tokens, so they were estimated.",
                calls=self.calls,
                pictures=self.pictures,
                sent=self.tokens_in,
                received=self.tokens_out,
                cost=self.cost,
            )
        return message(
            "{calls} questions with {pictures} pictures took {sent} tokens in and {received} out and cost {cost:.4f}.",
            calls=self.calls,
            pictures=self.pictures,
            sent=self.tokens_in,
            received=self.tokens_out,
            cost=self.cost,
        )


@dataclass(frozen=True, eq=False)
class AgentResult:
    """What the agent gives back.

    Attributes:
        request: as asked.
        plan: as understood.
        rounds: all of them, in order.
        stop: why it ended.
        why: that in a sentence.
        provenance: of the segmenter's first run.
        answer: a language model's own words on the request, or empty; never a finding.
        messages: what the user should know, one sentence each.
        spent: on questions to a language model.
    """

    request: AgentRequest
    plan: Plan
    rounds: Sequence[Round]
    stop: Stop
    why: Message
    provenance: Provenance
    answer: str = ""
    messages: tuple[Message, ...] = field(default=())
    spent: Spent = field(default=Spent())

    @property
    def kept(self) -> tuple[Proposal, ...]:
        """The best proposal for each target, in the order of the plan."""
        kept = self.rounds[-1].kept
        return tuple(kept[target.name] for target in self.plan.targets)

    @property
    def calls(self) -> int:
        """Questions asked of a language model."""
        return sum(one.calls for one in self.rounds)
