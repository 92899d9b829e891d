"""``medsam3 segment``: an image file and phrases in, a segmentation file out."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..concepts import advice_for
from ..errors import Cancelled, InputError
from ..grid import Plane, SliceStack, VoxelGrid
from ..intensity import CT_WINDOWS, Window
from ..phrases import split_phrases
from ..request import Mode, Progress, SegmentRequest, Stage
from .example_options import ExampleFiles, add_example_option, examples_of, read_examples
from .interruption import Interruption
from .output_files import check_outputs, written_together
from .prompt_options import NAMELESS, add_prompt_options, concepts_of, prompts_of
from .terminal import ShowProgress, Terminal, duration
from .volume_options import add_volume_options, with_volume_options

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from ..result import ConceptResult, SegmentResult
    from ..volume import Volume

_EPILOG = """\
examples:
  medsam3 segment ct.nii.gz --concept "liver; spleen; left kidney" --output ct.seg.nrrd
  medsam3 segment dicom-folder --concept tumor --plane axial --slices 40:90 --output tumor.seg.nrrd \\
      --report tumor.json --preview tumor.png
  medsam3 segment ct.nii.gz --mode propagate --concept liver --output liver.seg.nrrd
  medsam3 segment ct.nii.gz --mode "from prompts" --mask one-slice.seg.nrrd --output whole.seg.nrrd
  medsam3 segment ct.nii.gz --concept "liver; tumor" --inside liver --output both.seg.nrrd
  medsam3 segment ct.nii.gz --concept tumor --inside liver.seg.nrrd --segments-per instance --output tumors.seg.nrrd
  medsam3 segment new.nii.gz --example old.nii.gz=old.seg.nrrd --model my-model --output new.seg.nrrd

Exit codes: 0 done (also when nothing was found), 2 bad input or usage, 3 model missing or broken, 130 interrupted.
"""


@dataclass(frozen=True)
class ModelChoice:
    """Which model to load and how, as ``models.loading.load_model`` takes it."""

    source: str = "demo"
    device: str = "auto"
    dtype: str = "auto"
    resolution: int | None = None

    @classmethod
    def of(cls, options: argparse.Namespace) -> ModelChoice:
        """What was chosen with ``add_model_options``."""
        return cls(options.model, options.device, options.dtype, options.resolution)


@dataclass(frozen=True)
class SegmentJob:
    """One image file to be segmented.

    Attributes:
        image: what ``images.read_volume`` reads.
        output: the segmentation; its suffix chooses the format.
        request: what is asked for.
        model: what segments it.
        report, preview: further files to write, or None.
        complete: adds to the request what the volume's grid is needed for, or None.
        examples: that show the one concept instead of words, or none.
    """

    image: Path
    output: Path
    request: SegmentRequest
    model: ModelChoice = ModelChoice()
    report: Path | None = None
    preview: Path | None = None
    complete: Callable[[SegmentRequest, VoxelGrid], SegmentRequest] | None = None
    examples: tuple[ExampleFiles, ...] = ()

    @property
    def outputs(self) -> list[Path]:
        return [path for path in (self.output, self.report, self.preview) if path is not None]


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
        "input", metavar="INPUT", type=Path, help="DICOM folder or file, NIfTI, NRRD, MHA, PNG or JPEG file"
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
        help="file to write: .seg.nrrd (3D Slicer segmentation) or .nii.gz (label map)",
    )
    add_model_options(parser)
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
    parser.add_argument("--report", metavar="FILE.json", type=Path, help="also write all numbers of the run")
    parser.add_argument("--preview", metavar="FILE.png", type=Path, help="also write a picture with overlays")
    add_volume_options(parser)
    add_prompt_options(parser)
    add_example_option(parser)
    parser.set_defaults(run=run)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, ``--device``, ``--dtype`` and ``--resolution``."""
    parser.add_argument(
        "--model",
        metavar="demo|FOLDER|HUB_ID",
        default="demo",
        help="model to use: a folder or file, a name that 'medsam3 models list' shows, or BASE+ADAPTER "
        "(default: demo, a small one trained on synthetic pictures)",
    )
    parser.add_argument("--device", metavar="auto|cuda|mps|cpu", default="auto", help="where to run (default: auto)")
    parser.add_argument(
        "--dtype",
        metavar="auto|float32|bfloat16|float16",
        default="auto",
        help="number format to compute in (default: bfloat16 on cuda, else float32)",
    )
    parser.add_argument(
        "--resolution",
        metavar="PIXELS",
        type=int,
        help="edge of the model's square input; less is faster and takes less memory (default: the model's own)",
    )


