"""What a weight of SAM 3 becomes in transformers' ``Sam3VideoModel`` by Meta's name for it, and the way back.

Sources of the correspondence: the published key lists of ``sam3.pt`` and of transformers. That the right tensor lands
in the right place is tested on Meta's own outputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import chain

from .detector_keys import detector_names
from .tracker_keys import tracker_names
from .weight_targets import DETECTOR, KeyTarget


@cache
def _table() -> dict[str, tuple[KeyTarget, ...]]:
    """Meta's names to targets, ``*`` standing for a layer's number; the detector's names without a prefix."""
    return dict(chain(detector_names(), tracker_names()))


@cache
def _inverse_table() -> dict[str, str]:
    return {target.name: meta for meta, targets in reversed(_table().items()) for target in targets}


def is_unused(name: str) -> bool:
    """Whether transformers has no place for this Meta tensor, without any effect on what is computed.

    Rotary tables are computed anew; SAM 3's detector is never given points.
    """
    return name.endswith(".freqs_cis") or re.search(r"(^|\.)geometry_encoder\.points_", name) is not None


def targets_of(name: str) -> tuple[KeyTarget, ...]:
    """What a Meta tensor becomes; empty if nothing is known of it.

    Args:
        name: with or without ``detector.``; the tracker's with ``tracker.``.
    """
    for pattern, numbers in _patterns(name.removeprefix(DETECTOR)):
        found = _table().get(pattern)
        if found:
            return tuple(KeyTarget(_fill(target.name, numbers), target.change, target.row) for target in found)
    return ()


def meta_name_of(name: str) -> str:
    """The Meta tensor (the detector's without a prefix) that a tensor of ``Sam3VideoModel`` is made from.

    Where several make one, the first; a name that is not known comes back as it is.
    """
    for pattern, numbers in _patterns(name):
        meta = _inverse_table().get(pattern)
        if meta is not None:
            return _fill(meta, numbers)
    return name


def _patterns(name: str) -> Iterator[tuple[str, str]]:
    """The name as it is, then with each of its numbers in turn as ``*``, with that number."""
    yield name, ""
    for match in re.finditer(r"(?<=\.)\d+(?=\.)", name):
        yield f"{name[: match.start()]}*{name[match.end() :]}", match[0]


def _fill(template: str, number: str) -> str:
    return template.replace("*", number)
