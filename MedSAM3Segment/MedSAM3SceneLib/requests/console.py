"""What a person types into Slicer's Python console or panel, as the engine's request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from enum import StrEnum
from typing import TypeVar

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import Plane
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.prompts.prompts import TargetPrompts
from MedSAM3SegmentLib.request import (
    AssemblyOptions,
    Grouping,
    Mode,
    SegmentRequest,
)
from MedSAM3SegmentLib.vocabulary.phrases import split_phrases

Word = TypeVar("Word", bound=StrEnum)
Number = TypeVar("Number", int, float)


def request_from(
    concepts: str | Iterable[str],
    *,
    plane: str = Plane.ACQUIRED,
    window: str | tuple[float, float] | Window | None = None,
    threshold: float | None = None,
    slices: tuple[int, int] | None = None,
    mode: str = Mode.SLICES,
    more_planes: Iterable[str] = (),
    grouping: str = Grouping.CONCEPT,
    prompts: Mapping[str, TargetPrompts] | None = None,
    inside: str | None = None,
    assembly: AssemblyOptions | Mapping[str, bool] | None = None,
) -> SegmentRequest:
    """The request for what was typed.

    Args:
        concepts: phrases, or text in which ``;`` and new lines separate them.
        plane: ``acquired``, ``axial``, ``coronal`` or ``sagittal``.
        window: a preset's name, (low, high) in the volume's unit, or None for each concept's own.
        threshold: lowest score that is kept, 0 to 1, or None for the model's own.
        slices: half-open range (first, end) along the stack, or None for all.
        mode: ``slices``, ``propagate`` or ``from prompts``.
        more_planes: planes to look along as well.
        grouping: ``one segment per concept`` or ``one segment per instance``.
        prompts: what was drawn, by concept.
        inside: words for what all else must lie in, one of the concepts or something that is looked for first.
        assembly: which clean-up steps run, as ``assembly_from`` takes them, or None for the usual ones.

    Raises:
        InputError: one of them cannot be used; the message says which and why.
    """
    for concept, drawn in (prompts or {}).items():
        if not isinstance(drawn, TargetPrompts):
            raise InputError(
                "What was drawn for '{concept}' cannot be {drawn}; "
                "give MedSAM3SegmentLib.prompts.prompts.TargetPrompts.",
                concept=concept,
                drawn=repr(drawn),
            )
    return SegmentRequest(
        concepts=_phrases(concepts),
        plane=_one_of(Plane, plane, message("plane")),
        slices=None if slices is None else _pair(slices, int, message("The slices"), "(10, 40)"),
        window=_window(window),
        threshold=_threshold(threshold),
        mode=mode_named(mode),
        prompts=dict(prompts or {}),
        inside=inside,
        more_planes=tuple(_one_of(Plane, name, message("plane")) for name in more_planes),
        assembly=assembly_from(assembly),
        grouping=_one_of(Grouping, grouping, message("grouping")),
    )


def assembly_from(steps: AssemblyOptions | Mapping[str, bool] | None) -> AssemblyOptions:
    """The clean-up steps that were chosen, such as ``{"largest_only": True, "fill_gaps": False}``.

    Args:
        steps: True or False by the names of ``AssemblyOptions``; those that are not named stay as they usually are.

    Raises:
        InputError: a step has another name, or is neither True nor False.
    """
    if steps is None or isinstance(steps, AssemblyOptions):
        return steps or AssemblyOptions()
    names = [step.name for step in fields(AssemblyOptions)]
    if not isinstance(steps, Mapping):
        raise InputError(
            "The clean-up steps {steps} are not understood; write for example {{'{example}': True}}.",
            steps=repr(steps),
            example=names[-1],
        )
    for name, runs in steps.items():
        if name not in names:
            raise InputError(
                "There is no clean-up step named '{name}'; use one of {names}.", name=name, names=", ".join(names)
            )
        if not isinstance(runs, bool):
            raise InputError(
                "The clean-up step '{name}' cannot be {value}; use True or False.", name=name, value=repr(runs)
            )
    return AssemblyOptions(**steps)


def mode_named(text: str) -> Mode:
    """The mode of this name.

    Raises:
        InputError: there is none.
    """
    return _one_of(Mode, text, message("mode"))


def _phrases(concepts: str | Iterable[str]) -> tuple[str, ...]:
    if isinstance(concepts, str):
        return split_phrases(concepts)
    given = list(concepts) if isinstance(concepts, Iterable) else [concepts]
    for phrase in given:
        if not isinstance(phrase, str):
            raise InputError(
                "The concept {phrase} is no text; give phrases, such as ['liver', 'spleen'].", phrase=repr(phrase)
            )
    return split_phrases("\n".join(given))


def _window(window: str | tuple[float, float] | Window | None) -> Window | None:
    if window is None or isinstance(window, Window):
        return window
    return (
        Window.parse(window)
        if isinstance(window, str)
        else Window(*_pair(window, float, message("The window"), "(-160, 240)"))
    )


def _threshold(threshold: float | None) -> float | None:
    try:
        return None if threshold is None else float(threshold)
    except (TypeError, ValueError):
        raise InputError(
            "The threshold cannot be {threshold}; give a number from 0 to 1, or None.", threshold=repr(threshold)
        ) from None


def _pair(values: Iterable[float], kind: type[Number], what: Message, such_as: str) -> tuple[Number, Number]:
    try:
        first, second = (kind(value) for value in values)
    except (TypeError, ValueError):
        raise InputError(
            "{what} cannot be {values}; give two numbers, such as {such_as}.",
            what=what,
            values=repr(values),
            such_as=such_as,
        ) from None
    return first, second


def _one_of(words: type[Word], text: str, what: Message) -> Word:
    try:
        return words(str(text).strip().lower())
    except ValueError:
        raise InputError(
            "There is no {what} named '{text}'; use one of {names}.", what=what, text=str(text), names=", ".join(words)
        ) from None
