"""What a model can do: its tracker, or the refusal where it has none, also before it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from MedSAM3SegmentLib.errors import InputError, MissingTrackerError
from MedSAM3SegmentLib.interpolation.drawn_concepts import concept_shown_elsewhere
from MedSAM3SegmentLib.model_store.resolve import resolve
from MedSAM3SegmentLib.model_store.store import check_new_name
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.volume import Volume

if TYPE_CHECKING:
    from .detector import Sam3Detector
    from .tracker import Tracker


def check_abilities(model: str, request: SegmentRequest, volume: Volume | None = None) -> None:
    """Refuse what a model could not do before it is loaded, which takes a while, and before its turn has come.

    Args:
        volume: that is segmented, where it is known already; examples in it are drawn slices.

    Raises:
        ModelError: there is no such model.
        InputError: what would be learnt cannot be saved.
        MissingTrackerError: the request needs a tracker and the model has none.
    """
    check_adaptation(request)
    tracked = [concept for concept in request.concepts if request.tracks(concept)]
    # What was drawn on several slices needs none; how many they are is known when the volume is cut.
    drawn = [concept for concept in tracked if concept in request.prompts and request.prompts[concept].masks]
    is_drawn = len(drawn) == len(tracked)
    if request.examples:
        is_drawn = volume is not None and concept_shown_elsewhere(request, volume) is None
    if is_drawn:
        return
    # They need PyTorch, which a service that is only asked for its state does without.
    from MedSAM3SegmentLib.checkpoints.checkpoint import Checkpoint, Part

    base, _ = resolve(model)
    if not Checkpoint.open(base.weights).has(Part.TRACKER):
        raise missing_tracker(base.card.name, None if request.examples else request.mode)


def check_adaptation(request: SegmentRequest, model: Sam3Detector | None = None) -> None:
    """Refuse to learn for a name that cannot be given, before it takes a minute.

    Args:
        model: that would learn, where it is loaded.

    Raises:
        InputError: the name is taken or cannot be a folder's, or the model is itself a base with an adapter.
    """
    if not request.adapt_name:
        return
    check_new_name(request.adapt_name)
    if model is not None and model.identity.adapters:
        raise InputError(
            "What is learnt on a base with an adapter cannot be saved, since only one adapter is used at a time; make "
            "one model of both with 'medsam3 models convert', or give no name."
        )


def tracker_of(model: Sam3Detector, mode: Mode | None) -> Tracker:
    """The model's tracker.

    Args:
        mode: what needs it; None for segmenting by examples.

    Raises:
        MissingTrackerError: it has none.
    """
    from .tracker import Tracker  # needs PyTorch, as the model does

    if model.tracker is None:
        raise missing_tracker(model.card.name, mode)
    return Tracker(model.tracker)


def missing_tracker(model: str, mode: Mode | None) -> MissingTrackerError:
    """The refusal where a model, by its name, has no tracker; see ``tracker_of``."""
    if mode is None:
        return MissingTrackerError(
            "The model {model} has no tracker, which segmenting by examples needs; choose another one.", model=model
        )
    return MissingTrackerError(
        "The model {model} has no tracker, which the mode '{mode}' needs; choose another model, or the mode '{other}'.",
        model=model,
        mode=mode,
        other=Mode.SLICES,
    )
