"""``medsam3 learn``: segmentations that a person drew or corrected, into an adapter that is kept if it is worth it."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.cli.options.model import add_threads_option, positive_number
from MedSAM3SegmentLib.cli.options.training_data import (
    add_training_data_options,
    check_data,
    check_data_options,
    dataset_of,
)
from MedSAM3SegmentLib.cli.signals import Interruption
from MedSAM3SegmentLib.cli.terminal import Terminal, duration
from MedSAM3SegmentLib.datasets.findings import Findings
from MedSAM3SegmentLib.datasets.label_files import values_by_concept
from MedSAM3SegmentLib.datasets.labelled_case import LabelledDataset
from MedSAM3SegmentLib.datasets.segmented_volumes import parse_pair, segmented_dataset
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.atomic_write import atomic_write, check_folder
from MedSAM3SegmentLib.units import format_bytes

if TYPE_CHECKING:
    from rich.table import Table

    from MedSAM3SegmentLib.training.learning.learn import LearnOptions, LearnProgress
    from MedSAM3SegmentLib.training.learning.outcome import LearnOutcome

#: Steps between lines in a log that nobody watches.
_LOG_EVERY = 20

_EPILOG = """\
What is learnt are the slices that a person drew or corrected: a .seg.nrrd that this program wrote remembers what it
wrote, so that the slices that differ count; of other segmentations all slices with a voxel. --labelled-slices all says
that somebody looked at every slice, which teaches where nothing is, too.

A part is held out: whole volumes where there are three or more, else one labelled slice in four. The adapter is
installed only if that part gets better and no earlier task of the same adapter gets worse by more than --margin; else
nothing is changed, and a sentence says why.

A few slices of what was learnt are kept beside the installed models, on this computer alone, so that --continue does
not forget them; 'medsam3 adapters list' says how much that is, 'medsam3 adapters remove' deletes it.

examples:
  medsam3 learn a.nrrd=a.seg.nrrd b.nrrd=b.seg.nrrd --adapter our-livers --base sam3
  medsam3 learn ct.nii.gz=labels.nii.gz --label liver=1 --adapter our-livers --base sam3 --modality CT
  medsam3 learn c.nrrd=c.seg.nrrd --continue our-livers
  medsam3 learn --data cases.json --adapter our-livers --base sam3 --check-data
  medsam3 segment new.nrrd --concept liver --model our-livers --output new.seg.nrrd

Exit codes: 0 done (also when nothing was installed), 2 bad input or usage, 3 model missing or broken, 130 interrupted.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], **common: object) -> None:
    """Add ``learn`` to the shell's commands."""
    parser = subparsers.add_parser(
        "learn",
        help="learn from segmentations that were drawn or corrected",
        description="Learn from segmentations that were drawn or corrected, into an adapter.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **common,  # type: ignore[arg-type]
    )
    parser.add_argument("pairs", metavar="IMAGE=SEGMENTATION", nargs="*", help="a volume and what was segmented in it")
    add_training_data_options(parser, parser.add_mutually_exclusive_group())
    parser.add_argument(
        "--concept",
        metavar="NAME",
        action="append",
        default=[],
        help="learn this segment alone; may be repeated (default: all that have a voxel)",
    )
    into = parser.add_mutually_exclusive_group()
    into.add_argument("--adapter", metavar="NAME", help="name of a new adapter; needs --base")
    into.add_argument(
        "--continue", metavar="ADAPTER", dest="continued", help="an installed adapter that learns this in addition"
    )
    parser.add_argument("--base", metavar="MODEL", help="the model that a new adapter goes on top of, such as sam3")
    parser.add_argument(
        "--tune", choices=("lora", "detector"), help="what of a new adapter learns (default: lora); see 'medsam3 train'"
    )
    parser.add_argument("--rank", metavar="N", type=positive_number, help="of LoRA (default: 16)")
    parser.add_argument("--prompts", choices=("T", "T+I", "both"), default="both", help="as for 'medsam3 train'")
    parser.add_argument("--steps", metavar="N", type=positive_number, default=80, help="batches (default: 80)")
    parser.add_argument("--batch-size", metavar="N", type=positive_number, default=8, help="slices (default: 8)")
    parser.add_argument("--accumulate", metavar="N", type=positive_number, default=1, help="batches that make one step")
    parser.add_argument("--learning-rate", metavar="R", type=float, help="highest rate (default: what suits the base)")
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="of all choices (default: 1)")
    parser.add_argument(
        "--hold-out",
        choices=("volumes", "slices"),
        help="what is set apart to judge by (default: volumes where there are three or more)",
    )
    parser.add_argument(
        "--margin",
        metavar="M",
        type=float,
        default=0.02,
        help="how much worse Dice or presence of an earlier task may be (default: 0.02)",
    )
    parser.add_argument(
        "--replay-share",
        metavar="S",
        type=float,
        default=0.5,
        help="of what --continue trains on, slices of earlier tasks (default: 0.5)",
    )
    parser.add_argument("--no-replay", action="store_true", help="keep no slice of this task; it cannot be continued")
    parser.add_argument("--modality", metavar="TEXT", default="", help="what pictures these are, such as 'CT'")
    parser.add_argument("--report", metavar="FILE.json", type=Path, help="also write the figures")
    parser.add_argument("--device", metavar="auto|cuda|mps|cpu", default="auto", help="where to train (default: auto)")
    add_threads_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    """Do what ``medsam3 learn`` was asked to."""
    check_data_options(options)
    if not options.pairs and options.manifest is None:
        raise InputError("There is nothing to learn from; give IMAGE=SEGMENTATION, or a data set with --data.")
    if options.pairs and options.manifest is not None:
        raise InputError("Give pairs of IMAGE=SEGMENTATION or --data, not both.")
    for name in ("fold", "channel"):
        if options.pairs and getattr(options, name) is not None:
            raise InputError(f"--{name} is for an nnU-Net folder; leave it out.")
    if options.concept and options.manifest is not None:
        raise InputError("--concept is for pairs; a data set says itself what its concepts are.")
    if options.check_data:
        check_data(terminal, options.manifest or "What was given", lambda found: _dataset(options, found), "train")
        return
    from MedSAM3SegmentLib.training.learning.learn import check_options, learn

    chosen = _learn_options(options)
    check_options(chosen)
    if options.report is not None:
        check_folder(options.report)
    findings = Findings()
    dataset = _dataset(options, findings)
    with interruption.gently() as stop, terminal.progress() as show:

        def report(state: LearnProgress) -> None:
            losses = "  ".join(f"{name} {value:.2f}" for name, value in state.losses.items())
            show(state.stage.value, state.done, state.total or None, "", state.seconds_left, losses)
            if state.losses and not terminal.shows_progress and state.done % _LOG_EVERY == 0:
                terminal.note(f"step {state.done}/{state.total}, {duration(state.seconds_left or 0)} left: {losses}")

        outcome = learn(dataset, chosen, report=report, cancel=stop)
    for sentence in (*findings.sentences(), *outcome.messages):
        terminal.note(sentence, "yellow")
    terminal.result(_table(outcome))
    terminal.result(str(outcome.reason))
    if options.report is not None:
        with atomic_write(options.report) as draft:
            draft.write_text(json.dumps(_described(outcome), indent=2) + "\n", encoding="utf-8")
    if not outcome.is_installed:
        return
    terminal.result(f"Installed as '{outcome.adapter}' in {outcome.folder}; use it with --model {outcome.adapter}.")
    if outcome.replay:
        terminal.result(
            f"{format_bytes(outcome.replay)} of slices that were learnt are kept on this computer, so that "
            f"--continue {outcome.adapter} does not forget them."
        )


