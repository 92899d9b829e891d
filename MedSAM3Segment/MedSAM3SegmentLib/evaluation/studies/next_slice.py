"""The study of the next slice: what drawing the suggested one is worth, against any other that is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.evaluation.prediction import Prediction, Prompt
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, TargetPrompts
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.synthetic.phantom import ORGANS

from .study import Study, StudyQuestion

BEFORE, SUGGESTED, RANDOM = "two to four slices", "the suggested slice too", "a random wrong slice too"

#: Fewest slices of an object of which some are drawn.
_FEWEST = 9


def _predict(asked: StudyQuestion) -> Iterator[Prediction]:
    rng = np.random.default_rng(asked.seed)
    for number, (name, mask) in enumerate(asked.masks.items()):
        truth = asked.stack.extract(mask)
        there = np.flatnonzero(truth.any(axis=(1, 2)))
        if len(there) < _FEWEST:
            continue
        # Two, three or four slices, not quite to the ends.
        drawn = np.linspace(there[0] + 1, there[-1] - 1, 2 + number % 3).round().astype(int).tolist()
        before = _filled(asked, truth, drawn)
        wrong = np.flatnonzero((asked.stack.extract(before.mask) != truth).any(axis=(1, 2))).tolist()
        if before.next_slice is None or not wrong:
            continue
        if asked.wants(BEFORE):
            yield Prediction(name, Prompt(BEFORE), before.mask)
        for method, index in ((SUGGESTED, before.next_slice.slice_index), (RANDOM, int(rng.choice(wrong)))):
            if asked.wants(method):
                after = _filled(asked, truth, sorted({*drawn, index}))
                yield Prediction(name, Prompt(method), after.mask)


def _filled(asked: StudyQuestion, truth: BoolMask, drawn: Sequence[int]) -> ConceptResult:
    mask = np.zeros_like(truth)
    mask[list(drawn)] = truth[list(drawn)]
    shown = MaskPromptRAS(np.ascontiguousarray(asked.stack.insert(mask)), tuple(drawn))
    prompts = {"object": TargetPrompts(masks=(shown,), is_phrase=False)}
    request = SegmentRequest(("object",), plane=asked.stack.plane, mode=Mode.FROM_PROMPTS, prompts=prompts)
    return asked.segment(request).concepts[0]


NEXT_SLICE = Study(
    "next-slice",
    _predict,
    (BEFORE, SUGGESTED, RANDOM),
    seeds=(300, 320),
    spacing=5.0,
    concepts=ORGANS,
    groups={"organs": ORGANS},
    compared=((SUGGESTED, BEFORE), (RANDOM, BEFORE), (SUGGESTED, RANDOM)),
    needs_model=False,
)
