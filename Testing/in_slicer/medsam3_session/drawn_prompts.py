"""Mode *From prompts*: what is drawn for several concepts goes into segments of their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .abdomen import Abdomen, add_abdomen, add_segment, add_segmentation, held, overlap
from .session import Session
from .steps import Steps, pause

#: Of what is followed and the organ: enough to tell one organ from another.
_ALIKE = 0.6

_FIRST = ("liver", "left kidney")
_SECOND = ("spleen", "aorta")


def check_drawn_concepts(session: Session) -> Steps:
    """Two concepts are drawn and followed, once and again; then two others in the same segmentation."""
    session.close_scene()
    session.open_panel()
    abdomen = add_abdomen()
    node = add_segmentation(abdomen, "drawn")
    _draw(abdomen, node, _FIRST)
    yield from _follow(session, abdomen, node, _FIRST)
    _check(session, abdomen, node, _FIRST, "")
    names = _names(node)
    yield from _follow(session, abdomen, node, _FIRST)
    _check(session, abdomen, node, _FIRST, " again")
    session.checks.equal("what is drawn and followed again is in the same segments", _names(node), names)
    before = _content(node, abdomen)
    _draw(abdomen, node, _SECOND)
    yield from _follow(session, abdomen, node, _SECOND)
    _check(session, abdomen, node, _FIRST + _SECOND, " beside others")
    after = _content(node, abdomen)
    changed = [name for one, (name, mask) in before.items() if one not in after or (after[one][1] != mask).any()]
    session.checks.equal("following others leaves the first segments as they were", changed, [])
    session.choose_mode("SLICES")


def _draw(abdomen: Abdomen, node: Any, organs: Sequence[str]) -> None:
    """Draw the slice of each organ that shows most of it."""
    for organ in organs:
        mask = abdomen.mask(organ)
        most = int(mask.sum((1, 2)).argmax())
        drawn = np.zeros_like(mask)
        drawn[most] = mask[most]
        add_segment(abdomen, node, organ, drawn)


def _follow(session: Session, abdomen: Abdomen, node: Any, organs: Sequence[str]) -> Steps:
    session.choose(abdomen, "; ".join(organs), seconds_a_slice=0.002)
    session.choose_mode("FROM_PROMPTS")
    session.ui.segmentationSelector.setCurrentNode(node)
    yield pause(0.2)
    yield from session.run(session.ui.applyButton)


def _check(session: Session, abdomen: Abdomen, node: Any, organs: Sequence[str], when: str) -> None:
    content = _content(node, abdomen)
    for organ in organs:
        masks = [mask for name, mask in content.values() if name == organ]
        alike = [overlap(mask, abdomen.mask(organ)) for mask in masks]
        others = [round(int((mask & ~abdomen.mask(organ)).sum()) / max(1, int(mask.sum())), 2) for mask in masks]
        session.checks.check(
            f"what is drawn and followed{when} as {organ} is in a segment {organ}, and nothing else is",
            max(alike, default=0.0) >= _ALIKE and max(others, default=1.0) < 1 - _ALIKE,
            "Dice " + ", ".join(f"{value:.2f}" for value in alike) + f"; beside it {others}",
        )


def _names(node: Any) -> list[str]:
    of = node.GetSegmentation()
    return [of.GetNthSegment(number).GetName() for number in range(of.GetNumberOfSegments())]


def _content(node: Any, abdomen: Abdomen) -> dict[str, tuple[str, Any]]:
    """Name and voxels of each segment, by its ID."""
    of = node.GetSegmentation()
    return {str(one): (of.GetSegment(one).GetName(), held(node, str(one), abdomen.node)) for one in of.GetSegmentIDs()}
