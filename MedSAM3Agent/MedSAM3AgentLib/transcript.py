"""The record of a session: JSON lines, each with the hash of the one before, from which the session can be replayed.

A line holds a question or a round, never a key, a path or a name of a file. What was asked and replied stands in it
whole, so that the same session comes out of it again, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from MedSAM3AgentLib.actions import action_data, recorded_action
from MedSAM3AgentLib.backends.protocol import Backend, BackendError, Question, Reply
from MedSAM3AgentLib.session import AgentRequest, AgentResult, Check, OwnScore, Proposal, Round, Verdict
from MedSAM3AgentLib.targets import Target
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import as_message
from MedSAM3SegmentLib.volume import Volume

#: Of the lines; a change that older readers cannot read raises it.
FORMAT = 1

#: What stands before the first line.
_START = "0" * 64


@dataclass(eq=False)
class Transcript:
    """Lines as they come.

    Attributes:
        lines: JSON text of each.
        pictures: PNG bytes by SHA-256, of all pictures that were asked with.
    """

    lines: list[str] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    _last: str = _START

    def begin(self, request: AgentRequest, volume: Volume, backend: Backend) -> None:
        """The first line: what is asked, of which voxels, of whom."""
        self._add(
            "session",
            format=FORMAT,
            request=request.text,
            rounds=request.rounds,
            calls=request.calls,
            threshold=request.threshold,
            pictures=request.pictures,
            seconds=request.seconds,
            money=request.money,
            price=list(request.price) if request.price else None,
            volume=volume.content_hash,
            backend=backend.name,
            votes=backend.votes,
            sees_pictures=backend.sees_pictures,
            answers=backend.answers,
        )

    def add_question(self, question: Question, reply: Reply | BackendError) -> None:
        """A question with its reply, or with why there is none; then it was perhaps not sent at all."""
        asked = question_fields(question)
        if question.picture:
            self.pictures[asked["picture"]] = question.picture
        if isinstance(reply, BackendError):
            self._add("question", **asked, failure=str(reply), stop=reply.stop.value)
            return
        self._add(
            "question",
            **asked,
            reply=reply.text,
            model=reply.model,
            usage=list(reply.usage) if reply.usage else None,
            exchanges=reply.exchanges,
            milliseconds=reply.milliseconds,
            parameters=dict(reply.parameters),
        )

    def add_round(self, done: Round) -> None:
        """A round: what each target was proposed to be, and what is kept."""
        self._add(
            "round",
            number=done.number,
            proposals={name: proposal_data(one) for name, one in done.proposals.items()},
            kept={name: mask_hash(one.mask) for name, one in done.kept.items()},
        )

    def end(self, result: AgentResult) -> None:
        """The last line: why it stopped, and where the masks came from."""
        self._add("end", stop=result.stop.value, calls=result.calls, model=result.provenance.model.as_dict())

    def text(self) -> str:
        """The file's content."""
        return "".join(line + "\n" for line in self.lines)

    def _add(self, kind: str, **values: Any) -> None:
        entry = {
            "kind": kind,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            **values,
            "previous": self._last,
        }
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False, sort_keys=True)
        self._last = hashlib.sha256(line.encode()).hexdigest()
        self.lines.append(line)


def question_fields(question: Question) -> dict[str, Any]:
    """What identifies a question, by field; two with the same are the same question."""
    return {
        "question": question.kind.value,
        "instructions": question.instructions,
        "text": question.text,
        "picture": hashlib.sha256(question.picture).hexdigest() if question.picture else "",
        "vote": question.vote,
    }


def proposal_data(proposal: Proposal) -> dict[str, Any]:
    """A proposal as plain JSON values, its mask as a hash."""
    score = proposal.score
    return {
        "action": action_data(proposal.action),
        "phrase": proposal.phrase,
        "verdict": proposal.verdict.words,
        "votes": list(proposal.votes),
        "why": str(proposal.why),
        "checks": {check.name: [bool(check.passed), str(check.words)] for check in proposal.checks},
        "score": [int(score.verdict), score.checks, round(score.votes, 4), round(score.mean_score, 6)],
        "voxels": int(np.count_nonzero(proposal.mask)),
        "mask": mask_hash(proposal.mask),
    }


def recorded_proposal(data: Mapping[str, Any], target: Target, mask: BoolMask) -> Proposal:
    """The proposal that ``proposal_data`` wrote, with a mask in place of its hash.

    Raises:
        ValueError, KeyError, TypeError, IndexError: it is none.
    """
    verdict, checks, votes, mean_score = data["score"]
    return Proposal(
        target,
        recorded_action(data["action"]),
        mask,
        str(data["phrase"]),
        tuple(Check(name, bool(passed), as_message(words)) for name, (passed, words) in data["checks"].items()),
        Verdict[str(data["verdict"]).upper()],
        (int(data["votes"][0]), int(data["votes"][1])),
        as_message(data["why"]),
        OwnScore(Verdict(verdict), int(checks), float(votes), float(mean_score)),
    )


def mask_hash(mask: BoolMask) -> str:
    """SHA-256 over shape and voxels of a mask."""
    digest = hashlib.sha256(str(mask.shape).encode())
    digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()


def read_transcript(path: Path) -> list[Mapping[str, Any]]:
    """The lines of a transcript, once their chain of hashes was checked.

    Raises:
        InputError: it cannot be read, is none, or was changed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("The transcript {path} cannot be read ({why}).", path=path, why=str(error)) from None
    lines = list(_checked(path, text))
    if not lines or lines[0].get("kind") != "session" or lines[0].get("format") != FORMAT:
        raise InputError("{path} is no transcript of this version of the agent.", path=path)
    return lines


def _checked(path: Path, text: str) -> Iterator[Mapping[str, Any]]:
    last = _START
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict):
            raise InputError("Line {number} of the transcript {path} is not JSON.", number=number, path=path)
        if entry.get("previous") != last:
            raise InputError(
                "The transcript {path} was changed at or before line {number}: its hash does not follow from the line "
                "before.",
                number=number,
                path=path,
            )
        last = hashlib.sha256(line.encode()).hexdigest()
        yield entry
