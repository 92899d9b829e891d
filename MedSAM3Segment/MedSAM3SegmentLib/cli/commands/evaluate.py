"""``medsam3 evaluate``: how well a model, or any tool's masks, agree with references."""

from __future__ import annotations

import argparse
from pathlib import Path

from MedSAM3SegmentLib.cli.options.model import add_model_options, positive_number
from MedSAM3SegmentLib.cli.signals import Interruption
from MedSAM3SegmentLib.cli.terminal import Terminal
from MedSAM3SegmentLib.evaluation.empty_rule import EmptyRule

#: Fine concepts by words alone and in several wordings; words against words and box; gain over a baseline.
STUDIES = ("fine-concepts", "words-or-boxes", "agent-gain")

#: In which a model is asked in several ways; the figures of this project's pages come from them.
METHOD_STUDIES = ("demo", "propagation", "drawn-slices", "next-slice", "agent")

_EPILOG = """\
Files of --predictions are matched with the references by name. What labels mean is taken from names (.seg.nrrd,
.labels.json), else from numbers, or said with --label.

The output folder gets cases.csv (a row for each case, with counts of voxels, from which any other convention can be
computed), summary.json, tables.md, tables.html, and pictures of the worst, median and best cases. The same command
again goes on where it was ended.

examples:
  medsam3 evaluate --list
  medsam3 evaluate --dataset busi --root data/BUSI --model medsam3-v1 --prompts "T;T+I" --output busi
  medsam3 evaluate --dataset dsb2018 --root data --model medsam3-v1 --prompts "nuclei; cell" --output nuclei
  medsam3 evaluate --nnunet Dataset042_Liver --split fold0 --model medsam3-v1 --output liver
  medsam3 evaluate --predictions mine --references truth --output scores
  medsam3 evaluate --predictions mine --references truth --label liver=1 --label kidney=2,3 --output scores
  medsam3 evaluate --study propagation --model demo --output propagation
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], **common: object) -> None:
    """Add ``evaluate`` to the shell's commands."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score a model or any tool's masks against references",
        description="Score a model, or masks of any tool, against references.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **common,  # type: ignore[arg-type]
    )
    what = parser.add_argument_group("what is evaluated")
    what.add_argument(
        "--list", action="store_true", help="name the data sets, their licenses and what is expected on disk"
    )
    what.add_argument("--dataset", metavar="NAME", help="a public data set that --list names; needs --root")
    what.add_argument("--root", metavar="DIR", type=Path, help="folder that the data set was unpacked into")
    what.add_argument(
        "--split",
        metavar="test|train|val|all|FILE",
        help="cases of the data set (default: test), or a text file with their names; of an nnU-Net folder train, test "
        "or foldN",
    )
    what.add_argument("--partial", action="store_true", help="take a data set that is not complete")
    what.add_argument("--manifest", metavar="FILE.json", type=Path, help="images and labels as for 'medsam3 train'")
    what.add_argument("--nnunet", metavar="DIR", type=Path, help="raw folder of an nnU-Net data set")
    what.add_argument(
        "--phantoms", metavar="A:B", help="synthetic abdomens with the seeds A to B-1, for a --study (default: its own)"
    )
    what.add_argument("--spacing", metavar="MM", type=float, help="between slices of the phantoms of a --study")
    what.add_argument(
        "--video",
        action="store_true",
        help="images of a folder are frames of a film: J and F are measured, and a model follows objects through it",
    )
    what.add_argument(
        "--channel", metavar="N", type=int, default=0, help="which image of an nnU-Net case is segmented (default: 0)"
    )
    what.add_argument(
        "--concept", metavar="NAME", action="append", default=[], help="only this concept; again for more"
    )
    what.add_argument("--limit", metavar="N", type=int, help="the first N cases only, to try it out")
    what.add_argument("--references", metavar="DIR", type=Path, help="masks or label maps that are right")
    what.add_argument("--predictions", metavar="DIR", type=Path, help="masks or label maps of any tool")
    what.add_argument(
        "--label",
        metavar="NAME=VALUE[,VALUE]",
        action="append",
        default=[],
        help="what values (or names of segments) in references and predictions mean; again for more",
    )
    what.add_argument(
        "--objects", action="store_true", help="each value is an object of its own, as in maps of cells: PQ and AP too"
    )
    what.add_argument(
        "--missing-as-empty", action="store_true", help="a case without a prediction counts as nothing found"
    )
    model = parser.add_argument_group("the model that is evaluated, in place of --predictions")
    add_model_options(model)  # type: ignore[arg-type]
    model.add_argument(
        "--prompts",
        metavar="T|T+I|PHRASE",
        action="append",
        help="T by words, T+I by words and an oracle box around the reference, 'T;T+I' both; or phrases in place of "
        "the data set's, as in 'nuclei; cell' or 'CONCEPT=phrase; phrase' (default: T)",
    )
    model.add_argument("--threshold", metavar="0..1", type=float, help="lowest score (default: the model's own)")
    model.add_argument(
        "--study",
        choices=(*STUDIES, *METHOD_STUDIES),
        metavar="NAME",
        help=f"one of the questions that the paper leaves open ({', '.join(STUDIES)}), or one that asks a model in "
        f"several ways, on phantoms or on your cases ({', '.join(METHOD_STUDIES)}); see docs/evaluate.md",
    )
    model.add_argument(
        "--methods", metavar="NAME[;NAME]", help="only these ways of asking in a study (default: all usual ones)"
    )
    model.add_argument("--conditions", metavar="NAME[;NAME]", help="only under these conditions of a study")
    how = parser.add_argument_group("how it is scored")
    how.add_argument("--output", metavar="DIR", type=Path, help="folder to write")
    how.add_argument("--baseline", metavar="DIR", type=Path, help="--output of an earlier run to compare with")
    how.add_argument(
        "--tolerance", metavar="MM", type=float, default=2.0, help="of NSD, in mm, or pixels of pictures (default: 2)"
    )
    how.add_argument("--no-surfaces", action="store_true", help="leave out HD95 and NSD")
    how.add_argument(
        "--empty-rule",
        choices=[rule.value for rule in EmptyRule],
        default=EmptyRule.LEFT_OUT.value,
        help="cases without a reference are left out of means (default), or count as 1 or 0",
    )
    how.add_argument(
        "--jobs",
        metavar="N",
        type=positive_number,
        default=0,
        help="processes that score cases while the next are segmented (default: none; a case is scored when it is "
        "segmented); results are the same",
    )
    how.add_argument("--no-pictures", action="store_true", help="draw no pictures")
    parser.set_defaults(run=run, model=None)


def run(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    """Do what ``medsam3 evaluate`` was asked to."""
    from MedSAM3SegmentLib.cli.evaluate_run import evaluate_as_asked

    evaluate_as_asked(options, terminal, interruption)
