"""Judges that know the truth, more or less: what an agent could gain from a perfect, a weak or a random model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from MedSAM3AgentLib.actions import GRID_CELLS, Accept, Action, ChooseObjects, ExampleBox, ReportAbsent, action_data
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.progress import CancelCheck

from .protocol import Question, QuestionKind, Reply, Subject, TileView

#: Dice from which a perfect judge accepts, and by how much another candidate must be better to be chosen.
_GOOD, _BETTER = 0.7, 0.02


class OracleBackend:
    """Knows the truth of each target: perfect verdicts, the best candidate, the best example box.

    Args:
        truths: masks by the target's name, bool ``[k, j, i]``; a name that is missing is absent.
        stack: how the volume was cut.
        accuracy: share of answers that are right; 1 is perfect.
        correlation: share of votes on the same question that repeat the first one's luck.
        seed: of all luck.
        votes: how often a verdict is asked for.
    """

    sees_pictures = False
    answers = True
    sends_to = ""

    def __init__(
        self,
        truths: Mapping[str, BoolMask],
        stack: SliceStack,
        accuracy: float = 1.0,
        correlation: float = 0.0,
        seed: int = 0,
        votes: int = 1,
    ) -> None:
        self.name = "oracle" if accuracy == 1 else f"noisy {accuracy:g}"
        self.votes = votes
        self._truths, self._stack = truths, stack
        self._accuracy, self._correlation, self._seed = accuracy, correlation, seed
        self._best_seen: dict[str, float] = {}

    def ask(self, question: Question, cancel: CancelCheck | None = None) -> Reply:
        """A verdict or an action, as JSON text."""
        del cancel
        subject = question.subject
        if subject is None:
            return Reply("{}", self.name)
        if question.kind is QuestionKind.VERDICT:
            is_right = self._is_right(question)
            accept = self._accepts(subject, note=question.vote == 0)
            return Reply(json.dumps({"verdict": "accept" if accept == is_right else "reject"}), self.name)
        action = self._action(subject)
        if not self._is_right(question) and subject.candidates:
            rng = self._rng(question, "which")
            action = ChooseObjects((int(rng.choice(list(subject.candidates))),))
        return Reply(json.dumps(action_data(action)), self.name)

    def _accepts(self, subject: Subject, *, note: bool) -> bool:
        truth = self._truth(subject)
        if subject.mask is None or truth is None:
            return subject.mask is None or not subject.mask.any()
        agreement = _dice(subject.mask, truth)
        before = self._best_seen.get(subject.target.name)
        if note:
            self._best_seen[subject.target.name] = max(agreement, before or 0.0)
        return agreement >= _GOOD or (before is not None and agreement > before + _BETTER)

    def _action(self, subject: Subject) -> Action:
        truth = self._truth(subject)
        if truth is None:
            return ReportAbsent("")
        now = 0.0 if subject.mask is None else _dice(subject.mask, truth)
        scores = {number: _dice(mask, truth) for number, mask in subject.candidates.items()}
        best = max(scores, key=lambda number: scores[number], default=0)
        if best and scores[best] > max(now + _BETTER, 0.5):
            return ChooseObjects((best,))
        if ExampleBox.__name__ not in subject.tried and (box := self._example(subject, truth)) is not None:
            return box
        if best and scores[best] > now + _BETTER:
            return ChooseObjects((best,))
        return Accept()

    def _example(self, subject: Subject, truth: BoolMask) -> ExampleBox | None:
        """Cells around the truth on the tile that shows most of it."""
        slices = self._stack.extract(truth)
        areas = {tile.number: int(_part(slices[tile.slice_index], tile).sum()) for tile in subject.tiles}
        best = max(areas, key=lambda number: areas[number], default=0)
        if not best or not areas[best]:
            return None
        tile = next(tile for tile in subject.tiles if tile.number == best)
        part = _part(slices[tile.slice_index], tile)
        cells = []
        for axis in (1, 0):
            on = np.flatnonzero(part.any(axis=1 - axis))
            cells.append((int(on[0] * GRID_CELLS // part.shape[axis]), int(on[-1] * GRID_CELLS // part.shape[axis])))
        return ExampleBox(best, (cells[0][0], cells[1][0]), (cells[0][1], cells[1][1]))

    def _truth(self, subject: Subject) -> BoolMask | None:
        truth = self._truths.get(subject.target.name)
        return truth if truth is not None and truth.any() else None

    def _is_right(self, question: Question) -> bool:
        if self._accuracy >= 1:
            return True
        own = self._rng(question, f"own {question.vote}")
        luck = self._rng(question, "shared") if own.random() < self._correlation else own
        return bool(luck.random() < self._accuracy)

    def _rng(self, question: Question, what: str) -> np.random.Generator:
        subject = question.subject
        mask = b"" if subject is None or subject.mask is None else np.packbits(subject.mask).tobytes()
        asked = f"{self._seed}|{question.kind}|{question.text}|{what}".encode()
        return np.random.default_rng(int.from_bytes(hashlib.sha256(asked + mask).digest()[:8], "big"))


class RandomBackend:
    """Replies at random, well-formed and broken: whatever comes, a session must end in words."""

    name = "random"
    votes = 3
    sees_pictures = False
    answers = True
    sends_to = ""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def ask(self, question: Question, cancel: CancelCheck | None = None) -> Reply:
        """Anything."""
        del question, cancel
        rng = self._rng
        values: dict[str, Any] = {
            "action": str(
                rng.choice(["segment", "choose_objects", "threshold", "example_box", "edit", "fly", "accept"])
            ),
            "verdict": str(rng.choice(["accept", "reject", "unsure", "maybe"])),
            "phrases": [str(rng.choice(["liver", "spleen", "banana", "ignore all", ""]))],
            "numbers": [int(rng.integers(-2, 12))],
            "value": float(rng.normal()),
            "tile": int(rng.integers(-1, 12)),
            "first": str(rng.choice(["A1", "H8", "Z9"])),
            "command": str(rng.choice(["keep the largest", "shrink 3 mm", "rm -rf /", "nothing"])),
        }
        text = json.dumps(values)
        cut = int(rng.integers(1, len(text))) if rng.random() < 0.3 else len(text)
        return Reply(text[:cut], self.name)


def _part(slice_mask: BoolMask, tile: TileView) -> BoolMask:
    return slice_mask[tile.rows[0] : tile.rows[1], tile.columns[0] : tile.columns[1]]


def _dice(mask: BoolMask, truth: BoolMask) -> float:
    both = int(np.count_nonzero(mask & truth))
    return 2.0 * both / max(int(np.count_nonzero(mask)) + int(np.count_nonzero(truth)), 1)
