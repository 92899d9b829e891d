"""One image file to be segmented, from reading it to writing what was found; ``segment`` and ``demo`` do the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.cli.options.example import ExampleFiles, read_examples
from MedSAM3SegmentLib.cli.options.locate import locate
from MedSAM3SegmentLib.cli.options.model import ModelSection
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.geometry.label_map import Overlap
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.segmentation_paths import (
    DICOM_SUFFIXES,
    PICTURE_SUFFIXES,
    SEG_SUFFIX,
    check_output,
    suffix_of,
)
from MedSAM3SegmentLib.progress import Progress, RunCallbacks, Stage
from MedSAM3SegmentLib.reporting.place_sentences import describe_place
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.units import format_count
from MedSAM3SegmentLib.vocabulary.advice import advice_for
from MedSAM3SegmentLib.without_model import ShapeSegmenter

from .ask_engine import describe_engine_run, running_engine
from .output_files import check_outputs, written_together
from .signals import Interruption
from .terminal import ShowProgress, Terminal

if TYPE_CHECKING:
    from MedSAM3SegmentLib.io.dicom_objects.source import DicomSource
    from MedSAM3SegmentLib.results.result import SegmentResult
    from MedSAM3SegmentLib.volume import Volume

    from .write_result import Covered


@dataclass(frozen=True)
class SegmentJob:
    """One image file to be segmented.

    Attributes:
        image: what ``read_volume.read_volume`` reads.
        output: the segmentation; its suffix chooses the format.
        request: what is asked for.
        model: what segments it.
        report, preview: further files to write, or None.
        complete: adds to the request what the volume's grid is needed for, or None.
        examples: that show the one concept instead of words, or none.
        overlap: which label a voxel of several structures gets where ``output`` is a label map.
        series, modality: as for ``read_volume.read_volume``.
        templates: volumes and their labels that say where the concepts lie, or none.
        is_fractional: write probabilities in place of masks, into a DICOM segmentation.
    """

    image: Path
    output: Path
    request: SegmentRequest
    model: ModelSection = field(default_factory=ModelSection)
    report: Path | None = None
    preview: Path | None = None
    complete: Callable[[SegmentRequest, VoxelGrid], SegmentRequest] | None = None
    examples: tuple[ExampleFiles, ...] = ()
    overlap: Overlap = Overlap.SMALLER
    series: str | None = None
    modality: str | None = None
    is_fractional: bool = False
    templates: tuple[ExampleFiles, ...] = ()

    @property
    def outputs(self) -> list[Path]:
        return [path for path in (self.output, self.report, self.preview) if path is not None]


def segment_file(
    job: SegmentJob, terminal: Terminal, interruption: Interruption
) -> tuple[Volume, SegmentResult, Covered]:
    """Read, segment and write, saying on ``terminal`` how far it is.

    Returns:
        What was read, what was found, and what of that a label map hides.

    Raises:
        InputError: something that was given cannot be used; nothing was written.
        ModelError: the model cannot be loaded exactly; nothing was written.
        Cancelled: ``interruption`` came; nothing was written.
    """
    check_job(job)
    seconds: dict[str, float] = {}
    if not job.model.is_none:
        with terminal.busy("looking for the model"):
            job.model.check()
    with terminal.busy(f"reading {job.image}"), _timed(seconds, "reading"):
        from MedSAM3SegmentLib.io.coco import check_is_picture
        from MedSAM3SegmentLib.io.read_volume import read_volume
        from MedSAM3SegmentLib.preprocessing.intensity_check import check_intensities

        volume = read_volume(job.image, job.series, job.modality)
        examples = read_examples(job.examples, job.request.concepts[0], volume)
        source = _source(job)
        if suffix_of(job.output) in PICTURE_SUFFIXES:
            check_is_picture(job.output, volume.grid)
    request = job.request if job.complete is None else job.complete(job.request, volume.grid)
    if examples:
        request = replace(request, examples=dict.fromkeys(request.concepts, examples))
    request, said = request.in_drawn_plane(volume.grid)
    stack = SliceStack.along(volume.grid, request.plane)
    request.slice_range(stack)
    if job.templates:
        with terminal.progress() as show, _timed(seconds, "locating"):
            places = locate(job.templates, request.concepts, volume, partial(_show_locating, show))
        request = replace(request, places=places)
        said = (*said, *(one for name in places for one in describe_place(name, places[name], stack)))
    terminal.note(_describe(volume, stack))
    asked = [concept for concept in request.concepts if request.is_asked(concept)]
    doubts = check_intensities(volume) if request.window is None else ()
    advice = {concept: advice_for(concept) for concept in asked}
    made_up = () if source is None else source.messages
    sentences = (*said, *volume.messages, *made_up, *doubts, *chain.from_iterable(advice.values()))
    for sentence in sentences:
        terminal.note(sentence, "yellow")
    said_of = {concept: len(advice[concept]) for concept in asked}
    with ExitStack() as until_done:
        segmenter: SegmenterProtocol | None = None
        if job.model.is_none:
            segmenter = ShapeSegmenter()
            terminal.note("Model: none.")
        elif job.model.use_engine:
            segmenter = until_done.enter_context(running_engine(job.model, terminal))
        engine = segmenter if job.model.use_engine else None
        if segmenter is None:
            with terminal.busy("loading the model"), _timed(seconds, "loading"):
                model = job.model.for_volume(volume, asked, terminal.note)
                segmenter = _load_segmenter(model, terminal, said_of)
        stop = until_done.enter_context(interruption.gently())
        with terminal.progress() as show:
            callbacks = RunCallbacks(lambda progress: _show(show, progress), cancel=stop)
            result = segmenter.segment(volume, request, callbacks)
        if engine is not None:
            describe_engine_run(result, terminal, set(map(str, sentences)))
        seconds |= result.seconds
        if stop():
            raise Cancelled("Stopped after the last slice; nothing was written.")
    for message in result.messages:
        terminal.note(message, "yellow")
    with terminal.busy("writing"), written_together(job.outputs, interruption) as drafts:
        with _timed(seconds, "writing"):
            from .write_result import write_result

            covered = write_result(drafts[job.output], result, request.grouping, job.overlap, source, job.is_fractional)
            if job.preview is not None:
                from MedSAM3SegmentLib.reporting.preview_image import draw_preview

                draw_preview(volume, result).save(drafts[job.preview], "PNG")
        if job.report is not None and source is not None and job.report.suffix.lower() == SEG_SUFFIX:
            from .write_result import write_dicom_measurements

            segmentation = drafts[job.output]
            write_dicom_measurements(drafts[job.report], segmentation, volume, result, request.grouping, source)
        elif job.report is not None:
            from MedSAM3SegmentLib.reporting.report import report_of, write_report

            write_report(drafts[job.report], report_of(result, volume, seconds, covered_voxels(result, covered)))
    from MedSAM3SegmentLib.io.labelmap_nifti import describe_covered
    from MedSAM3SegmentLib.units import format_volume

    for sentence in describe_covered(covered.parts, covered.names, lambda voxels: format_volume(volume, voxels)):
        terminal.note(sentence, "yellow")
    return volume, result, covered


def _load_segmenter(model: ModelSection, terminal: Terminal, said: Mapping[str, int]) -> SegmenterProtocol:
    """A segmenter with a model, and what only the model knows of each phrase: where it cuts it off.

    Args:
        said: how many sentences of each phrase were said before.
    """
    from .import_networks import import_networks

    import_networks()
    from MedSAM3SegmentLib.models.devices import name_of
    from MedSAM3SegmentLib.run_context import phrase_messages

    segmenter = model.load_segmenter()
    identity = segmenter.model.identity
    demo, place = " (DEMO)" if identity.is_demo else "", segmenter.model.device
    terminal.note(f"Model: {identity.name}{demo} on {place}, {name_of(segmenter.model.network.dtype)}.")
    for concept, count in said.items():
        for sentence in phrase_messages(segmenter.model, concept)[count:]:
            terminal.note(sentence, "yellow")
    return segmenter


def covered_voxels(result: SegmentResult, covered: Covered) -> dict[str, dict[str, int]]:
    """What a label map hides of each concept; see ``Covered.of_concept``."""
    return {concept.concept: covered.of_concept(concept.concept) for concept in result.concepts}


def check_job(job: SegmentJob) -> None:
    """Find out before a long run what can be known to be wrong with files.

    Raises:
        InputError: the image is missing or an output cannot be written.
        PackageError: a package that the output's format needs is not installed.
    """
    from MedSAM3SegmentLib.io.dicom_objects.source import check_is_dicom, check_packages

    if not job.image.exists():
        raise InputError(f"{job.image} does not exist; check the path.")
    check_output(job.output)
    if job.preview is not None and job.preview.suffix.lower() != ".png":
        raise InputError(f"{job.preview} is no name for the preview; end it in .png.")
    if suffix_of(job.output) in DICOM_SUFFIXES:
        check_packages()
        check_is_dicom(job.image)
    if job.is_fractional and suffix_of(job.output) != SEG_SUFFIX:
        raise InputError("--fractional is for DICOM segmentations; end the output in .dcm, or leave it out.")
    if job.report is not None and job.report.suffix.lower() == SEG_SUFFIX and suffix_of(job.output) != SEG_SUFFIX:
        raise InputError(
            f"{job.report} would be a DICOM report, which refers to a DICOM segmentation; end the output in .dcm, "
            "too, or the report in .json."
        )
    check_outputs(job.outputs, job.image)


def _source(job: SegmentJob) -> DicomSource | None:
    """The images that a DICOM segmentation refers to; None where none is written."""
    from MedSAM3SegmentLib.io.dicom_objects.source import read_source

    return read_source(job.image, job.series) if suffix_of(job.output) in DICOM_SUFFIXES else None


def _describe(volume: Volume, stack: SliceStack) -> str:
    from MedSAM3SegmentLib.units import is_plain_picture

    voxels = " x ".join(map(str, volume.grid.shape[::-1]))
    if volume.is_sequence:
        return f"{volume.name}: {voxels} pixels, one frame after another."
    if is_plain_picture(volume):
        return f"{volume.name}: a picture of {volume.grid.shape[2]} x {volume.grid.shape[1]} pixels."
    spacing = " x ".join(f"{spacing:.3g}" for spacing in volume.grid.spacing)
    kind = f"{volume.modality}, " if volume.modality else ""
    cut = format_count(stack.count, f"{stack.plane} slice")
    return f"{volume.name}: {kind}{voxels} voxels of {spacing} mm, {cut}."


def _show(show: ShowProgress, progress: Progress) -> None:
    unit = {Stage.ASSEMBLING: "concepts", Stage.LOCATING: "steps", Stage.LEARNING: "steps"}.get(
        progress.stage, "slices"
    )
    show(progress.stage, progress.done, progress.total, unit, progress.seconds_left)


def _show_locating(show: ShowProgress, done: int, total: int) -> None:
    _show(show, Progress(Stage.LOCATING, done, total))


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - started
