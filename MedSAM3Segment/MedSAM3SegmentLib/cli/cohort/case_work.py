"""The work on the cases of a cohort: reading, segmenting and writing one, and what is known of all."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from MedSAM3SegmentLib import __version__
from MedSAM3SegmentLib.cli.options.model import ModelSection
from MedSAM3SegmentLib.cohort.case import Case
from MedSAM3SegmentLib.cohort.case_rows import rows_of
from MedSAM3SegmentLib.cohort.records import (
    RECORDS,
    REPORTS,
    SEGMENTATIONS,
    THUMBNAILS,
    CaseRecord,
    asked_hash,
    write_record,
)
from MedSAM3SegmentLib.cohort.remote_cases import fetched_case
from MedSAM3SegmentLib.errors import EngineError, InputError, ModelError, PackageError
from MedSAM3SegmentLib.geometry.label_map import Overlap
from MedSAM3SegmentLib.io.segmentation_paths import DICOM_SUFFIXES, PICTURE_SUFFIXES, SEG_SUFFIX, suffix_of
from MedSAM3SegmentLib.messages.message import as_message
from MedSAM3SegmentLib.progress import RunCallbacks
from MedSAM3SegmentLib.request import SegmentRequest

from .summaries import model_name

if TYPE_CHECKING:
    from MedSAM3SegmentLib.backend import SegmenterProtocol
    from MedSAM3SegmentLib.io.dicom_objects.source import DicomSource
    from MedSAM3SegmentLib.io.dicomweb.server import DicomwebServer
    from MedSAM3SegmentLib.provenance import ModelIdentity
    from MedSAM3SegmentLib.results.result import SegmentResult
    from MedSAM3SegmentLib.volume import Volume

#: Pixels of the edge of a thumbnail; shown at half of it, so that it is sharp on fine screens too.
_THUMBNAIL_EDGE = 480

#: Where files are until they are whole, below the output folder.
DRAFTS = ".drafts"


@dataclass(frozen=True)
class CohortJob:
    """What is asked of all cases.

    Attributes:
        output: folder of the results.
        request: what is segmented.
        suffix: of the segmentations, a format of ``segmentation_paths.SUFFIXES``.
        overlap: which label a voxel of several structures gets in a label map.
        modality: to be taken for all that do not say theirs; None for what files say.
        model: what segments them.
        is_fractional: write probabilities in place of masks, into DICOM segmentations.
        store: where DICOM objects are stored, too; None for nowhere.
    """

    output: Path
    request: SegmentRequest
    suffix: str = ".seg.nrrd"
    overlap: Overlap = Overlap.SMALLER
    modality: str | None = None
    model: ModelSection = field(default_factory=ModelSection)
    is_fractional: bool = False
    store: DicomwebServer | None = None

    def asked_hash(self, case: Case, identity: ModelIdentity) -> str:
        """What tells whether a case that is done was done with this."""
        asked = {
            "request": repr(self.request),
            "suffix": self.suffix,
            "fractional": self.is_fractional,
            "overlap": self.overlap.value,
            "modality": self.modality,
            "model": identity.as_dict(),
            "dtype": self.model.dtype,
            "resolution": self.model.resolution,
            "version": __version__,
        }
        return asked_hash(case, asked)


@dataclass(frozen=True, eq=False)
class CaseImage:
    """What is read of a case.

    Attributes:
        volume: called by the case's id.
        source: the images that a DICOM segmentation refers to; None where none is written.
    """

    volume: Volume
    source: DicomSource | None = None


class CaseWork:
    """Reads, segments and writes cases; the steps of a ``pipeline.Pipeline``.

    Args:
        job: what is asked.
        segmenter: a loaded model.
        identity: of the model.
    """

    def __init__(self, job: CohortJob, segmenter: SegmenterProtocol, identity: ModelIdentity) -> None:
        self._job, self._segmenter, self._identity = job, segmenter, identity
        self._is_closed = Event()

    def close(self) -> None:
        """Nobody waits any more for a case that is being fetched; reading one ends with ``Cancelled``."""
        self._is_closed.set()

    def read(self, case: Case) -> CaseImage:
        """The volume, and what objects made of it refer to.

        Raises:
            InputError: as ``read_volume``.
        """
        from MedSAM3SegmentLib.io.coco import check_is_picture
        from MedSAM3SegmentLib.io.dicom_objects.source import read_source
        from MedSAM3SegmentLib.io.read_volume import read_volume
        from MedSAM3SegmentLib.preprocessing.intensity_check import check_intensities

        with fetched_case(case, self._is_closed.is_set) as local:
            try:
                volume = read_volume(local.path, local.series, local.modality or self._job.modality, local.files)
                is_dicom = self._job.suffix in DICOM_SUFFIXES
                source = read_source(local.path, local.series, local.files) if is_dicom else None
            except InputError as error:
                # Here, where it is known what its files are called for a while.
                raise InputError("{said}", said=local.without_names(str(error))) from None
        doubts = check_intensities(volume) if self._job.request.window is None else ()
        texts = (*volume.messages, *doubts, *(source.messages if source else ()))
        said = tuple(as_message(local.without_names(text)) for text in texts)
        if self._job.suffix in PICTURE_SUFFIXES:
            check_is_picture(Path(f"{case.id}{self._job.suffix}"), volume.grid)
        volume = volume.renamed(case.id, said, volume.is_sequence)
        # Takes a while, and is needed by whoever segments.
        assert volume.content_hash
        return CaseImage(volume, source)

    def segment(self, image: CaseImage, callbacks: RunCallbacks) -> SegmentResult:
        """What is found.

        Raises:
            InputError: the request does not fit the volume.
            Cancelled: ``callbacks`` say so.
        """
        result = self._segmenter.segment(image.volume, self._job.request, callbacks)
        # Nobody asks again for this volume.
        cache = getattr(self._segmenter, "cache", None)
        if cache is not None:
            cache.clear()
        return result

    def write(self, case: Case, image: CaseImage, result: SegmentResult) -> CaseRecord:
        """Write all files of a case and then its record.

        Raises:
            InputError: the disk failed, or the result cannot be written in this format.
        """
        from MedSAM3SegmentLib.cli.write_result import write_dicom_measurements, write_result
        from MedSAM3SegmentLib.reporting.report import report_of, write_report
        from MedSAM3SegmentLib.reporting.thumbnail import draw_thumbnail

        output, volume = self._job.output, image.volume
        # Of its own for each that writes: one that was given up for lost may still be at work on the same case.
        draft = Path(tempfile.mkdtemp(prefix=f"{case.id}@", dir=output / DRAFTS))
        try:
            for folder in (SEGMENTATIONS, REPORTS, THUMBNAILS):
                (draft / folder).mkdir(parents=True)
            segmentation = draft / SEGMENTATIONS / f"{case.id}{self._job.suffix}"
            job = self._job
            asked, source = job.asked_hash(case, self._identity), image.source
            if source is not None:
                # A case that is done again, since its worker or its record was lost, is stored as the same objects.
                source = replace(source, result=asked)
            write_result(segmentation, result, job.request.grouping, job.overlap, source, job.is_fractional)
            if source is not None and job.suffix == SEG_SUFFIX:
                report = draft / REPORTS / f"{case.id}{SEG_SUFFIX}"
                write_dicom_measurements(report, segmentation, volume, result, job.request.grouping, source)
            draw_thumbnail(volume, result, _THUMBNAIL_EDGE).save(draft / THUMBNAILS / f"{case.id}.png", "PNG")
            write_report(draft / REPORTS / f"{case.id}.json", report_of(result, volume))
            if job.store is not None:
                # Before the files are in their places: a case that is done is one that is stored.
                try:
                    job.store.store([file for file in draft.rglob("*") if suffix_of(file) in DICOM_SUFFIXES])
                except InputError as error:
                    return self.failed(case, error)
            files = _move_into_place(draft, output)
        except OSError as error:
            raise InputError(
                f"{output} could not be written ({error.strerror or type(error).__name__}); free space, and go on with "
                "--resume."
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        record = CaseRecord(
            case=case.id,
            asked=asked,
            concepts=rows_of(volume, result),
            modality=volume.modality,
            model=model_name(self._identity),
            # The page and the column of the model say that it is a demo.
            messages=tuple(map(str, result.messages[int(self._identity.is_demo) :])),
            files=files,
        )
        write_record(output, record)
        return record

    def failed(self, case: Case, error: Exception) -> CaseRecord:
        """What is known of a case that was not read or segmented.

        Raises:
            Exception: ``error``, where it is none of the case but of all.
        """
        if isinstance(error, (ModelError, PackageError, EngineError)):
            raise error
        if isinstance(error, InputError):
            sentence = case.without_names(str(error))
        elif isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            sentence = "There was not enough memory for this case; take a smaller model or another --device."
        else:
            # What an unknown error says may hold anything.
            sentence = f"Something went wrong that should not ({type(error).__name__}); repeat with --verbose."
        record = CaseRecord(case.id, self._job.asked_hash(case, self._identity), failure=sentence)
        write_record(self._job.output, record)
        return record


def prepare_output(output: Path) -> None:
    """Make the folders of a cohort's output, and remove what a run that was killed left half written.

    Raises:
        InputError: the disk refuses.
    """
    try:
        shutil.rmtree(output / DRAFTS, ignore_errors=True)
        for folder in (SEGMENTATIONS, REPORTS, THUMBNAILS, RECORDS, DRAFTS):
            (output / folder).mkdir(parents=True, exist_ok=True)
            for left in (output / folder).glob(".*.part.*"):
                left.unlink()
    except OSError as error:
        raise InputError(f"{output} cannot be written to ({error.strerror}); choose another folder.") from None


def discard_drafts(output: Path, case: Case) -> None:
    """Remove what a process that was lost has left half written of a case."""
    for draft in (output / DRAFTS).glob(f"{case.id}@*"):
        shutil.rmtree(draft, ignore_errors=True)


def _move_into_place(draft: Path, output: Path) -> dict[str, int]:
    """Each file of a draft into the output folder; what they are called there, and their bytes."""
    files = {}
    for file in sorted(path for path in draft.rglob("*") if path.is_file()):
        name = file.relative_to(draft)
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())
        files[name.as_posix()] = file.stat().st_size
        file.replace(output / name)
    # The segmentation first: it is what the overview leads to.
    return dict(sorted(files.items(), key=lambda item: not item[0].startswith(SEGMENTATIONS)))