def run(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    """Do what ``medsam3 segment`` was asked to."""
    started = time.monotonic()
    named = tuple(dict.fromkeys(phrase for text in options.concept for phrase in split_phrases(text)))
    request = SegmentRequest(
        concepts=concepts_of(options, named) or ((NAMELESS,) if options.example else ()),
        plane=Plane(options.plane),
        slices=_parse_slices(options.slices),
        window=None if options.window is None else Window.parse(options.window),
        threshold=options.threshold,
    )

    def with_drawn(request: SegmentRequest, grid: VoxelGrid) -> SegmentRequest:
        drawn = replace(request, mode=Mode(options.mode), prompts=prompts_of(options, named, grid))
        return with_volume_options(options, drawn, grid)

    choice, examples = ModelChoice.of(options), examples_of(options)
    if examples and len(request.concepts) > 1:
        raise InputError("Examples show one structure; give one --concept to call it by.")
    job = SegmentJob(
        options.input, options.output, request, choice, options.report, options.preview, with_drawn, examples
    )
    volume, result = segment_file(job, terminal, interruption)
    terminal.result(_table(volume, result))
    for concept in result.concepts:
        if not concept.found:
            terminal.result(f"{concept.concept}: {concept.reason}")
        for step in concept.clean_up:
            terminal.note(f"{concept.concept}: {step}")
        for number, track in enumerate(concept.tracks, start=1):
            name = concept.concept if len(concept.tracks) == 1 else f"{concept.concept} {number}"
            terminal.note(f"{name}: {track.in_words()}")
    if not any(concept.found for concept in result.concepts):
        terminal.result("Nothing was found; the segmentation that was written is empty.")
    terminal.result(f"Wrote {', '.join(map(str, job.outputs))} in {duration(time.monotonic() - started)}.")


def segment_file(job: SegmentJob, terminal: Terminal, interruption: Interruption) -> tuple[Volume, SegmentResult]:
    """Read, segment and write, saying on ``terminal`` how far it is.

    Raises:
        InputError: something that was given cannot be used; nothing was written.
        ModelError: the model cannot be loaded exactly; nothing was written.
        Cancelled: ``interruption`` came; nothing was written.
    """
    check_job(job)
    for concept in job.request.concepts:
        for advice in advice_for(concept):
            terminal.note(advice, "yellow")
    seconds: dict[str, float] = {}
    with terminal.busy(f"reading {job.image}"), _timed(seconds, "reading"):
        from ..images import read_volume

        volume = read_volume(job.image)
        examples = read_examples(job.examples, volume)
    request = job.request if job.complete is None else job.complete(job.request, volume.grid)
    stack = SliceStack.along(volume.grid, request.plane)
    request.slice_range(stack)
    terminal.note(_describe(volume, stack))
    for message in volume.messages:
        terminal.note(message, "yellow")
    with terminal.busy("loading the model"), _timed(seconds, "loading"):
        from ..segmenter import Segmenter

        segmenter = Segmenter.load(job.model.source, job.model.device, job.model.dtype, job.model.resolution)
    identity = segmenter.model.identity
    terminal.note(f"Model: {identity.name}{' (DEMO)' if identity.is_demo else ''} on {segmenter.model.device}.")

    with interruption.gently() as stop:
        with terminal.progress() as show:
            if examples:
                shown = dict.fromkeys(request.concepts, examples)
                result = segmenter.segment_like(volume, shown, request, lambda progress: _show(show, progress), stop)
            else:
                result = segmenter.segment(volume, request, lambda progress: _show(show, progress), stop)
        seconds |= result.seconds
        if stop():
            raise Cancelled("Stopped after the last slice; nothing was written.")
    for message in result.messages:
        terminal.note(message, "yellow")
    with terminal.busy("writing"), written_together(job.outputs, interruption) as drafts:
        with _timed(seconds, "writing"):
            from .result_files import write_result

            write_result(drafts[job.output], result, request.grouping)
            if job.preview is not None:
                from ..preview import draw_preview

                draw_preview(volume, result).save(drafts[job.preview], "PNG")
        if job.report is not None:
            from ..report import report_of, write_report

            write_report(drafts[job.report], report_of(result, volume, seconds))
    return volume, result


def check_job(job: SegmentJob) -> None:
    """Find out before a long run what can be known to be wrong with files.

    Raises:
        InputError: the image is missing or an output cannot be written.
    """
    from ..segmentation_files import check_output

    if not job.image.exists():
        raise InputError(f"{job.image} does not exist; check the path.")
    check_output(job.output)
    if job.preview is not None and job.preview.suffix.lower() != ".png":
        raise InputError(f"{job.preview} is no name for the preview; end it in .png.")
    check_outputs(job.outputs, job.image)


def _table(volume: Volume, result: SegmentResult) -> Table:
    """What was found of each concept."""
    from rich.table import Table

    table = Table()
    table.add_column("concept", overflow="fold")
    table.add_column("result")
    for heading in ("size", "objects", "slices", "best score"):
        table.add_column(heading, justify="right")
    for concept in result.concepts:
        table.add_row(*_row(volume, concept))
    return table


def _row(volume: Volume, concept: ConceptResult) -> tuple[str | Text, ...]:
    from rich.text import Text

    from ..amounts import amount

    best = f"{max(concept.score_by_slice.values(), default=0.0):.2f}"
    if not concept.found:
        return concept.concept, Text("not found", "yellow"), "", "", "", best
    first = min(instance.first_slice for instance in concept.instances)
    last = max(instance.last_slice for instance in concept.instances)
    slices = str(first) if first == last else f"{first}-{last}"
    return (
        concept.concept,
        Text("found", "green"),
        amount(volume, concept.voxels),
        str(len(concept.instances)),
        slices,
        best,
    )


def _parse_slices(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        first, end = (int(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"The slice range '{text}' is not A:B with two whole numbers, such as 40:90.") from None
    if not 0 <= first < end:
        raise InputError(f"The slice range '{text}' is empty; A:B needs 0 <= A < B, and B is not part of it.")
    return first, end


def _describe(volume: Volume, stack: SliceStack) -> str:
    from ..amounts import is_plain_picture

    voxels = " x ".join(map(str, volume.grid.shape[::-1]))
    if volume.is_sequence:
        return f"{volume.name}: {voxels} pixels, one frame after another."
    if is_plain_picture(volume):
        return f"{volume.name}: a picture of {volume.grid.shape[2]} x {volume.grid.shape[1]} pixels."
    spacing = " x ".join(f"{spacing:.3g}" for spacing in volume.grid.spacing)
    kind = f"{volume.modality}, " if volume.modality else ""
    cut = f"{stack.count} {stack.plane} slice{'s' if stack.count > 1 else ''}"
    return f"{volume.name}: {kind}{voxels} voxels of {spacing} mm, {cut}."


def _show(show: ShowProgress, progress: Progress) -> None:
    unit = "concepts" if progress.stage is Stage.ASSEMBLING else "slices"
    show(progress.stage, progress.done, progress.total, unit, progress.seconds_left)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - started
