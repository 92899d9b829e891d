"""``medsam3 train``: from labeled images, or synthetic ones, to a model folder."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.cli.options.model import add_threads_option
from MedSAM3SegmentLib.cli.options.training import FineTuningSection, add_fine_tuning_options
from MedSAM3SegmentLib.cli.options.training_data import (
    DATA_HELP,
    add_training_data_options,
    check_data,
    check_data_options,
    dataset_of,
)
from MedSAM3SegmentLib.cli.signals import Interruption
from MedSAM3SegmentLib.cli.terminal import Terminal, duration
from MedSAM3SegmentLib.cli.train_run import STEPS, train
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.io.atomic_write import check_folder
from MedSAM3SegmentLib.training.demo_recipe import DemoRecipe, Refinement, TrackerStage

if TYPE_CHECKING:
    from MedSAM3SegmentLib.training.loop import TrainingState
    from MedSAM3SegmentLib.training.train import Report

#: Steps between lines in a log that nobody watches.
_LOG_EVERY = 100

_EPILOG = f"""\
Without --phantoms and --data a demo model is made anew, by the recipe of the one that ships (hours on one CPU
core).

{DATA_HELP}
With --tracker a model gets a tracker, which carries objects from slice to slice. Its own weights stay as they are; the
tracker learns from the same kind of data, of which it needs volumes with many labelled slices one after another.

examples:
  medsam3 train --output my-demo
  medsam3 train --output my-demo --resume
  medsam3 train --check-data --data cases.json
  medsam3 train --output liver-model --data cases.json --base demo --steps 500
  medsam3 train --output liver-lora --data cases.json --base sam3 --tune lora --validation 0.2
  medsam3 train --output liver-lora --data cases.json --base sam3 --tune lora --validation 0.2 --resume
  torchrun --nproc-per-node 2 --no-python medsam3 train --output liver-lora --data cases.json --base sam3
  medsam3 train --output small-model --phantoms 50 --architecture small.json --steps 300
  medsam3 train --output liver-tracker --tracker --base liver-model --data cases.json

Ctrl-C stops training and leaves the last snapshot (with --validation the best one) in the output folder. A training on
a base, and of the demo model, keeps where it is in OUTPUT.training until it is done; --resume goes on from there.
docs/training.md has more.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], **common: object) -> None:
    """Add ``train`` to the shell's commands."""
    parser = subparsers.add_parser(
        "train",
        help="train a model on labelled volumes or on synthetic ones",
        description="Train a SAM 3 of any size to find concepts in slices.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **common,  # type: ignore[arg-type]
    )
    parser.add_argument("--output", metavar="DIR", type=Path, help="model folder to write; it must not exist yet")
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--demo", action="store_true", help="make the demo model (what happens without data as well)")
    data.add_argument("--phantoms", metavar="N", type=int, help="train on N synthetic abdomens")
    add_training_data_options(parser, data)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--base", "--model", metavar="MODEL", help="train this model on: demo, a folder or a hub id")
    start.add_argument(
        "--architecture", metavar="FILE.json", type=Path, help="size of a new model (default: the demo model's)"
    )
    parser.add_argument("--tracker", action="store_true", help="train a tracker for the model that --base names")
    parser.add_argument(
        "--steps",
        metavar="N",
        type=int,
        help=f"batches of 8 slices (default: {STEPS}, or the demo's recipe: {DemoRecipe.steps} and {Refinement.steps} "
        f"of its refinement, which N leaves out); with --tracker, short runs of slices ({TrackerStage.steps} and "
        f"{TrackerStage.refinement_steps})",
    )
    parser.add_argument("--seed", metavar="N", type=int, help="of first weights and choices (default: 1)")
    parser.add_argument(
        "--learning-rate",
        metavar="R",
        type=float,
        help="highest rate (default: the demo recipe's; on a base MedSAM-3's 5e-5 for LoRA and Meta's 8e-5, more where "
        "the base is as small as the demo model)",
    )
    parser.add_argument(
        "--device", metavar="auto|cuda|mps|cpu", help="where to train (default: auto; the demo model on the CPU)"
    )
    add_threads_option(parser)
    add_fine_tuning_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    """Do what ``medsam3 train`` was asked to."""
    check_data_options(options)
    if options.check_data:
        check_data(terminal, options.manifest, lambda findings: dataset_of(options, findings))
        return
    _check(options)
    output: Path = options.output
    started = time.monotonic()
    if os.environ.get("RANK", "0") != "0":
        # One of several that torchrun started, of which the first speaks, writes and cleans up.
        with interruption.gently() as stop:
            train(options, terminal, lambda _state: None, stop)
        return
    terminal.note(f"Training {output} on {_data(options)}.")
    with interruption.gently() as stop, _nothing_half_done(output), _progress(terminal) as report:
        train(options, terminal, report, stop)
    size = sum(file.stat().st_size for file in output.iterdir()) / 1e6
    terminal.result(
        f"Wrote the model folder {output} ({size:.1f} MB) in {duration(time.monotonic() - started)}; "
        f"use it with --model {output}."
    )


