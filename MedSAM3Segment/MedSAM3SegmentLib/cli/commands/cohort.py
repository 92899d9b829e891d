"""``medsam3 cohort``: many images and phrases in; segmentations, a table and an overview out."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from MedSAM3SegmentLib.cli.cohort.case_work import CohortJob, prepare_output
from MedSAM3SegmentLib.cli.cohort.cluster_worker import RayOptions
from MedSAM3SegmentLib.cli.cohort.run_cohort import run_cohort
from MedSAM3SegmentLib.cli.options.cohort import FORMATS, add_selection_options, selection_of
from MedSAM3SegmentLib.cli.options.dicomweb import (
    add_dicomweb_options,
    add_query_option,
    connect,
    connect_store,
    parse_input,
    parse_query,
)
from MedSAM3SegmentLib.cli.options.model import ModelSection, add_model_options, positive_number
from MedSAM3SegmentLib.cli.options.volume import (
    add_fractional_option,
    add_volume_options,
    file_inside,
    with_volume_options,
)
from MedSAM3SegmentLib.cli.signals import Interruption
from MedSAM3SegmentLib.cli.terminal import Terminal
from MedSAM3SegmentLib.cohort.case import Case
from MedSAM3SegmentLib.cohort.find_cases import CaseListing, find_cases
from MedSAM3SegmentLib.cohort.overview import OVERVIEW
from MedSAM3SegmentLib.cohort.ray_pool import LOCAL, check_ray
from MedSAM3SegmentLib.cohort.records import RECORDS
from MedSAM3SegmentLib.cohort.table import TABLE
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.label_map import Overlap
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.io.dicom_objects.source import check_packages
from MedSAM3SegmentLib.io.dicomweb.address import DicomwebAddress
from MedSAM3SegmentLib.io.segmentation_paths import DICOM_SUFFIXES, SEG_SUFFIX
from MedSAM3SegmentLib.messages.message import Message
from MedSAM3SegmentLib.preprocessing.windowing import CT_WINDOWS, Window
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.units import format_count
from MedSAM3SegmentLib.vocabulary.advice import advice_for
from MedSAM3SegmentLib.vocabulary.phrases import split_phrases

_EPILOG = """\
examples:
  medsam3 cohort studies --only-modality CT --only-plane axial --dry-run
  medsam3 cohort studies --only-modality CT --concept "liver; spleen" --output results
  medsam3 cohort studies --only-modality CT --concept "liver; spleen" --output results --resume
  medsam3 cohort https://pacs.example/dicom-web --query StudyDate=20240101-20240131 --only-modality CT \\
      --concept liver --format dicom-seg --store https://pacs.example/dicom-web --output results
  medsam3 cohort studies --concept liver --output results --ray local --workers 2
  medsam3 cohort cases.csv --concept liver --format nii.gz --output results
  medsam3 cohort bids-data-set --files "*_T1w.nii.gz" --names --concept "brain" --output results

Exit codes: 0 all cases were tried and at least one is done, 2 bad input or usage, or every case failed, 3 model missing
or broken, 130 interrupted.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], **common: object) -> None:
    """Add ``cohort`` to the shell's commands."""
    parser = subparsers.add_parser(
        "cohort",
        help="segment concepts in many volumes",
        description="Segment what is named in every image of folders, DICOM archives, lists or BIDS data sets, and "
        "write a table and an overview of it. Cases are called by ids that say nothing of a patient.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **common,  # type: ignore[arg-type]
    )
    parser.add_argument(
        "input",
        metavar="INPUT",
        type=parse_input,
        nargs="+",
        help="folder of images or of DICOM files of any number of patients, BIDS data set, image file, .csv list "
        "with a column 'image' and, where wanted, 'case', 'series' and 'modality', or address of a PACS (DICOMweb)",
    )
    parser.add_argument(
        "--concept", metavar="TEXT", action="append", default=[], help="what to segment, as for 'medsam3 segment'"
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="folder to write into; it is made where it is not there"
    )
    parser.add_argument("--dry-run", action="store_true", help="list the cases and end")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on in a folder that holds results: what is done and asks for the same is not done again",
    )
    add_selection_options(parser)
    add_dicomweb_options(parser)
    add_query_option(parser)
    parser.add_argument(
        "--format", choices=list(FORMATS), default="seg.nrrd", help="of the segmentations (default: seg.nrrd)"
    )
    parser.add_argument(
        "--overlap",
        choices=[overlap.value for overlap in Overlap],
        default=Overlap.SMALLER.value,
        help="whose label a voxel of several structures gets in a .nii.gz (default: smaller)",
    )
    parser.add_argument(
        "--mode",
        choices=[Mode.SLICES.value, Mode.PROPAGATE.value],
        default=Mode.SLICES.value,
        help="how slices become a volume, as for 'medsam3 segment' (default: slices)",
    )
    parser.add_argument(
        "--plane",
        choices=[plane.value for plane in Plane],
        default=Plane.ACQUIRED.value,
        help="plane of the slices the model sees (default: as acquired)",
    )
    parser.add_argument(
        "--window", metavar="NAME|LOW,HIGH", help=f"intensity window: {', '.join(CT_WINDOWS)}, or two intensities"
    )
    parser.add_argument("--threshold", metavar="T", type=float, help="lowest score that counts, 0 to 1")
    add_fractional_option(parser)
    add_model_options(parser)
    add_volume_options(parser)
    _add_ray_options(parser)
    parser.set_defaults(run=run)


