"""Evaluate all cases and write what comes of it: a CSV of cases, a summary, tables and pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.io.atomic_write import atomic_write
from MedSAM3SegmentLib.ordered_processes import processes_in_order
from MedSAM3SegmentLib.units import format_count
from MedSAM3SegmentLib.volume import Volume

from .case_pictures import draw_cases
from .case_row import COLUMNS, CaseRow, score_case
from .cases.case import CaseSet, EvaluationCase, Reference, check_names
from .empty_rule import EmptyRule
from .kept_masks import KeptMasks
from .pages import html_of, markdown_of
from .prediction import Prediction, Predictor
from .run_folder import CaseResult, RunFolder, locked, read_run
from .scores.mask_scores import SURFACE_LIBRARY, check_surface_library
from .summarize import compare_methods, compare_runs, compare_words_with_boxes, summarize, summarize_together

FORMAT = 1

_EMPTY_RULES = {
    EmptyRule.LEFT_OUT: "Cases without a reference are left out of the means; whether something was found there is "
    "counted under presence. Where a reference is missed, Dice, IoU and NSD are 0 and HD95 is undefined.",
    EmptyRule.AS_ONE: "Cases without a reference count in the means of Dice and IoU as 1 where nothing was found and "
    "as 0 where something was. Where a reference is missed, Dice, IoU and NSD are 0 and HD95 is undefined.",
}


@dataclass(frozen=True)
class Evaluation:
    """How a run is scored and where it is written.

    Attributes:
        output: folder to write; one of the same run that was ended is gone on with.
        tolerance: of NSD, in mm or pixels; None measures no surfaces.
        rule: what cases without a reference count as.
        baseline: folder of an earlier run on the same cases, or None.
        pictures: whether the worst, median and best cases are drawn.
        jobs: processes that score beside this one; what they give is the same.
    """

    output: Path
    tolerance: float | None = 2.0
    rule: EmptyRule = EmptyRule.LEFT_OUT
    baseline: Path | None = None
    pictures: bool = True
    jobs: int = 0


#: Told how many cases of how many are done.
ShowDone = Callable[[int, int], None]


def evaluate(
    case_set: CaseSet,
    predictor: Predictor,
    evaluation: Evaluation,
    show: ShowDone = lambda _done, _all: None,
    cancel: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Score all cases and write the results.

    Returns:
        What stands in ``summary.json``.

    Raises:
        InputError: a file cannot be used; what is done is kept, and the same command goes on there.
        Cancelled: ``cancel`` said so between two cases; as above.
        PackageError: surfaces are to be measured and the library is missing.
    """
    check_names(case_set.cases)
    if evaluation.tolerance is not None:
        check_surface_library()
    baseline = None if evaluation.baseline is None else read_run(evaluation.baseline)
    settings = {
        "format": FORMAT,
        "title": case_set.title,
        "split": case_set.split_hash(),
        "concepts": dict(case_set.concepts),
        "predictor": predictor.describe(),
        "tolerance": evaluation.tolerance,
    }
    with locked(evaluation.output):
        run = RunFolder(evaluation.output, settings)
        _do_cases(case_set, predictor, evaluation, run, show, cancel)
        show(len(case_set.cases), len(case_set.cases))
        results = [run.done[case.name] for case in case_set.cases]
        rows = [row for some, _ in results for row in some]
        notes = [*case_set.notes, *predictor.notes, *_gathered([some for _, some in results])]
        summary = _summary(case_set, settings, rows, notes, evaluation, baseline)
        _write_cases(evaluation.output / "cases.csv", rows)
        pictures = (
            draw_cases(case_set.cases, predictor, summary, rows, evaluation.output) if evaluation.pictures else []
        )
        _write_text(evaluation.output / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
        _write_text(evaluation.output / "tables.md", markdown_of(summary))
        _write_text(evaluation.output / "tables.html", html_of(summary, pictures))
    return summary


def _do_cases(
    case_set: CaseSet,
    predictor: Predictor,
    evaluation: Evaluation,
    run: RunFolder,
    show: ShowDone,
    cancel: Callable[[], bool],
) -> None:
    """Score what is not done yet; a model segments here, files are read where they are scored."""
    # Whoever asks a model is not sent anywhere; its masks are written where they are scored.
    shared = predictor.kept if predictor.needs_image else predictor
    todo = [case for case in case_set.cases if case.name not in run.done]
    is_ahead = predictor.needs_image and evaluation.jobs > 0
    with ThreadPoolExecutor(1, "read") as reader, processes_in_order(evaluation.jobs, shared) as scored:
        reading = reader.submit(_read, todo[0], predictor) if is_ahead and todo else None
        for number, case in enumerate(todo):
            show(len(case_set.cases) - len(todo) + number, len(case_set.cases))
            try:
                if cancel():
                    raise Cancelled()
                predicted = None
                if predictor.needs_image:
                    read = _read(case, predictor) if reading is None else reading.result()
                    if is_ahead and number + 1 < len(todo):
                        reading = reader.submit(_read, todo[number + 1], predictor)
                    predicted = _predict(case, predictor, *read)
            except (Cancelled, InputError, ModelError) as error:
                _keep(run, scored.rest())
                if isinstance(error, Cancelled):  # also by the model, in the middle of a case
                    raise Cancelled(
                        f"Stopped after {format_count(len(run.done), 'case')}; the same command goes on there."
                    ) from None
                raise
            work = (_predict_and_score, case) if predicted is None else (_score, case, *predicted)
            _keep(run, scored.add(case.name, *work, evaluation.tolerance))
        _keep(run, scored.rest())


def _keep(run: RunFolder, done: Iterable[tuple[str, CaseResult]]) -> None:
    for name, (rows, notes) in done:
        run.add(name, rows, notes)


def _read(case: EvaluationCase, predictor: Predictor) -> tuple[Volume | None, Mapping[str, Reference]]:
    volume = None
    if predictor.needs_image:
        volume = case.read_image()
        if volume is None:
            raise InputError(f"{case.name} has no image that a model could segment; give --predictions.")
    return volume, case.read_references(None if volume is None else volume.grid)


def _predict(
    case: EvaluationCase, predictor: Predictor, volume: Volume | None, references: Mapping[str, Reference]
) -> tuple[Mapping[str, Reference], list[Prediction], list[str]]:
    """References and predictions of a case, and what the user should know of them."""
    predictions, notes = predictor.predict(case, references, volume)
    notes += [note for reference in references.values() for note in reference.notes]
    return references, predictions, notes


def _score(
    kept: KeptMasks | None,
    case: EvaluationCase,
    references: Mapping[str, Reference],
    predictions: Sequence[Prediction],
    notes: list[str],
    tolerance: float | None,
) -> CaseResult:
    if kept is not None:
        for one in predictions:
            kept.keep(case, references[one.concept], one)
    rows = [score_case(case, one.reference or references[one.concept], one, tolerance) for one in predictions]
    return rows, notes


def _predict_and_score(predictor: Predictor, case: EvaluationCase, tolerance: float | None) -> CaseResult:
    return _score(None, case, *_predict(case, predictor, *_read(case, predictor)), tolerance)


def _gathered(notes: Sequence[Sequence[str]]) -> list[str]:
    """Each sentence once, with the number of cases that it is true of."""
    counts: dict[str, int] = {}
    for some in notes:
        for note in dict.fromkeys(some):
            counts[note] = counts.get(note, 0) + 1
    return [note if count == len(notes) else f"{count} of {len(notes)} cases: {note}" for note, count in counts.items()]


def _summary(
    case_set: CaseSet,
    settings: dict[str, Any],
    rows: Sequence[CaseRow],
    notes: list[str],
    evaluation: Evaluation,
    baseline: tuple[dict[str, Any], list[CaseRow]] | None,
) -> dict[str, Any]:
    against = []
    if baseline is not None:
        kept, theirs = baseline
        against = compare_runs(rows, theirs, evaluation.rule)
        if not against:
            raise InputError(
                f"{evaluation.baseline} and this run have no case and concept in common; compare runs of one data set."
            )
        if kept.get("split") != settings["split"]:
            notes.append("The baseline was run on other cases or references; only cases of both are compared.")
    return {
        "format": FORMAT,
        "title": case_set.title,
        "split": {
            "cases": len(case_set.cases),
            "description": case_set.split,
            "sha256": settings["split"],
            "names": [case.name for case in case_set.cases],
        },
        "predictor": settings["predictor"],
        "concepts": settings["concepts"],
        "rules": {
            "empty_rule": evaluation.rule.value,
            "empty": _EMPTY_RULES[evaluation.rule],
            "tolerance": evaluation.tolerance,
            "distance_units": sorted({row.distance_unit for row in rows}),
            "surface_library": SURFACE_LIBRARY,
        },
        "results": summarize(rows, evaluation.rule),
        "words_against_boxes": compare_words_with_boxes(rows, evaluation.rule),
        "against_baseline": against,
        "together": summarize_together(rows, case_set.groups, evaluation.rule),
        "methods_compared": compare_methods(rows, case_set.compared, case_set.groups, evaluation.rule),
        "further_tables": [] if case_set.further_tables is None else list(map(asdict, case_set.further_tables(rows))),
        "published": list(case_set.published),
        "notes": notes,
    }


def _write_cases(path: Path, rows: Sequence[CaseRow]) -> None:
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            hits = row.object_hits
            measured = None if row.measured is None else json.dumps(row.measured)
            listed = None if hits is None else " ".join(map(str, hits))
            writer.writerow({**row.to_plain(), "object_hits": listed, "measured": measured})


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")
