"""Votes of a language model on proposals that checks are unsure of, and what they are worth.

Judges are weak (about 78 % right on medical masks: arXiv 2506.01841), so that checks come first, one vote never
decides, and what nothing but the number of wordings speaks against is only rejected by all votes.
"""

from __future__ import annotations

from collections.abc import Callable

from MedSAM3AgentLib.backends.replies import verdict_in
from MedSAM3AgentLib.proposals import HARD_CHECKS
from MedSAM3AgentLib.session import Proposal, Verdict, with_verdict
from MedSAM3SegmentLib.messages.message import message

#: Asks for one vote: the text of the reply to the vote with this number, or None where no more may be asked.
AskVote = Callable[[int], str | None]


def judge(proposal: Proposal, votes: int, ask_vote: AskVote) -> Proposal:
    """A proposal after up to ``votes`` votes; asking ends when the rest cannot change it.

    A vote that cannot be understood counts for neither side.
    """
    needed_to_reject = votes if not _is_doubtful(proposal) else votes // 2 + 1
    needed_to_accept = votes - needed_to_reject + 1
    favor = against = asked = 0
    for number in range(votes):
        text = ask_vote(number)
        if text is None:
            break
        asked += 1
        said = verdict_in(text)
        favor += said is True
        against += said is False
        if favor >= needed_to_accept or against >= needed_to_reject:
            break
    if not favor + against:
        return proposal
    cast = (favor + against, favor)
    if against >= needed_to_reject:
        words = message("{against} of {count} votes were against it.", against=against, count=asked)
        return with_verdict(proposal, Verdict.REJECTED, cast, words)
    if favor >= needed_to_accept:
        words = message("{favor} of {count} votes were for it.", favor=favor, count=asked)
        return with_verdict(proposal, Verdict.ACCEPTED, cast, words)
    return with_verdict(proposal, Verdict.UNSURE, cast, message("The votes did not agree."))


def _is_doubtful(proposal: Proposal) -> bool:
    """Whether anything but the number of wordings speaks against it."""
    failed = [check.name for check in proposal.checks if not check.passed]
    return any(name in HARD_CHECKS for name in failed) or any(name != "wordings" for name in failed)
