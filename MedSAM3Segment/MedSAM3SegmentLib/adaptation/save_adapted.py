"""What was learnt from the drawn slices of one volume, saved as an adapter of the model store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.model_store.store import check_new_name, store_folder
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.run_context import RunContext

from .held_out import HeldOutScore


@dataclass(frozen=True)
class Lesson:
    """What was learnt from, and what it is worth.

    Attributes:
        slices: that were learnt from.
        scores: of the concepts that it is used for, between drawn slices and beyond them.
    """

    slices: int
    scores: Mapping[str, tuple[HeldOutScore, HeldOutScore | None]]


def save_adapted(run: RunContext, adapted: Sam3Detector, lesson: Lesson) -> None:
    """Save an adapted detector under the name that was asked for, and say so, or why it could not be.

    The result does not depend on it, so a full disk ends no run.
    """
    from MedSAM3SegmentLib.adapters.adapter_folder import write_adapter
    from MedSAM3SegmentLib.training.detector_trainer import half_precision
    from MedSAM3SegmentLib.training.fine_tuning.tuning import ENCODERS

    name, base = run.request.adapt_name, run.features.model
    changed = {
        weight: half_precision(value.detach())
        for weight, value in adapted.network.named_parameters()
        if not weight.startswith(ENCODERS)
    }
    try:
        # Somebody may have taken the name meanwhile.
        check_new_name(name)
        write_adapter(store_folder() / name, _card(run, base, lesson), {}, changed)
    except OSError as error:
        why = str(error.strerror or type(error).__name__)
        run.reporter.add_message(message("What was learnt could not be saved ({why}).", why=why))
    except InputError:
        run.reporter.add_message(message("What was learnt was not saved, since its name was taken meanwhile."))
    else:
        run.reporter.add_message(
            message("What was learnt was saved as an adapter under the name given; 'medsam3 adapters list' shows it.")
        )
        if not base.source:
            run.reporter.add_message(
                message("Its base is no installed model, so name it too when it is used, as in --model BASE+NAME.")
            )


def _card(run: RunContext, base: Sam3Detector, lesson: Lesson) -> ModelCard:
    """The card, without any name of a patient or a file."""
    from MedSAM3SegmentLib.training.fine_tuning.adapt_to_slices import describe_training

    figures: dict[str, float] = {}
    for concept, (between, beyond) in lesson.scores.items():
        for place, score in (("between drawn slices", between), ("beyond drawn slices", beyond)):
            if score is not None:
                figures[f"Dice of {concept} {place}"] = round(score.with_it, 4)
                figures[f"Dice of {concept} {place} without it"] = round(score.without, 4)
    identity = base.identity
    return replace(
        base.card,
        name=run.request.adapt_name,
        description="Learnt from drawn slices of one volume, for that volume; others were not tried",
        source="",
        base=base.source,
        base_sha256=identity.sha256,
        prompts=("T",),
        modality=run.volume.modality or base.card.modality,
        concepts=tuple(lesson.scores),
        data=f"{lesson.slices} drawn slices of one volume",
        validation=figures,
        training={**describe_training(), "base": {"name": identity.name, "sha256": identity.sha256}},
    )
