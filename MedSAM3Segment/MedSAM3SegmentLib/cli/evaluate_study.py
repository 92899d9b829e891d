"""From the options of ``medsam3 evaluate --study`` to the cases of a study and who is asked."""

from __future__ import annotations

import argparse
from dataclasses import replace

from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.cli.options.model import ModelSection
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.evaluation.cases.case import CaseSet
from MedSAM3SegmentLib.evaluation.studies.find_study import find_study
from MedSAM3SegmentLib.evaluation.studies.phantom_cases import phantom_cases
from MedSAM3SegmentLib.evaluation.studies.study import Study, StudyPredictions
from MedSAM3SegmentLib.progress import RunCallbacks


def study_of(options: argparse.Namespace) -> Study:
    """The study that was named.

    Raises:
        InputError: it is not there, or is asked for what it does not have.
    """
    study = find_study(options.study)
    study.chosen(_listed(options.methods), _listed(options.conditions))
    if study.needs_model and ModelSection.of(options).is_none:
        raise InputError(f"The study {study.name} needs a model; give --model.")
    return study


def phantoms_of(options: argparse.Namespace, study: Study) -> CaseSet:
    """The phantoms of a study, those that were named or its own.

    Raises:
        InputError: they cannot be understood.
    """
    seeds = range(*study.seeds)
    if options.phantoms is not None:
        first, colon, end = options.phantoms.partition(":")
        if not (colon and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
            raise InputError(f"'{options.phantoms}' names no phantoms; write A:B for those from A up to B - 1.")
        seeds = range(int(first), int(end))
    spacing = study.spacing if options.spacing is None else options.spacing
    if spacing is not None and not 0.5 <= spacing <= 50:
        raise InputError(f"Slices {spacing:g} mm apart make no phantom; give 0.5 to 50.")
    return phantom_cases(seeds, study.concepts, spacing, with_absent=study.with_absent)


def in_study(case_set: CaseSet, study: Study) -> CaseSet:
    """Cases with what the study reports of them together."""
    groups = {title: [name for name in some if name in case_set.concepts] for title, some in study.groups.items()}
    if not all(groups.values()):
        groups = {"all concepts": list(case_set.concepts)}
    return replace(case_set, groups=groups, compared=study.compared, further_tables=study.further_tables)


def study_predictions(
    options: argparse.Namespace, study: Study, case_set: CaseSet, callbacks: RunCallbacks
) -> StudyPredictions:
    """Who is asked in a study.

    Raises:
        InputError, ModelError: the model cannot be loaded.
    """
    named = _listed(options.conditions)
    if not case_set.cases[0].make_image:
        named = named or list(study.usual_conditions)
    methods, conditions = study.chosen(_listed(options.methods), named)
    section = ModelSection.of(options)
    segmenter: SegmenterProtocol
    if section.is_none:
        from MedSAM3SegmentLib.without_model import ShapeSegmenter

        segmenter = ShapeSegmenter()
        identity = {"name": section.source, "sha256": "", "demo": False, "adapters": []}
    else:
        section.check()
        loaded = section.load_segmenter()
        segmenter, identity = loaded, loaded.model.identity.as_dict()
    masks = options.output / "masks"
    return StudyPredictions(study, segmenter, identity, case_set.concepts, methods, conditions, masks, callbacks)


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(";") if part.strip()]
