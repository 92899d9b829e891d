"""``medsam3 segment``: an image file and phrases in, a segmentation file out."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.cli.options.dicomweb import (
    add_dicomweb_options,
    connect_store,
    local_image,
    parse_input,
    store_files,
)
from MedSAM3SegmentLib.cli.options.example import add_example_option, examples_of
from MedSAM3SegmentLib.cli.options.locate import add_locate_option, templates_of
from MedSAM3SegmentLib.cli.options.model import ModelSection, add_engine_option, add_model_options
from MedSAM3SegmentLib.cli.options.prompt import (
    NAMELESS,
    adaptation_of,
    add_prompt_options,
    concepts_of,
    prompts_of,
)
from MedSAM3SegmentLib.cli.options.values import parse_slices
from MedSAM3SegmentLib.cli.options.volume import (
    add_fractional_option,
    add_reading_options,
    add_volume_options,
    with_volume_options,
)
from MedSAM3SegmentLib.cli.segment_file import SegmentJob, segment_file
from MedSAM3SegmentLib.cli.signals import Interruption
from MedSAM3SegmentLib.cli.terminal import Terminal, duration
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.label_map import Overlap
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.segmentation_paths import suffix_of
from MedSAM3SegmentLib.preprocessing.windowing import CT_WINDOWS, Window, window_label
from MedSAM3SegmentLib.reporting.sentences import describe_cut_off, describe_track
from MedSAM3SegmentLib.reporting.slice_sentences import describe_next_slice, describe_sources
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.units import format_volume
from MedSAM3SegmentLib.vocabulary.phrases import split_phrases

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from MedSAM3SegmentLib.cli.write_result import Covered
    from MedSAM3SegmentLib.results.result import ConceptResult, SegmentResult
    from MedSAM3SegmentLib.volume import Volume

_EPILOG = """\
examples:
  medsam3 segment ct.nii.gz --concept "liver; spleen; left kidney" --output ct.seg.nrrd
  medsam3 segment dicom-folder --concept tumor --plane axial --slices 40:90 --output tumor.seg.nrrd \\
      --report tumor.json --preview tumor.png
  medsam3 segment dicom-folder --series 4 --concept liver --output liver.seg.nrrd
  medsam3 segment ct.nii.gz --mode propagate --concept liver --output liver.seg.nrrd
  medsam3 segment ct.nii.gz --mode "from prompts" --mask one-slice.seg.nrrd --output whole.seg.nrrd
  medsam3 segment ct.nii.gz --mode "from prompts" --mask slices.seg.nrrd --model none --output whole.seg.nrrd
  medsam3 segment ct.nii.gz --concept "liver; tumor" --inside liver --output both.seg.nrrd
  medsam3 segment ct.nii.gz --concept tumor --inside liver.seg.nrrd --segments-per instance --output tumors.seg.nrrd
  medsam3 segment https://pacs.example/dicom-web/studies/1.2.3 --series 4 --concept liver --output liver.dcm \\
      --store https://pacs.example/dicom-web
  medsam3 segment new.nii.gz --example old.nii.gz=old.seg.nrrd --model my-model --output new.seg.nrrd
  medsam3 segment new.nii.gz --concept liver --locate old.nii.gz=old.seg.nrrd --output liver.seg.nrrd

