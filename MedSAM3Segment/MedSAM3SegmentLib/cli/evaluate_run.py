"""From the options of ``medsam3 evaluate`` to cases, what predicts them, and the results on the terminal."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.evaluation.cases.case import CaseSet
from MedSAM3SegmentLib.evaluation.cases.folder_cases import folder_cases
from MedSAM3SegmentLib.evaluation.cases.label_files import values_by_concept
from MedSAM3SegmentLib.evaluation.empty_rule import EmptyRule
from MedSAM3SegmentLib.evaluation.evaluate_cases import Evaluation, evaluate
from MedSAM3SegmentLib.evaluation.prediction import FilePredictions, Predictor
from MedSAM3SegmentLib.evaluation.tables import Table, facts_of, tables_of

from .signals import Interruption
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.table import Table as RichTable


def evaluate_as_asked(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    """Evaluate and print the tables.

    Raises:
        InputError, ModelError, PackageError, Cancelled: as ``evaluate_cases.evaluate``.
    """
    evaluation = evaluation_of(options)
    with terminal.busy("looking at the cases"):
        case_set = cases_of(options)
        predictor = predictor_of(options, case_set)
    with interruption.gently() as stop, terminal.progress() as show:
        summary = evaluate(
            case_set, predictor, evaluation, lambda done, count: show("evaluating", done, count, "cases"), stop
        )
    for fact in facts_of(summary):
        terminal.note(fact)
    for table in tables_of(summary):
        terminal.result(_rich(table))
    terminal.result(f"Wrote {evaluation.output}: cases.csv, summary.json, tables.md and tables.html.")


def evaluation_of(options: argparse.Namespace) -> Evaluation:
    """How it is scored.

    Raises:
        InputError: an option is missing or cannot be used.
    """
    if options.output is None:
        raise InputError("--output is missing; name the folder to write.")
    if not (math.isfinite(options.tolerance) and options.tolerance >= 0):
        raise InputError(f"The tolerance {options.tolerance:g} is no length; give 0 or more millimetres.")
    tolerance = None if options.no_surfaces else options.tolerance
    return Evaluation(
        options.output, tolerance, EmptyRule(options.empty_rule), options.baseline, not options.no_pictures
    )


def cases_of(options: argparse.Namespace) -> CaseSet:
    """The cases that were named.

    Raises:
        InputError: there are none, or they cannot be used.
    """
    values = values_by_concept(options.label)
    if options.references is None:
        raise InputError("Nothing was named to evaluate; give --references and --predictions.")
    if options.objects and len(values) > 1:
        raise InputError("--objects takes each value for an object of one concept; give one --label at most.")
    return folder_cases(options.references, values, of_objects=options.objects)


def predictor_of(options: argparse.Namespace, case_set: CaseSet) -> Predictor:
    """What predicts them.

    Raises:
        InputError: nothing was named, or it does not fit the cases.
    """
    if options.predictions is None:
        raise InputError("--predictions is missing; name the folder with the masks to score.")
    return FilePredictions(
        options.predictions, case_set, {}, of_objects=options.objects, missing_as_empty=options.missing_as_empty
    )


def _rich(table: Table) -> RichTable:
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(title=table.title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in table.columns:
        made.add_column(Text(column), overflow="fold")
    for row in table.rows:
        made.add_row(*(Text(cell) for cell in row))
    return made
