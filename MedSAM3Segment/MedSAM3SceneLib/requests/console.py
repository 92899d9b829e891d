"""What a person types into Slicer's Python console, checked and typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from enum import StrEnum
from typing import Any, TypeVar

from MedSAM3SceneLib.mrml.nodes import require_node
from MedSAM3SceneLib.mrml.volumes import check_volume_node
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.prompts.prompts import TargetPrompts
from MedSAM3SegmentLib.request import (
    Adapt,
    AssemblyOptions,
    Grouping,
    Mode,
    SegmentRequest,
)
from MedSAM3SegmentLib.slice_saving import SliceSaving
from MedSAM3SegmentLib.vocabulary.phrases import clean_phrase, split_phrases

from .drawn_prompts import segment_ids_named
from .example_nodes import check_any_shown, check_shown, node_pairs, shown_concepts
from .request_spec import RequestSpec

Word = TypeVar("Word", bound=StrEnum)
Number = TypeVar("Number", int, float)


def parse_spec(
    volume_node: Any,
    concepts: str | Iterable[str] | None = None,
    segmentation_node: Any | None = None,
    *,
    plane: str = Plane.ACQUIRED,
    window: str | tuple[float, float] | Window | None = None,
    threshold: float | None = None,
    slices: tuple[int, int] | None = None,
    mode: str = Mode.SLICES,
    prompts: Mapping[str, TargetPrompts] | None = None,
    roi: Any | None = None,
    inside: tuple[Any, str] | str | None = None,
    more_planes: Iterable[str] = (),
    grouping: str = Grouping.CONCEPT,
    assembly: AssemblyOptions | Mapping[str, bool] | None = None,
    view: Any | None = None,
    like: Any | None = None,
    model: str = "demo",
    device: str = "auto",
    replace_completed: bool = False,
    adapt: str | None = None,
    adapt_name: str = "",
    locate: Any | None = None,
    skim: int = 1,
    slice_distance: float = 0.0,
    draft: bool = False,
) -> RequestSpec:
    """What was typed, checked.

    Args:
        volume_node: what to segment.
        concepts: phrases, or text in which ``;`` and new lines separate them; with ``like`` the names of segments, None
            for all of them.
        segmentation_node, roi, view, model, device, replace_completed: as in ``RequestSpec``.
        plane: ``acquired``, ``axial``, ``coronal`` or ``sagittal``.
        window: a preset's name, (low, high) in the volume's unit, or None for each concept's own.
        threshold: lowest score that is kept, 0 to 1, or None for the model's own.
        slices: half-open range (first, end) along the stack, or None for all.
        mode: ``slices``, ``propagate`` or ``from prompts``.
        prompts: what was drawn, by concept.
        inside: a segmentation node and the name or ID of its segment that everything must lie in, or words for a
            structure that is found first, as ``SegmentRequest.inside`` takes them.
        more_planes: planes to look along as well.
        grouping: ``one segment per concept`` or ``one segment per instance``.
        assembly: which clean-up steps run, as ``build_assembly_options`` takes them, or None for the usual ones.
        like: a volume node and a segmentation node that show what to find in place of words, or several such pairs.
        locate: a volume node and a segmentation node that show where the concepts lie, or several such pairs.
        adapt: ``slices`` to learn from what was drawn first, or None.
        adapt_name: what to keep it as in the engine's model store, where it is used; empty to throw it away.
        skim: every how many slices to look first, and then only where something may be; 1 looks at all.
        slice_distance: slices nearer to each other, in millimeters, are interpolated; 0 interpolates none.
        draft: whether to look with half of the model's own pixels.

    Raises:
        InputError: one of them cannot be used; the message says which and why.
    """
    check_volume_node(volume_node)
    pairs = () if like is None else node_pairs(like)
    templates = () if locate is None else node_pairs(locate)
    if concepts is None:
        concepts = shown_concepts(pairs) if pairs else ()
    for concept, drawn in (prompts or {}).items():
        if not isinstance(drawn, TargetPrompts):
            raise InputError(
                "What was drawn for '{concept}' cannot be {drawn}; "
                "give MedSAM3SegmentLib.prompts.prompts.TargetPrompts.",
                concept=concept,
                drawn=repr(drawn),
            )
    request = SegmentRequest(
        concepts=_phrases(concepts),
        plane=_one_of(Plane, plane, message("plane")),
        slices=None if slices is None else _pair(slices, int, message("The slices"), "(10, 40)"),
        window=_window(window),
        threshold=_threshold(threshold),
        # What was drawn is read once the volume is, so until then nothing is tracked yet.
        mode=Mode.SLICES,
        prompts={clean_phrase(concept): drawn for concept, drawn in (prompts or {}).items()},
        inside=inside if isinstance(inside, str) else None,
        more_planes=tuple(_one_of(Plane, name, message("plane")) for name in more_planes),
        assembly=build_assembly_options(assembly),
        grouping=_one_of(Grouping, grouping, message("grouping")),
        adapt=None if adapt is None else _one_of(Adapt, adapt, message("adaptation")),
        adapt_name=adapt_name,
        saving=_saving(skim, slice_distance),
        draft=_draft(draft),
    )
    spec = RequestSpec(
        volume_node,
        request,
        _one_of(Mode, mode, message("mode")),
        segmentation_node,
        roi,
        _segment_in(inside),
        view,
        pairs,
        model,
        device,
        replace_completed,
        templates,
    )
    if spec.is_drawn and segmentation_node is None:
        raise InputError("Nothing was drawn; choose the segmentation in which you drew a slice of the object.")
    if pairs:
        check_shown(pairs, request.concepts)
    if templates:
        check_any_shown(templates, request.concepts)
    return spec


def build_assembly_options(steps: AssemblyOptions | Mapping[str, bool] | None) -> AssemblyOptions:
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


def _segment_in(inside: tuple[Any, str] | str | None) -> tuple[Any, str] | None:
    """The segmentation node and segment ID in what ``parse_spec`` takes; None for words.

    Raises:
        InputError: it is something else, or there is no such segment or more than one.
    """
    if inside is None or isinstance(inside, str):
        return None
    if not isinstance(inside, tuple | list) or len(inside) != 2 or not isinstance(inside[1], str):
        raise InputError(
            "{given} is nothing to look inside of; give a segmentation node and a segment's name.", given=repr(inside)
        )
    segmentation_node, segment = inside
    require_node(segmentation_node)
    if not segmentation_node.IsA("vtkMRMLSegmentationNode"):
        raise InputError(
            "'{segmentation}' is not a segmentation; give one and a segment's name.",
            segmentation=segmentation_node.GetName(),
        )
    segmentation = segmentation_node.GetSegmentation()
    if segmentation.GetSegment(segment) is not None:
        return segmentation_node, segment
    named = segment_ids_named(segmentation, segment)
    if not named:
        raise InputError(
            "'{segmentation}' has no segment '{segment}'; choose another one.",
            segmentation=segmentation_node.GetName(),
            segment=segment,
        )
    if len(named) > 1:
        raise InputError(
            "{count} segments are named '{segment}'; give the ID of one: {ids}.",
            count=len(named),
            segment=segment,
            ids=", ".join(named),
        )
    return segmentation_node, named[0]


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


def _saving(skim: int, slice_distance: float) -> SliceSaving:
    try:
        step, distance = int(skim), float(slice_distance)
        if step != float(skim):
            raise ValueError
    except (TypeError, ValueError):
        raise InputError(
            "Slices cannot be left out by {skim} and {distance}; give a whole number of slices and millimeters.",
            skim=repr(skim),
            distance=repr(slice_distance),
        ) from None
    return SliceSaving(step, distance)


def _draft(draft: bool) -> bool:
    if not isinstance(draft, bool):
        raise InputError("A draft cannot be {draft}; use True or False.", draft=repr(draft))
    return draft


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
