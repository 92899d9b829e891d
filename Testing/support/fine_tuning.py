"""Short trainings of a tiny model on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.training.batches import BatchPlan
from MedSAM3SegmentLib.training.dataset import LabelledStack
from MedSAM3SegmentLib.training.fine_tuning.fine_tune import TrainingRun, fine_tune
from MedSAM3SegmentLib.training.fine_tuning.recipe import FineTuning
from MedSAM3SegmentLib.training.fine_tuning.tuning import Tune
from MedSAM3SegmentLib.training.loop import Schedule


def recipe(tune: Tune, steps: int = 1, **more: object) -> FineTuning:
    schedule = Schedule(steps, 1e-3, warmup=1, save_every=2)
    return FineTuning(tune, schedule, BatchPlan(slices=4, phrases=2, others=["lung"]), **more)  # type: ignore[arg-type]


def tune(
    model: Sam3Detector, stacks: list[LabelledStack], how: FineTuning, output: Path, base: Path, **more: object
) -> None:
    card = replace(model.card, name=output.name, base=str(base), base_sha256=model.identity.sha256)
    if how.tune is Tune.ALL:
        card = replace(card, base="", base_sha256="")
    fine_tune(model, stacks, how, card, TrainingRun(output, **more))  # type: ignore[arg-type]


class StopAtStep:
    """Cancels a training when it is asked whether to before a step, not while its pictures are summarized."""

    def __init__(self, step: int) -> None:
        self._step, self._asked, self._has_begun = step, 0, False

    @property
    def hooks(self) -> dict[str, object]:
        """What ``tune`` takes more."""
        return {"say_memory": self._begin, "cancel": self._is_over}

    def _begin(self, _memory: object) -> None:
        self._has_begun = True

    def _is_over(self) -> bool:
        self._asked += self._has_begun
        return self._asked > self._step