def _dataset(options: argparse.Namespace, findings: Findings) -> LabelledDataset:
    if options.pairs:
        return segmented_dataset(
            [parse_pair(text) for text in options.pairs],
            findings,
            values_by_concept(options.label),
            options.concept,
            options.labelled_slices,
        )
    # What nobody says that somebody looked at is not learnt from.
    options.labelled_slices = options.labelled_slices or "drawn"
    return dataset_of(options, findings)


def _learn_options(options: argparse.Namespace) -> LearnOptions:
    """What was asked for, checked as far as it can be without a look at the disk.

    Raises:
        InputError: something does not go together.
    """
    from MedSAM3SegmentLib.training.fine_tuning.recipe import PromptKind
    from MedSAM3SegmentLib.training.fine_tuning.tuning import LoraOptions, Tune
    from MedSAM3SegmentLib.training.learning.held_out import HoldOut
    from MedSAM3SegmentLib.training.learning.learn import LearnOptions

    name = options.continued or options.adapter
    if name is None:
        raise InputError("Name a new adapter with --adapter, or one that is installed with --continue.")
    new_alone = {"--base": options.base, "--tune": options.tune, "--rank": options.rank}
    for option in (option for option, value in new_alone.items() if value is not None and options.continued):
        raise InputError(f"{option} is for a new adapter; one that is continued keeps its own.")
    if options.rank is not None and options.tune == "detector":
        raise InputError("--rank is for LoRA; leave it out.")
    if options.seed < 0:
        raise InputError(f"The seed {options.seed} is negative; give a whole number from 0.")
    rate = options.learning_rate
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise InputError(f"The learning rate {rate:g} is not above 0.")
    made = LearnOptions(
        name,
        options.base or "",
        bool(options.continued),
        Tune(options.tune or "lora"),
        LoraOptions(rank=options.rank or LoraOptions.rank),
        PromptKind(options.prompts),
        options.steps,
        options.batch_size,
        options.accumulate,
        rate,
        options.seed,
        options.device,
        HoldOut(options.hold_out) if options.hold_out else None,
        margin=options.margin,
        replay_share=options.replay_share,
        modality=options.modality,
    )
    return replace(made, replay_size=None) if options.no_replay else made


def _table(outcome: LearnOutcome) -> Table:
    """Before and after, task by task."""
    from rich.table import Table

    table = Table()
    table.add_column("task", overflow="fold")
    for heading in ("held-out slices", "Dice before", "after", "presence before", "after"):
        table.add_column(heading, justify="right")
    for task in outcome.tasks:
        figures = [task.before.dice, task.after.dice, task.before.presence, task.after.presence]
        shown = ["" if math.isnan(value) else f"{value:.3f}" for value in figures]
        table.add_row(f"{task.name} ({', '.join(task.concepts)})", str(task.held_out), *shown)
    return table


def _described(outcome: LearnOutcome) -> dict[str, object]:
    """Plain JSON values."""
    return {
        "adapter": outcome.adapter,
        "installed": outcome.is_installed,
        "reason": str(outcome.reason),
        "tasks": [task.as_dict() for task in outcome.tasks],
    }
