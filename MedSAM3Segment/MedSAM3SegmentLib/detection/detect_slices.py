"""What the detector says of each phrase on each slice by itself: the evidence that detection and its checks rest on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.assembly.assemble import slice_mask
from MedSAM3SegmentLib.features.slice_encoder import SliceFeatures
from MedSAM3SegmentLib.messages.message import Message
from MedSAM3SegmentLib.models import devices
from MedSAM3SegmentLib.models.detector import DetectorOutput, Sam3Detector, TextFeatures
from MedSAM3SegmentLib.models.memory import BatchGuard, choose_batch_size, memory_reducers
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.progress import RunReporter, Stage
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.search_region import SearchRegion

from .answers_behind import AnswersBehind, grouped
from .exemplars import Exemplars, box_prompts
from .postprocess import postprocess_slice

#: Phrases that are encoded together; cancelling waits for them.
_PHRASES_AT_A_TIME = 64

#: Slices that go through the network together. CPUs gain nothing from larger batches; cancelling waits for one batch.
BATCH = {"cpu": 2, "mps": 2, "cuda": 8}


@dataclass(frozen=True, eq=False)
class ConceptQuery:
    """One concept as it goes to the model.

    Attributes:
        concept: as in the request.
        prompt: the phrase that the model is asked.
        window: the intensity window it looks through.
        messages: what the user should know, one sentence each.
        exemplars: boxes that go with the phrase.
        is_phrase: whether the phrase means something by itself; without, slices that no exemplar serves are not
            looked at.
        only: the slices to ask on, or None for all.
    """

    concept: str
    prompt: str
    window: Window
    messages: tuple[Message, ...] = ()
    exemplars: Exemplars = field(default_factory=Exemplars)
    is_phrase: bool = True
    only: frozenset[int] | None = None

    def is_asked_on(self, slice_index: int) -> bool:
        """Whether there is anything to ask on a slice."""
        if self.only is not None and slice_index not in self.only:
            return False
        return self.is_phrase or any(box.positive for box in self.exemplars.at(slice_index))


def detect_slices(
    features: SliceFeatures,
    questions: Sequence[ConceptQuery],
    search_region: SearchRegion,
    threshold: float,
    reporter: RunReporter,
) -> list[list[SliceDetections]]:
    """Evidence per question and slice. Questions that share a window share one pass of the image encoder.

    Args:
        features: of the volume, cut as the search region's stack is.
        search_region: which slices to look at.
        threshold: for what is shown to ``reporter``; the evidence does not depend on it.

    Raises:
        Cancelled: between two batches, or two questions of one.
    """
    if not questions:
        return []
    model = features.model
    evidence: list[list[SliceDetections]] = [[] for _ in questions]
    batch = choose_batch_size(model, BATCH.get(model.device.type, 1))
    guard = BatchGuard(batch, memory_reducers(model), reporter.add_message)
    rounds = _rounds(questions, search_region)
    stage = reporter.begin(Stage.SEGMENTING, sum(len(slices) for _, slices in rounds))
    phrases = _encode_phrases(model, [question.prompt for question in questions], stage.check)
    for asked, slices in rounds:

        def look_at(
            batch: Sequence[int], asked: Sequence[int] = asked, slices: list[int] = slices
        ) -> list[dict[int, SliceDetections]]:
            stage.check()
            after = slices[slices.index(batch[-1]) + 1 :][: guard.size]
            answers = _detect(features, questions, phrases, asked, batch, after, guard.size, stage.check)
            for items in answers:
                for number, item in items.items():
                    report_slice(questions[number].concept, item, search_region, threshold, reporter)
            stage.advance(len(batch))
            return answers

        for items in guard.run(slices, look_at):
            for number, item in items.items():
                evidence[number].append(item)
    if model.graphs is not None and model.graphs.given_up is not None:
        reporter.add_message(model.graphs.given_up)
    return evidence


def _encode_phrases(model: Sam3Detector, phrases: Sequence[str], check: Callable[[], None]) -> TextFeatures:
    """Encode phrases, some at a time; ``check`` may end it between."""
    check()
    if len(phrases) <= _PHRASES_AT_A_TIME:
        return model.encode_phrases(phrases)
    # All are as long as the longest, however they are divided.
    tokens = model.tokenize(phrases)
    parts = []
    for start in range(0, len(phrases), _PHRASES_AT_A_TIME):
        check()
        some = {name: numbers[start : start + _PHRASES_AT_A_TIME] for name, numbers in tokens.items()}
        parts.append(model.encode_tokens(**some))
    return TextFeatures.joined(parts)


def _rounds(questions: Sequence[ConceptQuery], search_region: SearchRegion) -> list[tuple[list[int], list[int]]]:
    """Which questions are asked together, because they share a window, and on which slices."""
    rounds = []
    for window in dict.fromkeys(question.window for question in questions):
        asked = [n for n, question in enumerate(questions) if question.window == window]
        slices = [index for index in search_region.slices if any(questions[n].is_asked_on(index) for n in asked)]
        rounds.append((asked, slices))
    return rounds


def _detect(
    features: SliceFeatures,
    questions: Sequence[ConceptQuery],
    phrases: TextFeatures,
    asked: Sequence[int],
    batch: Sequence[int],
    after: Sequence[int],
    pairs: int,
    check: Callable[[], None],
) -> list[dict[int, SliceDetections]]:
    """Evidence per slice of the batch, by the number of the question; ``check`` may end it before each.

    Args:
        after: the slices of the next batch.
        pairs: most pairs of slice and phrase that go through a GPU together; on CPUs it is each phrase by itself, which
            is faster there.
    """
    model, window = features.model, questions[asked[0]].window
    shared = model.share_stages(model.build_pyramid(features.in_context(batch, window)))
    features.prepare(after, window)
    answers: list[dict[int, SliceDetections]] = [{} for _ in batch]

    def read(answer: tuple[list[int], DetectorOutput]) -> None:
        numbers, raw = answer
        for place, index in enumerate(batch):
            for n, number in enumerate(numbers):
                if questions[number].is_asked_on(index):
                    item = postprocess_slice(raw, place * len(numbers) + n, index, model.card)
                    answers[place][number] = item

    behind = AnswersBehind(model.device, read)
    wanted = [number for number in asked if any(questions[number].is_asked_on(index) for index in batch)]
    together = max(1, pairs // len(batch)) if devices.computes_beside(model.device) else 1
    for numbers in grouped(wanted, together, lambda number: bool(questions[number].exemplars.boxes)):
        check()
        boxes = box_prompts([questions[numbers[0]].exemplars.at(index) for index in batch])
        texts = TextFeatures.joined([phrases[number : number + 1] for number in numbers]).repeat(len(batch))
        raw = model.detect(shared.repeat_each(len(numbers)), texts, boxes)
        behind.add((numbers, raw))
    behind.finish()
    return answers


def report_slice(
    concept: str, item: SliceDetections, search_region: SearchRegion, threshold: float, reporter: RunReporter
) -> None:
    """Report what is known of a concept on one slice, as far as it reaches ``threshold`` and lies in the region."""
    index, shape = item.slice_index, search_region.stack.slice_shape

    def mask() -> BoolMask:
        if item.score < threshold:
            return np.zeros(shape, bool)
        return search_region.clip(index, slice_mask(item, threshold, shape))

    reporter.report_partial(concept, index, item.score, mask)
