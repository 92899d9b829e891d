"""From the options of ``medsam3 evaluate`` to cases, what predicts them, and the results on the terminal."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.cli.options.model import ModelSection
from MedSAM3SegmentLib.datasets.findings import listed
from MedSAM3SegmentLib.datasets.label_files import values_by_concept
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.evaluation.cases.case import CaseSet
from MedSAM3SegmentLib.evaluation.cases.dataset_catalog import find_described, read_catalog
from MedSAM3SegmentLib.evaluation.cases.described_cases import described_cases
from MedSAM3SegmentLib.evaluation.cases.films import as_films
from MedSAM3SegmentLib.evaluation.cases.folder_cases import folder_cases
from MedSAM3SegmentLib.evaluation.cases.manifest_cases import manifest_cases
from MedSAM3SegmentLib.evaluation.cases.nnunet_cases import nnunet_cases
from MedSAM3SegmentLib.evaluation.empty_rule import EmptyRule
from MedSAM3SegmentLib.evaluation.evaluate_cases import Evaluation, evaluate
from MedSAM3SegmentLib.evaluation.model_prediction import ModelPredictions, PromptKind
from MedSAM3SegmentLib.evaluation.pages import facts_of
from MedSAM3SegmentLib.evaluation.prediction import FilePredictions, Predictor
from MedSAM3SegmentLib.evaluation.tables import Table, tables_of
from MedSAM3SegmentLib.progress import RunCallbacks
from MedSAM3SegmentLib.units import format_count
from MedSAM3SegmentLib.vocabulary.phrases import split_phrases

from .commands.evaluate import METHOD_STUDIES, STUDIES
from .evaluate_study import in_study, phantoms_of, study_of, study_predictions
from .signals import Interruption
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.table import Table as RichTable

#: Where cases come from, of which one is given.
_SOURCES = ("dataset", "manifest", "nnunet", "references")


def evaluate_as_asked(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    """Evaluate and print the tables, or list the data sets.

    Raises:
        InputError, ModelError, PackageError, Cancelled: as ``evaluate_cases.evaluate``.
    """
    if options.list:
        terminal.result(_catalog())
        return
    evaluation = evaluation_of(options)
    check_options(options)
    with terminal.busy("looking at the cases"):
        case_set = cases_of(options)
    kinds, phrases = prompts_of(options, case_set)
    with interruption.gently() as stop:
        with terminal.busy(_what_comes_first(options)):
            predictor = predictor_of(options, case_set, kinds, phrases, RunCallbacks(cancel=stop))
        with terminal.progress() as show:
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
        options.output,
        tolerance,
        EmptyRule(options.empty_rule),
        options.baseline,
        not options.no_pictures,
        options.jobs,
    )


def check_options(options: argparse.Namespace) -> None:
    """Find out before anything is read whether options fit each other.

    Raises:
        InputError: they do not.
    """
    given = [name for name in _SOURCES if getattr(options, name) is not None]
    _check_study(options, given)
    if len(given) != 1 and not (not given and options.study in METHOD_STUDIES):
        named = " and ".join(f"--{name}" for name in given) or "nothing"
        raise InputError(f"{named} was named to evaluate; give one of {', '.join(f'--{name}' for name in _SOURCES)}.")
    if (options.dataset is None) != (options.root is None):
        raise InputError("--dataset and --root belong together: the data set's name, and the folder it is in.")
    if (options.predictions is None) == (options.model is None):
        raise InputError("Give either --model, which segments the cases, or --predictions, masks that there are.")
    if options.references is not None and options.predictions is None:
        raise InputError("--references has no images for a model; give --predictions, or a --manifest.")
    for name in ("prompts", "threshold"):
        if options.predictions is not None and getattr(options, name) is not None:
            raise InputError(f"--{name} is for a model and says nothing of --predictions; leave it out.")
    if options.split is not None and options.dataset is None and options.nnunet is None:
        raise InputError("--split is for --dataset and --nnunet; leave it out.")
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise InputError(f"The threshold {options.threshold:g} is not between 0 and 1.")
    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit {options.limit} leaves no case; give 1 or more.")
    if options.objects and options.references is None:
        raise InputError("--objects is for --references; data sets say themselves where objects are told apart.")
    if options.study == "agent-gain" and (options.predictions is None or options.baseline is None):
        raise InputError(
            "The study agent-gain needs --predictions of the agent and, as --baseline, the evaluation of the model "
            "that it works with."
        )
    if options.study in ("fine-concepts", "words-or-boxes") and options.model is None:
        raise InputError(f"The study {options.study} needs a --model.")


def _check_study(options: argparse.Namespace, given: Sequence[str]) -> None:
    """Whether what is for studies that ask in several ways goes with one, and what is not does not.

    Raises:
        InputError: it does not.
    """
    if options.study not in METHOD_STUDIES:
        for name in ("phantoms", "spacing", "methods", "conditions"):
            if getattr(options, name) is not None:
                raise InputError(f"--{name} is for --study {', '.join(METHOD_STUDIES)}; leave it out.")
        return
    options.model = options.model or "demo"
    for name in ("predictions", "references", "prompts", "threshold"):
        if getattr(options, name) is not None:
            raise InputError(f"--{name} is not for the study {options.study}, which has its own ways; leave it out.")
    if options.study == "demo" and given:
        raise InputError(f"The study {options.study} is made of phantoms; leave out --{given[0]}.")
    if given and (options.phantoms is not None or options.spacing is not None):
        raise InputError(f"--phantoms and --spacing do not go with --{given[0]}; give one of them.")
    if options.video:
        raise InputError(f"The study {options.study} is not for films; leave out --video.")


def cases_of(options: argparse.Namespace) -> CaseSet:
    """The cases that were named.

    Raises:
        InputError: there are none, or they cannot be used.
    """
    values = values_by_concept(options.label)
    if options.dataset is not None:
        split = options.split or "test"
        case_set = described_cases(find_described(options.dataset), options.root, split, partial=options.partial)
    elif options.manifest is not None:
        case_set = manifest_cases(options.manifest)
    elif options.nnunet is not None:
        case_set = nnunet_cases(options.nnunet, options.split, options.channel)
    elif options.references is None:
        case_set = phantoms_of(options, study_of(options))
    else:
        if options.objects and len(values) > 1:
            raise InputError("--objects takes each value for an object of one concept; give one --label at most.")
        case_set = folder_cases(options.references, values, of_objects=options.objects, of_frames=options.video)
    if options.video and options.references is None:
        if options.dataset is None:
            raise InputError("--video is for --references and for a --dataset with films; leave it out.")
        # Files of a tool are frames; a model sees the whole film.
        case_set = as_films(case_set) if options.predictions is None else case_set
    if options.study in METHOD_STUDIES:
        case_set = in_study(case_set, study_of(options))
    if options.limit is not None and options.limit < len(case_set.cases):
        split = f"the first {options.limit} of {format_count(len(case_set.cases), 'case')} of {case_set.split}"
        case_set = replace(case_set, cases=case_set.cases[: options.limit], split=split)
    concepts = options.concept or (_fine_concepts(options) if options.study == "fine-concepts" else [])
    return case_set.restricted_to(concepts) if concepts else case_set


def prompts_of(options: argparse.Namespace, case_set: CaseSet) -> tuple[list[PromptKind], dict[str, tuple[str, ...]]]:
    """Ways of asking, and by concept the phrases.

    Raises:
        InputError: a phrase is for no concept, or for several.
    """
    kinds: list[PromptKind] = []
    phrases: dict[str, tuple[str, ...]] = {name: (phrase,) for name, phrase in case_set.concepts.items()}
    if options.study in STUDIES and options.dataset is not None:
        described = find_described(options.dataset).concepts
        phrases = {name: described[name].wordings or phrases[name] for name in phrases}
    for text in options.prompts or ():
        parts = [part.strip() for part in text.split(";") if part.strip()]
        words = [part for part in parts if part.upper() not in list(PromptKind)]
        kinds += [PromptKind(part.upper()) for part in parts if part.upper() in list(PromptKind)]
        if words:
            name, equals, rest = words[0].partition("=")
            concept = name.strip() if equals else next(iter(phrases))
            if concept not in phrases or (not equals and len(phrases) > 1):
                raise InputError(
                    f"It is not clear what '{words[0]}' is asked for; write CONCEPT=phrase with one of "
                    f"{', '.join(phrases)}."
                )
            phrases[concept] = split_phrases("; ".join([rest, *words[1:]] if equals else words))
    if options.study == "words-or-boxes":
        kinds = [PromptKind.WORDS, PromptKind.WORDS_AND_BOX]
    elif options.study == "fine-concepts":
        kinds = [PromptKind.WORDS]
    return list(dict.fromkeys(kinds)) or [PromptKind.WORDS], phrases


def _what_comes_first(options: argparse.Namespace) -> str:
    if options.predictions is not None:
        return "looking at the predictions"
    return "making ready" if ModelSection.of(options).is_none else "loading the model"


def predictor_of(
    options: argparse.Namespace,
    case_set: CaseSet,
    kinds: Sequence[PromptKind],
    phrases: Mapping[str, tuple[str, ...]],
    callbacks: RunCallbacks,
) -> Predictor:
    """What predicts the cases.

    Raises:
        InputError: it does not fit the cases.
        ModelError: the model cannot be loaded exactly.
    """
    if options.predictions is not None:
        values = {} if options.references is not None else values_by_concept(options.label)
        return FilePredictions(
            options.predictions, case_set, values, options.objects, missing_as_empty=options.missing_as_empty
        )
    if options.study in METHOD_STUDIES:
        return study_predictions(options, study_of(options), case_set, callbacks)
    without = [case.name for case in case_set.cases if not case.has_image]
    if without:
        raise InputError(f"There is no image of {listed(without)} that a model could segment; add them.")
    section = ModelSection.of(options)
    section.check()
    segmenter = section.load_segmenter()
    identity = segmenter.model.identity.as_dict()
    masks = options.output / "masks"
    return ModelPredictions(segmenter, identity, phrases, kinds, options.threshold, masks, callbacks)


def _fine_concepts(options: argparse.Namespace) -> list[str]:
    """Raises InputError where the data set has none."""
    if options.dataset is None:
        raise InputError("The study fine-concepts needs a --dataset, or a --concept for each that is fine.")
    fine = [name for name, files in find_described(options.dataset).concepts.items() if files.fine]
    if not fine:
        sets = [name for name, one in read_catalog().items() if any(f.fine for f in one.concepts.values())]
        raise InputError(f"{options.dataset} has no fine concepts; the study is for {', '.join(sets)}.")
    return fine


def _catalog() -> RichTable:
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(box=None, padding=(0, 2, 1, 0))
    for column in ("name", "what", "license", "from", "expected on disk"):
        table.add_column(column, overflow="fold")
    for name, one in read_catalog().items():
        phrases = ", ".join(f"'{files.phrase}'" for files in one.concepts.values())
        count = ", ".join(f"{number} {split}".strip() for split, number in one.expected.items())
        cells = (name, f"{one.title}: {phrases}; {count} images", one.license, one.source, one.layout)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _rich(table: Table) -> RichTable:
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(title=table.title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in table.columns:
        made.add_column(Text(column), overflow="fold")
    for row in table.rows:
        made.add_row(*(Text(cell) for cell in row))
    return made
