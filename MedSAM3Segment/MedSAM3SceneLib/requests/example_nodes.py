"""Segments of the scene that show a structure in place of words, as examples for the engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from MedSAM3SceneLib.coroutines import StepGenerator, run_in_thread
from MedSAM3SceneLib.editing.write_result import check_segmentation_node
from MedSAM3SceneLib.mrml.nodes import require_node
from MedSAM3SceneLib.mrml.volumes import SceneVolume, check_volume_node, read_in_steps
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.localization.locate import locate_structures
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.progress import Progress, ProgressCallback, Stage
from MedSAM3SegmentLib.prompts.examples import Example, Examples
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.vocabulary.segment_names import find_named, may_be_meant

from .drawn_prompts import mask_of_segment

#: A volume node, and the segmentation node in which structures of it are segmented.
NodePair = tuple[Any, Any]


def node_pairs(like: Any) -> tuple[NodePair, ...]:
    """The pairs of nodes in what was given: one pair, or several.

    Raises:
        InputError: it is something else, or a node cannot be used.
    """
    given = tuple(like) if isinstance(like, tuple | list) else ()
    pairs = (given,) if any(hasattr(item, "IsA") for item in given) else given
    if not pairs or any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in pairs):
        raise InputError("An example is a volume node and a segmentation node; give both, or a list of such pairs.")
    for volume_node, segmentation_node in pairs:
        check_volume_node(volume_node)
        if segmentation_node is not None:
            require_node(segmentation_node)
        if segmentation_node is None or not segmentation_node.IsA("vtkMRMLSegmentationNode"):
            raise InputError(
                "The example in '{volume}' is no segmentation; choose one of that volume.", volume=volume_node.GetName()
            )
        check_segmentation_node(segmentation_node)
    return tuple((volume_node, segmentation_node) for volume_node, segmentation_node in pairs)


def shown_concepts(pairs: Sequence[NodePair]) -> tuple[str, ...]:
    """The names of all segments of the examples, each once."""
    return tuple(dict.fromkeys(name for pair in pairs for _, name in _segments(pair)))


def check_shown(pairs: Sequence[NodePair], concepts: Sequence[str]) -> None:
    """Check that each concept is a segment of an example.

    Raises:
        InputError: one is none.
    """
    for concept in concepts:
        if not any(_shows(pair, concept, concepts) for pair in pairs):
            names = ", ".join(f"'{name}'" for name in shown_concepts(pairs))
            if not names:
                raise InputError("No example shows '{concept}'; there is no segment.", concept=concept)
            raise InputError("No example shows '{concept}'; there is {names}.", concept=concept, names=names)


def check_any_shown(pairs: Sequence[NodePair], concepts: Sequence[str]) -> None:
    """Check that one of the concepts at least is a segment of a template.

    Raises:
        InputError: none is.
    """
    if not any(_shows(pair, concept, concepts) for pair in pairs for concept in concepts):
        names = ", ".join(f"'{name}'" for name in shown_concepts(pairs))
        raise InputError(
            "The templates show none of the concepts; there is {names}.", names=names or message("no segment")
        )


def locate_in_steps(
    pairs: Sequence[NodePair],
    request: SegmentRequest,
    volume_node: Any,
    placed: SceneVolume,
    tell: ProgressCallback = lambda _progress: None,
) -> StepGenerator[SegmentRequest]:
    """The request with the places of its concepts by templates; the arguments are those of ``read_example_nodes``.

    Whoever closes the steps ends the work within one step of it.

    Args:
        tell: told how far it is.

    Raises:
        InputError: as there, or a template is of another kind than the volume.
    """
    templates = yield from read_example_nodes(pairs, request.concepts, volume_node, placed)
    dropped = threading.Event()
    reached: list[Progress] = []

    def check() -> None:
        if dropped.is_set():
            raise Cancelled()

    def advance(done: int, total: int) -> None:
        reached.append(Progress(Stage.LOCATING, done, total))

    def show() -> None:
        while reached:
            tell(reached.pop(0))

    try:
        places = yield from run_in_thread(
            lambda: locate_structures(placed.volume, templates, check, advance), meanwhile=show
        )
    finally:
        dropped.set()
    return replace(request, places=places)


def read_example_nodes(
    pairs: Sequence[NodePair], concepts: Sequence[str], volume_node: Any, placed: SceneVolume
) -> StepGenerator[Examples]:
    """The examples of each concept, each volume read once.

    Args:
        volume_node: what is to be segmented; it may be an example itself.
        placed: that, as it was read.

    Raises:
        InputError: a volume cannot be read, or a segment is empty or gone.
    """
    read = {id(volume_node): placed}
    examples: dict[str, list[Example]] = {concept: [] for concept in concepts}
    for pair in pairs:
        shown_node, segmentation_node = pair
        if id(shown_node) not in read:
            read[id(shown_node)] = yield from read_in_steps(shown_node)
        shown = read[id(shown_node)]
        for concept in concepts:
            segment_id = _shows(pair, concept, concepts)
            if segment_id:
                mask = mask_of_segment(segmentation_node, segment_id, shown_node, shown)
                examples[concept].append(Example(shown.volume, mask))
    return examples


def _shows(pair: NodePair, concept: str, concepts: Sequence[str]) -> str:
    """The ID of the segment that shows ``concept``: of its name, of the same concept, or the only one if that may be.

    Raises:
        InputError: several name the same concept.
    """
    segments = list(_segments(pair))
    named = find_named([name for _, name in segments], concept)
    if len({segments[n][1].casefold() for n in named}) > 1:
        names = ", ".join(f"'{segments[n][1]}'" for n in named)
        raise InputError("An example shows '{concept}' in {names}; name one of them.", concept=concept, names=names)
    if named:
        return segments[named[0]][0]
    is_only = len(segments) == len(concepts) == 1 and may_be_meant(segments[0][1], concept)
    return segments[0][0] if is_only else ""


def _segments(pair: NodePair) -> Iterator[tuple[str, str]]:
    """ID and name of each segment."""
    segmentation = pair[1].GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        yield str(segment_id), str(segmentation.GetSegment(segment_id).GetName()).strip()