def _check(options: argparse.Namespace) -> None:
    """Find out before the long run what can be known to be wrong.

    Raises:
        InputError: saying what.
    """
    output: Path = options.output
    if output is None:
        raise InputError("--output is missing; name the model folder to write.")
    _ = FineTuningSection.of(options)  # Refuses what cannot be.
    resumed = bool(options.resume)
    if output.is_dir():
        if not resumed and any(output.iterdir()):
            raise InputError(f"The folder {output} is not empty and training replaces it whole; give a new one.")
    elif output.exists():
        raise InputError(f"{output} is a file; give the name of a new folder.")
    else:
        check_folder(output)
    for name, value in (("phantoms", options.phantoms), ("steps", options.steps)):
        if value is not None and value < 1:
            raise InputError(f"--{name} {value} is too few; give at least 1.")
    if options.seed is not None and options.seed < 0:
        raise InputError(f"The seed {options.seed} is negative; give a whole number from 0.")
    rate = options.learning_rate
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise InputError(f"The learning rate {rate:g} is not above 0.")
    if options.tracker:
        _check_tracker(options)
    elif options.phantoms is None and options.manifest is None:
        given = {"--base": options.base, "--architecture": options.architecture, "--learning-rate": rate}
        for name in (name for name, value in given.items() if value is not None):
            raise InputError(f"{name} does not go with the demo model's recipe; add --phantoms N or --data DATA.")
        if options.device not in (None, "cpu"):
            raise InputError("The demo model is made on the CPU, so that it comes out the same; leave --device out.")


def _check_tracker(options: argparse.Namespace) -> None:
    if options.base is None:
        raise InputError("--tracker needs a model to track for; name it with --base.")
    if options.demo:
        raise InputError("--demo makes the demo model with its tracker; leave --tracker out.")


def _data(options: argparse.Namespace) -> str:
    if options.manifest is not None:
        return f"the volumes of {options.manifest}"
    usual = TrackerStage.phantoms if options.tracker else DemoRecipe.phantoms
    if not options.tracker and options.steps is None:
        usual += Refinement.phantoms
    return f"{options.phantoms or usual} synthetic abdomens"


@contextmanager
def _nothing_half_done(output: Path) -> Iterator[None]:
    """After an interruption, keep the last snapshot if there is one, and nothing else, and say which."""
    state = output.with_name(output.name + ".training")
    try:
        yield
    except (Cancelled, KeyboardInterrupt):
        if any(output.glob("*.safetensors")):
            kept = f"the last snapshot is in {output}"
        else:
            kept = "there was no snapshot yet, so nothing was written"
        if (state / "state.pt").exists():
            kept += "; --resume goes on with it"
        raise Cancelled(f"Training was stopped; {kept}.") from None
    finally:
        shutil.rmtree(output.with_name(output.name + ".part"), ignore_errors=True)
        if state.is_dir() and not (state / "state.pt").exists():
            shutil.rmtree(state, ignore_errors=True)


@contextmanager
def _progress(terminal: Terminal) -> Iterator[Report]:
    """Show how far training is: in a bar, or in a line now and then where nobody watches."""
    with terminal.progress() as show:
        show("preparing the training volumes", 0, None, "")

        def report(state: TrainingState) -> None:
            losses = "  ".join(f"{name} {value:.2f}" for name, value in state.losses.items())
            show("training", state.step, state.steps, "steps", state.seconds_left, losses)
            if not terminal.shows_progress and (state.step % _LOG_EVERY == 0 or state.step == state.steps):
                terminal.note(f"step {state.step}/{state.steps}, {duration(state.seconds_left)} left: {losses}")

        yield report