Exit codes: 0 done (also when nothing was found), 2 bad input or usage, 3 model missing or broken, 130 interrupted.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], **common: object) -> None:
    """Add ``segment`` to the shell's commands."""
    parser = subparsers.add_parser(
        "segment",
        help="segment concepts in a volume or picture",
        description="Segment everything that is named in a CT or MR volume, or in a picture.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **common,  # type: ignore[arg-type]
    )
    parser.add_argument(
        "input",
        metavar="INPUT",
        type=parse_input,
        help="DICOM folder, zipped or not, or file, NIfTI, NRRD, MHA, PNG or JPEG; or the address of a study or series "
        "of a PACS (DICOMweb)",
    )
    parser.add_argument(
        "--concept",
        metavar="TEXT",
        action="append",
        default=[],
        help="what to segment: a short phrase, or several with ';' or new lines between them; may be repeated",
    )
    parser.add_argument(
        "--output",
        metavar="OUT",
        type=Path,
        required=True,
        help="file to write, in place of one that exists: .seg.nrrd (3D Slicer segmentation), .nii.gz (label map) "
        "or, of a DICOM image, .dcm (DICOM segmentation) or .rtstruct.dcm (radiotherapy structure set); of a "
        "picture .png (label map) or .coco.json",
    )
    add_model_options(parser, may_be_none=True, may_be_picked=True)
    add_engine_option(parser)
    parser.add_argument(
        "--mode",
        choices=[mode.value for mode in Mode],
        default=Mode.SLICES.value,
        help="how slices become a volume: each by itself, objects followed from where they are surest, or objects "
        "followed from what is drawn (default: slices)",
    )
    parser.add_argument(
        "--plane",
        choices=[plane.value for plane in Plane],
        default=Plane.ACQUIRED.value,
        help="plane of the slices the model sees (default: as acquired)",
    )
    parser.add_argument(
        "--slices",
        metavar="A:B",
        help="only slices A to B-1 of the stack, counted from 0 as the voxels are stored (default: all)",
    )
    parser.add_argument(
        "--window",
        metavar="NAME|LOW,HIGH",
        help=f"intensity window: {', '.join(CT_WINDOWS)}, or two intensities (default: what suits each concept)",
    )
    parser.add_argument(
        "--threshold", metavar="T", type=float, help="lowest score that counts, 0 to 1 (default: the model's own)"
    )
    parser.add_argument(
        "--report",
        metavar="FILE.json|FILE.dcm",
        type=Path,
        help="also write all numbers of the run; .dcm is a DICOM report (TID 1500) on a DICOM segmentation",
    )
    parser.add_argument("--preview", metavar="FILE.png", type=Path, help="also write a picture with overlays")
    parser.add_argument(
        "--overlap",
        choices=[overlap.value for overlap in Overlap],
        default=Overlap.SMALLER.value,
        help="whose label a voxel of several structures gets in a .nii.gz: that of the smaller one or of the later "
        "one, or no file is written (default: smaller); .seg.nrrd keeps all",
    )
    add_fractional_option(parser)
    add_reading_options(parser)
    add_dicomweb_options(parser)
    add_volume_options(parser)
    add_prompt_options(parser)
    add_example_option(parser)
    add_locate_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    """Do what ``medsam3 segment`` was asked to."""
    started = time.monotonic()
    # argparse takes the value of --concept=-- away and leaves an empty list.
    typed = [text if isinstance(text, str) else "--" for text in options.concept]
    named = tuple(dict.fromkeys(phrase for text in typed for phrase in split_phrases(text)))
    request = SegmentRequest(
        concepts=concepts_of(options, named) or ((NAMELESS,) if options.example else ()),
        plane=Plane(options.plane),
        slices=None if options.slices is None else parse_slices(options.slices),
        window=None if options.window is None else Window.parse(options.window),
        threshold=options.threshold,
    )

    adapt = adaptation_of(options)

    def with_drawn(request: SegmentRequest, grid: VoxelGrid) -> SegmentRequest:
        prompts, name = prompts_of(options, named, grid), options.adapt_name
        drawn = replace(request, mode=Mode(options.mode), prompts=prompts, adapt=adapt, adapt_name=name)
        return with_volume_options(options, drawn, grid)

    choice, examples = ModelSection.of(options), examples_of(options)
    if examples and len(request.concepts) > 1:
        raise InputError("Examples show one structure; give one --concept to call it by.")
    server = connect_store(options, suffix_of(options.output), options.input)
    with local_image(options, terminal) as (image, series):
        job = SegmentJob(
            image,
            options.output,
            request,
            choice,
            options.report,
            options.preview,
            with_drawn,
            examples,
            Overlap(options.overlap),
            series,
            options.modality,
            options.fractional,
            templates_of(options),
        )
        volume, result, covered = segment_file(job, terminal, interruption)
    terminal.result(_table(volume, result))
    for remark in _remarks(volume, result, covered):
        terminal.result(remark)
    for concept in result.concepts:
        for sentence in describe_cut_off(concept):
            terminal.note(sentence, "yellow")
        for sentence in (*describe_sources(concept), *describe_next_slice(concept)):
            terminal.note(f"{concept.concept}: {sentence}")
        if not concept.found:
            terminal.result(f"{concept.concept}: {concept.reason}")
        for step in concept.clean_up:
            terminal.note(f"{concept.concept}: {step}")
        for number, track in enumerate(concept.tracks, start=1):
            name = concept.concept if len(concept.tracks) == 1 else f"{concept.concept} {number}"
            terminal.note(f"{name}: {describe_track(track)}")
    if not any(concept.found for concept in result.concepts):
        terminal.result("Nothing was found; the segmentation that was written is empty.")
    terminal.result(f"Wrote {', '.join(map(str, job.outputs))} in {duration(time.monotonic() - started)}.")
    store_files(server, job.outputs, terminal)


def _table(volume: Volume, result: SegmentResult) -> Table:
    """What was found of each concept; narrow enough for 80 columns."""
    from rich.table import Table

    table = Table()
    table.add_column("concept", overflow="fold")
    table.add_column("result")
    for heading in ("size", "objects", "slices", "best score"):
        table.add_column(heading, justify="right")
    for concept in result.concepts:
        table.add_row(*_row(volume, concept))
    return table


def _remarks(volume: Volume, result: SegmentResult, covered: Covered) -> Iterator[str]:
    """What belongs to the table and has no room in it: the windows and why, what is cut off, what is covered."""
    by_window: dict[str, list[str]] = {}
    for concept in result.concepts:
        by_window.setdefault(window_label(concept.window), []).append(concept.concept)
    for label, names in by_window.items():
        yield f"{', '.join(names)}: window {label}"
    for concept in result.concepts:
        if notes := _notes(volume, concept, covered):
            yield f"{concept.concept}: {notes}"


def _notes(volume: Volume, concept: ConceptResult, covered: Covered) -> str:
    """Why the size of a concept is not that of a whole structure, or not what the label map holds; in few words."""
    sides = dict.fromkeys(part.side or "border" for part in concept.cut_off)
    notes = [f"cut off: {', '.join(sides)}"] if sides else []
    for name, voxels in covered.of_concept(concept.concept).items():
        notes.append(f"{format_volume(volume, voxels)} labelled {name}")
    return "; ".join(notes)


def _row(volume: Volume, concept: ConceptResult) -> tuple[str | Text, ...]:
    from rich.text import Text

    best = f"{max(concept.score_by_slice.values(), default=0.0):.2f}"
    if not concept.found:
        return concept.concept, Text("not found", "yellow"), "", "", "", best
    first = min(instance.first_slice for instance in concept.instances)
    last = max(instance.last_slice for instance in concept.instances)
    slices = str(first) if first == last else f"{first}-{last}"
    return (
        concept.concept,
        Text("found", "green"),
        f"{'≥ ' if concept.cut_off else ''}{format_volume(volume, concept.voxels)}",
        str(len(concept.instances)),
        slices,
        best,
    )