def _add_ray_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("on several GPUs or machines (package ray)")
    group.add_argument(
        "--ray",
        metavar="local|HOST:PORT",
        help="do cases side by side: on this machine alone, or on the Ray cluster with this head, to which this "
        "machine belongs and whose machines have inputs and results at the same place",
    )
    group.add_argument(
        "--workers",
        metavar="N",
        type=positive_number,
        help="how many, each with a model of its own (default: one for each GPU, or for each 4 CPU cores)",
    )


def run(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    """Do what ``medsam3 cohort`` was asked to."""
    if options.output is None and not options.dry_run:
        raise InputError("There is no folder for the results; give one with --output, or --dry-run to see the cases.")
    listing = _find_cases(options, terminal)
    cases = list(listing.cases)
    for said in listing.messages:
        terminal.note(said, "yellow")
    if options.mapping is not None:
        _write_mapping(options.mapping, cases)
    if options.dry_run:
        _show_cases(cases, terminal)
        return
    job = CohortJob(
        options.output,
        _request(options),
        FORMATS[options.format],
        Overlap(options.overlap),
        options.modality,
        ModelSection.of(options),
        options.fractional,
        connect_store(options, FORMATS[options.format], *options.input),
    )
    _check_output(options.output, options.resume)
    if job.suffix in DICOM_SUFFIXES:
        check_packages()
    if job.is_fractional and job.suffix != SEG_SUFFIX:
        raise InputError("--fractional is for DICOM segmentations; give --format dicom-seg, or leave it out.")
    ray = _ray(options)
    if ray is None or ray.address == LOCAL:
        job.model.check()
    from MedSAM3SegmentLib.models.abilities import check_abilities

    check_abilities(job.model.source, job.request)
    for sentence in (said for concept in job.request.concepts for said in advice_for(concept)):
        terminal.note(sentence, "yellow")
    prepare_output(job.output)
    with _locked(job.output):
        run_cohort(job, cases, options.resume, terminal, interruption, ray)


def _find_cases(options: argparse.Namespace, terminal: Terminal) -> CaseListing:
    from MedSAM3SegmentLib.io.list_dicom import list_dicom_series
    from MedSAM3SegmentLib.models.threads import count_usable_cores

    paths = [one for one in options.input if isinstance(one, Path)]
    with terminal.busy("looking for cases"):
        remote = _remote_cases(options)
    with terminal.progress() as show:
        list_series = partial(
            list_dicom_series,
            processes=count_usable_cores(),
            report=lambda done, total: show("reading DICOM headers", done, total, "files"),
        )
        show("looking for cases", 0, None, "")
        return find_cases(paths, selection_of(options), options.output, options.names, remote, list_series)


def _ray(options: argparse.Namespace) -> RayOptions | None:
    if options.ray is None:
        if options.workers is not None:
            raise InputError("--workers is for --ray; add --ray local, or leave it out.")
        return None
    check_ray()
    return RayOptions(options.ray, options.workers, options.threads)


def _remote_cases(options: argparse.Namespace) -> CaseListing:
    """The cases that lie on servers."""
    addresses = [one for one in options.input if isinstance(one, DicomwebAddress)]
    filters = parse_query(options.query)
    if filters and not addresses:
        raise InputError("--query is for a PACS; leave it out, or give the address of one.")
    cases: list[Case] = []
    said: list[Message] = []
    for address in addresses:
        from MedSAM3SegmentLib.cohort.remote_cases import find_remote_cases

        found, left_out = find_remote_cases(connect(options, address), address, selection_of(options), filters)
        cases += found
        said += left_out
    return CaseListing(tuple(cases), tuple(said))


def _request(options: argparse.Namespace) -> SegmentRequest:
    typed = [text if isinstance(text, str) else "--" for text in options.concept]
    request = SegmentRequest(
        concepts=tuple(dict.fromkeys(phrase for text in typed for phrase in split_phrases(text))),
        plane=Plane(options.plane),
        window=None if options.window is None else Window.parse(options.window),
        threshold=options.threshold,
        mode=Mode(options.mode),
    )
    if file_inside(options.inside, request.concepts) is not None:
        raise InputError(
            f"'{options.inside}' is a file, which lies in one image only; give a concept to look inside of."
        )
    return with_volume_options(options, request, None)


def _check_output(output: Path, resume: bool) -> None:
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; give a folder to write into.")
    if not output.exists() and not output.parent.is_dir():
        raise InputError(
            f"The folder {output.parent} does not exist; make it or choose another place for {output.name}."
        )
    if not resume and any((output / name).exists() for name in (RECORDS, TABLE, OVERVIEW)):
        raise InputError(f"{output} holds results already; give --resume to go on with them, or choose another folder.")


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Only one run at a time writes into a folder; the system takes the lock back from a process that dies."""
    from filelock import FileLock, Timeout

    lock = FileLock(output / ".lock", mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"Another run writes into {output}; wait for it, or choose another folder.") from None
    try:
        yield
    finally:
        lock.release()


def _show_cases(cases: Sequence[Case], terminal: Terminal) -> None:
    from rich.table import Table

    table = Table()
    for heading in ("case", "modality", "description", "plane"):
        table.add_column(heading, overflow="fold")
    table.add_column("slices", justify="right")
    table.add_column("where", overflow="fold", min_width=20)
    for case in cases:
        table.add_row(case.id, case.kind, case.description, case.plane, str(case.images or ""), case.place)
    terminal.result(table)
    terminal.result(f"{format_count(len(cases), 'case')}; nothing was written.")


def _write_mapping(path: Path, cases: Sequence[Case]) -> None:
    from MedSAM3SegmentLib.io.atomic_write import atomic_write

    with atomic_write(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("case", "path", "series_description", "study_uid"))
        writer.writerows((case.id, case.path, case.description, case.study) for case in cases)
