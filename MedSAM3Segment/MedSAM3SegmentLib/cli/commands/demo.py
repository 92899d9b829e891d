"""``medsam3 demo``: the whole road at once, on a synthetic abdomen whose organs are known exactly."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.cli.options.model import ModelSection, add_model_options
from MedSAM3SegmentLib.cli.output_files import written_together
from MedSAM3SegmentLib.cli.segment_file import SegmentJob, segment_file
from MedSAM3SegmentLib.cli.signals import Interruption
from MedSAM3SegmentLib.cli.terminal import Terminal
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.evaluation.metrics import dice
from MedSAM3SegmentLib.io.atomic_write import check_folder
from MedSAM3SegmentLib.io.formats.write_nifti import write_nifti
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.io.segmentation import write_segmentation
from MedSAM3SegmentLib.model_store.resolve import DEMO, find
from MedSAM3SegmentLib.reporting.report import write_report
from MedSAM3SegmentLib.reporting.versions import package_versions
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.vocabulary.terminology import terminology_entry
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    from rich.table import Table

    from MedSAM3SegmentLib.results.result import ConceptResult, SegmentResult
    from MedSAM3SegmentLib.synthetic.phantom import Phantom

#: What the demo asks for: organs, tumours, another wording, and two things that no phantom has.
CONCEPTS = (
    "liver",
    "spleen",
    "left kidney",
    "kidney, right",
    "spine",
    "aorta",
    "stomach",
    "tumor",
    "urinary bladder",
    "banana",
)

#: What is written: the abdomen, its true segmentation, what was found, a picture of it, and all numbers.
FILES = ("phantom.nii.gz", "truth.seg.nrrd", "segmentation.seg.nrrd", "preview.png", "report.json")

#: A CT-like phantom that training never saw, with everything in it but a stomach.
DEFAULT_SEED = 24


@dataclass(frozen=True)
class Agreement:
    """One concept against the truth.

    Attributes:
        true_voxels: how many it really has; 0 when it is absent.
        dice: 3D Dice of what was found with the truth.
    """

    concept: ConceptResult
    true_voxels: int
    dice: float


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], **common: object) -> None:
    """Add ``demo`` to the shell's commands."""
    parser = subparsers.add_parser(
        "demo",
        help="make a synthetic abdomen, segment it and compare with the truth",
        description=(
            "Make a synthetic abdomen, segment several concepts in it as 'medsam3 segment' does, and print how well "
            "they agree with the truth. Writes the volume, its true segmentation, the segmentation, a picture and a "
            "report."
        ),
        **common,  # type: ignore[arg-type]
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, default=Path("medsam3-demo"), help="folder to write into (medsam3-demo)"
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=DEFAULT_SEED, help=f"which abdomen to make (default: {DEFAULT_SEED})"
    )
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    """Do what ``medsam3 demo`` was asked to."""
    if options.seed < 0:
        raise InputError(f"The seed {options.seed} is negative; give a whole number from 0.")
    folder: Path = options.output
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder to write into.")
    check_folder(folder / "report.json") if folder.exists() else check_folder(folder)
    _warn_of_known_seed(options.seed, terminal)
    is_new = not folder.exists()
    folder.mkdir(exist_ok=True)
    try:
        phantom, result, agreements = _make(folder, options, terminal, interruption)
    except BaseException:
        if is_new:
            folder.rmdir()
        raise
    terminal.result(_table(phantom, agreements))
    present = [agreement.dice for agreement in agreements if agreement.true_voxels]
    terminal.result(f"Mean Dice of the {len(present)} concepts that are there: {np.mean(present):.3f}.")
    if result.provenance.model.is_demo:
        terminal.result("DEMO MODEL on a synthetic abdomen: these numbers say nothing about real patients.")
    terminal.result(f"Open phantom.nii.gz and segmentation.seg.nrrd of {folder} in 3D Slicer, or look at preview.png.")


def _make(
    folder: Path, options: argparse.Namespace, terminal: Terminal, interruption: Interruption
) -> tuple[Phantom, SegmentResult, list[Agreement]]:
    """All files of the demo, or none."""
    from MedSAM3SegmentLib.synthetic.phantom import make_phantom

    paths = [folder / name for name in FILES]
    with written_together(paths, interruption) as drafts:
        image, truth, segmentation, preview, report = (drafts[path] for path in paths)
        with terminal.busy("making a synthetic abdomen"):
            phantom = make_phantom(options.seed)
            _write_image(image, phantom)
            _write_truth(truth, phantom, options.seed)
        request = SegmentRequest(CONCEPTS)
        job = SegmentJob(image, segmentation, request, ModelSection.of(options), report, preview)
        _, result, _ = segment_file(job, terminal, interruption)
        agreements = [_agreement(phantom, concept) for concept in result.concepts]
        _add_to_report(report, options.seed, agreements)
    return phantom, result, agreements


def _agreement(phantom: Phantom, concept: ConceptResult) -> Agreement:
    # What a phantom never has, a banana, is absent.
    truth = phantom.masks.get(concept.prompt, np.zeros_like(concept.mask))
    return Agreement(concept, int(np.count_nonzero(truth)), dice(concept.mask, truth))


def _table(phantom: Phantom, agreements: list[Agreement]) -> Table:
    """What was found of each concept, and how well it agrees with the truth."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{phantom.volume.name}, {phantom.volume.modality}-like")
    for heading in ("concept", "truth", "result"):
        table.add_column(heading)
    for heading in ("true volume", "volume", "Dice"):
        table.add_column(heading, justify="right")
    millilitres = phantom.volume.grid.voxel_volume_mm3 / 1000
    for agreement in agreements:
        concept, is_there = agreement.concept, agreement.true_voxels > 0
        table.add_row(
            concept.concept,
            "present" if is_there else "absent",
            Text("found" if concept.found else "not found", "green" if concept.found == is_there else "red"),
            f"{agreement.true_voxels * millilitres:.0f} mL" if is_there else "",
            f"{concept.voxels * millilitres:.0f} mL" if concept.found else "",
            f"{agreement.dice:.3f}" if is_there else "",
        )
    return table


def _add_to_report(path: Path, seed: int, agreements: list[Agreement]) -> None:
    report = json.loads(path.read_text(encoding="utf-8"))
    for concept, agreement in zip(report["concepts"], agreements, strict=True):
        concept["true_voxels"] = agreement.true_voxels
        concept["dice"] = round(agreement.dice, 4)
    write_report(path, {**report, "phantom_seed": seed})


def _write_image(path: Path, phantom: Phantom) -> None:

    write_nifti(path, phantom.volume.array, phantom.volume.grid)


def _write_truth(path: Path, phantom: Phantom, seed: int) -> None:
    vocabulary = Vocabulary.load()
    segments = [
        Segment(
            name,
            phantom.masks[name],
            vocabulary.color_for(name),
            terminology_entry(vocabulary.find(name)),
        )
        for name in phantom.present
    ]
    write_segmentation(path, segments, phantom.volume.grid, {"phantom": seed, "versions": package_versions()})


def _warn_of_known_seed(seed: int, terminal: Terminal) -> None:
    recipe = ModelCard.load(find(DEMO)).training["recipe"]
    first = int(recipe["first_seed"])
    if first <= seed < first + int(recipe["phantoms"]):
        terminal.note(
            f"The demo model was trained on abdomen {seed}; take a seed below {first} for an honest test.",
            "yellow",
        )
