"""The shell's options for labelled images to train on, and ``--check-data``, which lists their faults."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.cli.terminal import Terminal
from MedSAM3SegmentLib.datasets.findings import Findings, Say
from MedSAM3SegmentLib.datasets.label_files import values_by_concept
from MedSAM3SegmentLib.datasets.labelled_case import LabelledDataset
from MedSAM3SegmentLib.datasets.read_dataset import DatasetOptions, read_dataset
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.units import format_count

if TYPE_CHECKING:
    from MedSAM3SegmentLib.training.dataset import LabelledStack

#: The formats, for the end of ``--help``.
DATA_HELP = """\
DATA is one of (docs/training-data.md):
  a manifest        a JSON file that names images, label maps on the same grid, and what the labels mean:
                    {"cases": [{"image": "a.nii.gz", "labels": "a-labels.nii.gz",
                                "concepts": {"liver": [1], "kidney": [2, 3], "tumor": []}}]}
                    [] says that a concept is absent. "plane", "labelled_slices", "ignore" and "split" may be added.
  an nnU-Net folder with dataset.json, imagesTr and labelsTr; regions and the label "ignore" are understood
  COCO's JSON       or a folder with train/_annotations.coco.json; names of categories are the phrases
  images with .seg.nrrd beside them, as 3D Slicer saves them; names of segments are the phrases
  images/ and masks/ with files of the same names, or masks/CONCEPT/ with one mask each
"""


def add_training_data_options(parser: argparse.ArgumentParser, data: argparse._MutuallyExclusiveGroup) -> None:
    """Add ``--data`` and what a format may not say itself.

    Args:
        data: where there is a choice between kinds of data.
    """
    data.add_argument(
        "--data",
        "--manifest",
        dest="manifest",
        metavar="DATA",
        type=Path,
        help="train on labelled images: a manifest, an nnU-Net folder, COCO, or folders of images (see below)",
    )
    group = parser.add_argument_group("labelled images")
    group.add_argument(
        "--check-data",
        action="store_true",
        help="list every fault of the data, train nothing, and end with exit code 2 if there is one",
    )
    group.add_argument(
        "--label",
        metavar="NAME=VALUE[,VALUE...]",
        action="append",
        default=[],
        help="what a label means, for label maps that do not say it; may be repeated",
    )
    group.add_argument(
        "--labelled-slices",
        choices=("all", "drawn"),
        help="whether somebody looked at all slices, or at those alone on which something is labelled; the others then "
        "teach nothing",
    )
    group.add_argument(
        "--fold", metavar="N", type=int, help="which fold of an nnU-Net folder validates (default: none)"
    )
    group.add_argument(
        "--channel", metavar="N", type=int, help="which image of an nnU-Net case is learnt from (default: 0)"
    )


def check_data_options(options: argparse.Namespace) -> None:
    """Find out before anything is read whether options fit each other.

    Raises:
        InputError: they do not.
    """
    has_data = options.manifest is not None or bool(getattr(options, "pairs", ()))
    given = {
        "--check-data": options.check_data,
        "--label": bool(options.label),
        "--labelled-slices": options.labelled_slices is not None,
        "--fold": options.fold is not None,
        "--channel": options.channel is not None,
    }
    for name in (name for name, is_given in given.items() if is_given and not has_data):
        raise InputError(f"{name} is for labelled images; name them with --data.")
    if options.manifest is not None and not options.manifest.exists():
        raise InputError(f"The training data {options.manifest} does not exist; check the path.")
    values_by_concept(options.label)


def dataset_of(
    options: argparse.Namespace, findings: Findings | None = None, data: Path | None = None
) -> LabelledDataset:
    """The data set that ``--data`` names, or another one that is read with the same options.

    Raises:
        InputError: it cannot be used.
        PackageError: a package that reads its format is not installed.
    """
    chosen = DatasetOptions(
        values_by_concept(options.label), options.fold, options.channel or 0, options.labelled_slices
    )
    return read_dataset(data or options.manifest, findings, chosen)


def training_stacks(
    options: argparse.Namespace, say: Say, split: str | None = "train", data: Path | None = None
) -> Iterator[LabelledStack]:
    """The stacks of the data set that ``--data`` names, read one after another.

    Args:
        say: told, behind the last, what was learnt as absent and what was left out.
        split: which part of it, or None for all.
        data: another data set in place of it.

    Raises:
        InputError: a file cannot be used, or would teach nonsense.
    """
    from MedSAM3SegmentLib.training.dataset import read_stacks

    findings = Findings()
    yield from read_stacks(dataset_of(options, findings, data), findings, split)
    for sentence in findings.sentences():
        say(sentence)


def check_data(
    terminal: Terminal, name: str | Path, read: Callable[[Findings], LabelledDataset], split: str | None = None
) -> None:
    """List what is wrong with the data, all of it.

    Args:
        name: of the data.
        read: reads them.
        split: which part of it, or None for all.

    Raises:
        InputError: there is a fault.
    """
    from MedSAM3SegmentLib.training.dataset import read_stacks

    findings = Findings(faults=[])
    faults = findings.faults
    assert faults is not None
    slices, stacks, concepts = 0, 0, dict[str, None]()
    try:
        dataset = read(findings)
        terminal.note(f"{name} is {dataset.format} of {format_count(len(dataset.cases), 'case')}.")
        for stack in read_stacks(dataset, findings, split) if dataset.cases else ():
            stacks += 1
            slices += sum(stack.is_known(index) for index in range(len(stack.slices)))
            concepts.update(dict.fromkeys(stack.concepts))
    except InputError as error:
        findings.refuse(str(error))
    for sentence in findings.sentences():
        terminal.note(sentence, "yellow")
    for number, sentence in enumerate(faults, start=1):
        terminal.note(f"Fault {number}: {sentence}", "red")
    if faults:
        raise InputError(
            f"{name} has {format_count(len(faults), 'fault')}, listed above; correct the data before training."
        )
    terminal.result(
        f"{name} can be trained on: {format_count(stacks, 'case')}, {format_count(slices, 'labelled slice')}, "
        f"{format_count(len(concepts), 'concept')} ({', '.join(concepts)})."
    )
