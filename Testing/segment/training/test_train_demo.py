"""The demo model's recipe: one run, which a break does not change, on phantoms that give way to new ones."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.synthetic.anatomy import Anatomy
from MedSAM3SegmentLib.training.architecture import Architecture
from MedSAM3SegmentLib.training.dataset import LabelledStack, phantom_stacks
from MedSAM3SegmentLib.training.demo_recipe import DemoRecipe, Refinement, TrackerStage, phantom_lessons
from MedSAM3SegmentLib.training.train_demo import PhantomBatches, train_demo
from support.paths import ROOT

RECIPE = DemoRecipe(
    phantoms=1,
    steps=1,
    merges=20,
    refinement=Refinement(phantoms=20, steps=1),
    tracker=TrackerStage(phantoms=1, steps=1, refinement_steps=1, thickness_mm=(20.0, 21.0)),
)


def test_the_recipe_makes_a_demo_with_a_tracker_and_a_break_between_both_changes_nothing(tmp_path: Path) -> None:
    stopped = False

    def stop() -> bool:
        # As soon as the detector is there.
        return stopped or (tmp_path / "broken" / "model.safetensors").exists()

    with pytest.raises(Cancelled):
        train_demo(tmp_path / "broken", RECIPE, cancel=stop)
    assert load_model(str(tmp_path / "broken"), "cpu").tracker is None
    train_demo(tmp_path / "broken", RECIPE, resume=True)
    train_demo(tmp_path / "whole", RECIPE)

    model = load_model(str(tmp_path / "broken"), "cpu")
    assert model.identity.is_demo
    assert model.tracker is not None
    assert model.card.training["recipe"]["phantoms"] == 1
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("broken", "whole")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    # A model with its tracker stays within 12 MB.
    assert (tmp_path / "whole" / "model.safetensors").stat().st_size < 11.5e6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "whole"]


def test_old_phantoms_give_way_to_new_ones_and_a_break_does_not_change_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (stack,) = phantom_stacks([3], (30.0, 31.0))
    made: list[int] = []

    def one(_batches: PhantomBatches, seed: int) -> LabelledStack:
        made.append(seed)
        return replace(stack, slices=stack.slices + np.int16(seed))

    monkeypatch.setattr(PhantomBatches, "_stack", one)
    recipe = DemoRecipe(phantoms=100, at_once=40, steps=6, refinement=None)
    plan = replace(phantom_lessons(0).plan, slices=1, phrases=1)
    whole = PhantomBatches(recipe, plan, Architecture())
    drawn = []
    for step in range(recipe.steps):
        if step == 4:
            state = whole.rng.bit_generator.state
        drawn.append(whole.draw())
    assert made == list(range(1000, 1080))  # each once, and none beyond the last
    assert list(whole.seeds(0)) == list(range(1000, 1040))

    again = PhantomBatches(recipe, plan, Architecture(), done=4)
    again.rng.bit_generator.state = state
    for step in (4, 5):
        batch = again.draw()
        assert batch.phrases == drawn[step].phrases
        assert torch.equal(batch.pixels, drawn[step].pixels)


def test_the_refinement_goes_on_with_new_phantoms_and_asks_for_tumors_more_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until it begins, all is as it is without one."""
    (stack,) = phantom_stacks([8], (30.0, 31.0))
    monkeypatch.setattr(PhantomBatches, "_stack", lambda _batches, _seed: stack)
    recipe = DemoRecipe(phantoms=40, at_once=40, steps=3, refinement=Refinement(phantoms=40, steps=4, focus_weight=50))
    plan = replace(phantom_lessons(0).plan, slices=1, focus_probability=1.0)
    with_it = PhantomBatches(recipe, plan, Architecture())
    without = PhantomBatches(replace(recipe, refinement=None), plan, Architecture())
    assert (with_it.steps, without.steps) == (7, 3)
    assert [with_it.seeds(step).start for step in range(8)] == [1000, 1000, 1000, 1000, 1000, 1020, 1020, 1040]
    for _ in range(3):
        assert with_it.draw().phrases == without.draw().phrases

    def share(batches: PhantomBatches) -> float:
        asked = [batches.draw() for _ in range(80)]
        there = [
            phrase
            for batch in asked
            for phrase, target in zip(batch.phrases, batch.targets, strict=True)
            if len(target.boxes)
        ]
        return float(np.mean([any(word in phrase for word in ("tumor", "lesion", "mass")) for phrase in there]))

    monkeypatch.setattr(PhantomBatches, "seeds", lambda _batches, _step: range(1000, 1040))
    assert share(with_it) > share(without) + 0.1


def test_every_other_phantom_has_more_tumors_of_kidneys_and_lacks_more_organs() -> None:
    recipe = DemoRecipe()

    def share(concept: str, **patient: float) -> float:
        rngs = [np.random.default_rng([seed, 0]) for seed in range(200)]
        patients = [
            Anatomy.random(rng, patient.get("absence", 0.15), patient.get("kidney_tumor", 0.18)) for rng in rngs
        ]
        if concept == "kidney tumor":
            return float(np.mean([any("kidney" in host for host, _ in one.tumours) for one in patients]))
        return float(np.mean([concept in one.organs for one in patients]))

    more = {"absence": recipe.absence, "kidney_tumor": recipe.kidney_tumor}
    assert share("spleen", **more) < share("spleen") - 0.15
    assert share("kidney tumor", kidney_tumor=recipe.kidney_tumor) > share("kidney tumor") + 0.2


@pytest.mark.slow
def test_two_processes_train_detector_and_tracker_as_one(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(f"""
        import json, sys
        sys.path.insert(0, {str(ROOT / "MedSAM3Segment")!r})
        from pathlib import Path
        import torch
        torch.set_num_threads(1)
        from MedSAM3SegmentLib.training import detector_trainer, loop
        from MedSAM3SegmentLib.training.demo_recipe import DemoRecipe, TrackerStage
        from MedSAM3SegmentLib.training.processes import training_processes
        from MedSAM3SegmentLib.training.train_demo import train_demo

        detector_trainer.training_dtype = lambda _device: torch.float32
        loop._REPORT_AFTER_S = float("inf")  # One report of all steps, however long they take.
        tracker = TrackerStage(phantoms=3, steps=2, refinement_steps=0, thickness_mm=(20.0, 21.0))
        recipe, losses = DemoRecipe(phantoms=1, steps=3, merges=20, refinement=None, tracker=tracker), []
        with training_processes("cpu") as (processes, _):
            report = lambda state: losses.append(state.losses)
            train_demo(Path(sys.argv[1]), recipe, report=report, processes=processes)
        if processes.is_first:
            Path(sys.argv[1] + ".json").write_text(json.dumps(losses))
        """)
    )
    subprocess.run([sys.executable, str(script), str(tmp_path / "one")], check=True, timeout=600)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launcher, str(script), str(tmp_path / "two")], check=True, timeout=600, capture_output=True)
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert [{"presence", "semantic", "mask dice"} <= losses.keys() for losses in one] == [True, False]
    assert "score" in one[1]
    assert two[0] == pytest.approx(one[0], rel=1e-3)
    assert two[1] == pytest.approx(one[1], rel=1e-2)
    assert (tmp_path / "two" / "model.safetensors").is_file()
