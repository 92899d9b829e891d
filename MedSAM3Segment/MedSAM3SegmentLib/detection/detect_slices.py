"""What the detector says of each phrase on each slice by itself: the evidence that detection and its checks rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.assembly.assemble import slice_mask
from MedSAM3SegmentLib.features.slice_encoder import SliceFeatures
from MedSAM3SegmentLib.messages.message import Message
from MedSAM3SegmentLib.models.detector import PhraseFeatures
from MedSAM3SegmentLib.models.memory import BatchGuard, fitting_batch, reliefs_of
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.progress import Watch
from MedSAM3SegmentLib.request import Stage
from MedSAM3SegmentLib.results.slice_detections import SliceEvidence
from MedSAM3SegmentLib.search_region import Gate

from .exemplars import Exemplars, box_prompts
from .postprocess import slice_evidence

#: Slices that go through the network together. CPUs gain nothing from larger batches; cancelling waits for one batch.
BATCH = {"cpu": 2, "mps": 2, "cuda": 8}


@dataclass(frozen=True, eq=False)
class Question:
    """One concept as it goes to the model.

    Attributes:
        concept: as in the request.
        prompt: the phrase that the model is asked.
        window: the intensity window it looks through.
        messages: what the user should know, one sentence each.
        exemplars: boxes that go with the phrase.
        is_phrase: whether the phrase means something by itself; without, slices that no exemplar serves are not
            looked at.
    """

    concept: str
    prompt: str
    window: Window
    messages: tuple[Message, ...] = ()
    exemplars: Exemplars = field(default_factory=Exemplars)
    is_phrase: bool = True

    def is_asked_on(self, slice_index: int) -> bool:
        """Whether there is anything to ask on a slice."""
        return self.is_phrase or any(box.positive for box in self.exemplars.at(slice_index))


def look(
    features: SliceFeatures, questions: Sequence[Question], gate: Gate, threshold: float, watch: Watch
) -> list[list[SliceEvidence]]:
    """Evidence per question and slice. Questions that share a window share one pass of the image encoder.

    Args:
        features: of the volume, cut as the gate's stack is.
        gate: which slices to look at.
        threshold: for what is shown to ``watch``; the evidence does not depend on it.

    Raises:
        Cancelled: between two batches.
    """
    if not questions:
        return []
    model = features.model
    evidence: list[list[SliceEvidence]] = [[] for _ in questions]
    phrases = model.encode_phrases([question.prompt for question in questions])
    batch = fitting_batch(model, BATCH.get(model.device.type, 1))
    guard = BatchGuard(batch, reliefs_of(model), watch.tell)
    rounds = _rounds(questions, gate)
    stage = watch.begin(Stage.SEGMENTING, sum(len(slices) for _, slices in rounds))
    for asked, slices in rounds:

        def look_at(batch: Sequence[int], asked: Sequence[int] = asked) -> list[dict[int, SliceEvidence]]:
            stage.check()
            answers = _detect(features, questions, phrases, asked, batch)
            for items in answers:
                for number, item in items.items():
                    show_slice(questions[number].concept, item, gate, threshold, watch)
            stage.advance(len(batch))
            return answers

        for items in guard.run(slices, look_at):
            for number, item in items.items():
                evidence[number].append(item)
    return evidence


def steps_of(questions: Sequence[Question], gate: Gate) -> int:
    """How many slices ``look`` looks at; one that is seen through two windows counts twice."""
    return sum(len(slices) for _, slices in _rounds(questions, gate))


def _rounds(questions: Sequence[Question], gate: Gate) -> list[tuple[list[int], list[int]]]:
    """Which questions are asked together, because they share a window, and on which slices."""
    rounds = []
    for window in dict.fromkeys(question.window for question in questions):
        asked = [n for n, question in enumerate(questions) if question.window == window]
        slices = [index for index in gate.slices if any(questions[n].is_asked_on(index) for n in asked)]
        rounds.append((asked, slices))
    return rounds


def _detect(
    features: SliceFeatures,
    questions: Sequence[Question],
    phrases: PhraseFeatures,
    asked: Sequence[int],
    batch: Sequence[int],
) -> list[dict[int, SliceEvidence]]:
    """Evidence per slice of the batch, by the number of the question."""
    model = features.model
    pyramid = model.build_pyramid(features.of(batch, questions[asked[0]].window))
    answers: list[dict[int, SliceEvidence]] = [{} for _ in batch]
    for number in asked:
        question = questions[number]
        boxes = box_prompts([question.exemplars.at(index) for index in batch])
        raw = model.detect(pyramid, phrases[number : number + 1].repeat(len(batch)), boxes)
        for pair, index in enumerate(batch):
            if question.is_asked_on(index):
                answers[pair][number] = slice_evidence(raw, pair, index, model.card)
    return answers


def show_slice(concept: str, item: SliceEvidence, gate: Gate, threshold: float, watch: Watch) -> None:
    """Show what is known of a concept on one slice, as far as it reaches ``threshold`` and lies in ``gate``."""
    index, shape = item.slice_index, gate.stack.slice_shape

    def mask() -> NDArray[np.bool_]:
        if item.score < threshold:
            return np.zeros(shape, bool)
        return gate.cut(index, slice_mask(item, threshold, shape))

    watch.show(concept, index, item.score, mask)
