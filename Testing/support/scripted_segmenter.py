"""A segmenter that answers phrases with masks that a test knows, and a language model that says what a test says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3AgentLib.backends.protocol import BackendError, Question, QuestionKind, Reply
from MedSAM3SegmentLib.progress import NO_CALLBACKS, CancelCheck, RunCallbacks
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.volume import Volume

from .results import axial_grid, result_of

Mask = NDArray[np.bool_]

#: Voxels of 5 x 5 x 5 mm: 300 x 200 x 200 mm of a body, i to the patient's left.
GRID = axial_grid((40, 40, 60), (5.0, 5.0, 5.0))


def abdomen(name: str = "abdomen") -> tuple[Volume, dict[str, Mask]]:
    """A CT-like body with a liver, two kidneys, a spleen and a tumor of the right kidney."""
    k, j, i = np.indices(GRID.shape)

    def ball(center: tuple[int, int, int], radii: tuple[float, float, float]) -> Mask:
        places = ((k - center[0]) / radii[0], (j - center[1]) / radii[1], (i - center[2]) / radii[2])
        return np.asarray(sum(np.square(one) for one in places) < 1)

    masks = {
        "liver": ball((25, 15, 14), (11, 11, 12)),
        "right kidney": ball((10, 28, 16), (6, 4, 4)),
        "left kidney": ball((10, 28, 44), (6, 4, 4)),
        "spleen": ball((26, 26, 50), (6, 4, 4)),
        "kidney tumor": ball((10, 28, 16), (2, 2, 2)),
    }
    body = ball((20, 20, 30), (40, 19, 29))
    noise = np.random.default_rng(0).normal(0, 5, GRID.shape)
    array = np.where(body, 0.0, -1000.0) + noise
    for organ, hu in (
        ("liver", 100),
        ("right kidney", 180),
        ("left kidney", 180),
        ("spleen", 130),
        ("kidney tumor", 60),
    ):
        array[masks[organ]] = hu + noise[masks[organ]]
    masks["kidney"] = masks["left kidney"] | masks["right kidney"]
    grid = GRID
    return Volume(array.astype(np.int16), grid, "CT", name), masks


class ScriptedSegmenter:
    """Gives each phrase its mask; phrases that are not known find nothing.

    Attributes:
        answers: masks by phrase.
        requests: that were made, in order.
        volumes: that they were made of.
    """

    def __init__(self, answers: Mapping[str, Mask], fails: Callable[[int], None] | None = None) -> None:
        self.answers = dict(answers)
        self.requests: list[SegmentRequest] = []
        self.volumes: list[Volume] = []
        self._fails = fails

    def segment(self, volume: Volume, request: SegmentRequest, callbacks: RunCallbacks = NO_CALLBACKS) -> SegmentResult:
        del callbacks
        self.requests.append(request)
        self.volumes.append(volume)
        if self._fails is not None:
            self._fails(len(self.requests))
        empty = np.zeros(volume.grid.shape, bool)
        masks = {name: self.answers.get(name, empty) for name in request.concepts}
        result = result_of(volume, masks, request.plane)
        return replace(result, concepts=tuple(_with_pieces(one) for one in result.concepts))


def _with_pieces(concept: Any) -> Any:
    """Connected objects as instances, as the engine gives them."""
    from scipy import ndimage

    from MedSAM3SegmentLib.results.result import Instance

    labels, count = ndimage.label(concept.mask)
    if count < 2:
        return concept
    instances = tuple(Instance(n, int((labels == n).sum()), 1.0, 0, 1, 0.9) for n in range(1, count + 1))
    return replace(concept, instance_map=labels.astype(np.uint16), instances=instances)


class ScriptedBackend:
    """Says in turn what it is given; a ``BackendError`` in the list is raised.

    Attributes:
        questions: that were asked.
    """

    def __init__(self, replies: Sequence[object], votes: int = 1, sees_pictures: bool = False) -> None:
        self.name = "scripted"
        self.votes = votes
        self.sees_pictures = sees_pictures
        self.answers = True
        self.sends_to = ""
        self.questions: list[Question] = []
        self._replies = list(replies)

    def ask(self, question: Question, cancel: CancelCheck | None = None) -> Reply:
        del cancel
        self.questions.append(question)
        reply = self._replies.pop(0) if self._replies else BackendError("nothing more to say")
        if isinstance(reply, BaseException):
            raise reply
        return Reply(reply if isinstance(reply, str) else json.dumps(reply), "a model", (1, 1))

    def kinds(self) -> list[QuestionKind]:
        """What was asked."""
        return [question.kind for question in self.questions]


ACCEPT, REJECT = {"verdict": "accept"}, {"verdict": "reject"}
