"""Pictures of held-out slices: what was drawn, and what the model finds before and after learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.preprocessing.windowing import to_display

from .records import HeldOutPicture

if TYPE_CHECKING:
    from MedSAM3SegmentLib.training.dataset import LabelledStack

#: Pictures that are made.
_MOST = 3

#: Height in pixels of a picture, which is two squares beside each other.
_EDGE = 320

#: Pixels between the two.
_GAP = 6

#: Of the part that is shown, how much lies around what is there.
_MARGIN = 0.25

#: Line of what was drawn, of what was found before, and after; told apart also by those who see no green.
DRAWN, BEFORE, AFTER = (255, 255, 255), (255, 140, 0), (60, 190, 255)


@dataclass(eq=False)
class _HeldOutSlice:
    """Masks ``[row, column]`` of a slice, all concepts in one, and the sums of its Dice coefficient."""

    stack: LabelledStack
    index: int
    found: dict[bool, BoolMask] = field(default_factory=dict)
    agreement: dict[bool, list[int]] = field(default_factory=dict)

    @property
    def drawn(self) -> BoolMask:
        return np.asarray(self.stack.codes[self.index] != 0)

    def dice(self, is_after: bool) -> float:
        hits, total = self.agreement.get(is_after, [0, 0])
        return hits / total if total else 0.0


class HeldOutSlices:
    """Collects what is found on held-out slices before and after, and draws those that tell most."""

    def __init__(self) -> None:
        self._slices: dict[tuple[int, int], _HeldOutSlice] = {}

    def add(self, is_after: bool, stack: LabelledStack, index: int, concept: str, found: BoolMask) -> None:
        """Take what was found of a concept on a slice; slices that show nothing are left out."""
        truth = stack.mask(index, concept)
        if not stack.codes[index].any():
            return
        one = self._slices.setdefault((id(stack), index), _HeldOutSlice(stack, index))
        one.found[is_after] = found | one.found.get(is_after, np.zeros_like(found))
        sums = one.agreement.setdefault(is_after, [0, 0])
        sums[0] += 2 * int(np.count_nonzero(found & truth))
        sums[1] += int(np.count_nonzero(found)) + int(np.count_nonzero(truth))

    def draw(self, folder: Path) -> list[HeldOutPicture]:
        """Write up to three pictures as PNG: the slice that gained least, a middle one, and the one that gained most.

        Raises:
            OSError: the disk failed.
        """
        both = [one for one in self._slices.values() if len(one.found) == 2]
        both.sort(key=lambda one: one.dice(True) - one.dice(False))
        places = sorted({round(place) for place in np.linspace(0, len(both) - 1, min(_MOST, len(both)))})
        pictures = []
        for number, place in enumerate(places, start=1):
            file = f"slice-{number}.png"
            _draw(both[place]).save(folder / file)
            pictures.append(HeldOutPicture(file, (both[place].dice(False), both[place].dice(True))))
        return pictures


def _draw(one: _HeldOutSlice) -> Any:
    """Left what was found before, right after, each over what was drawn: the part of the slice where anything is."""
    from PIL import Image

    shown = one.stack.slices[one.index]
    gray = shown if shown.ndim == 3 else np.repeat(to_display(shown, one.stack.window)[..., None], 3, axis=2)
    rows, columns = _part(one.drawn | one.found[False] | one.found[True], one.stack.pixel_mm)
    scale = _EDGE / max(
        (rows.stop - rows.start) * one.stack.pixel_mm[0], (columns.stop - columns.start) * one.stack.pixel_mm[1]
    )
    height = max(1, round((rows.stop - rows.start) * one.stack.pixel_mm[0] * scale))
    width = max(1, round((columns.stop - columns.start) * one.stack.pixel_mm[1] * scale))
    picture = Image.new("RGB", (2 * _EDGE + _GAP, _EDGE))
    for is_after, color, left in ((False, BEFORE, 0), (True, AFTER, _EDGE + _GAP)):
        image = Image.fromarray(np.ascontiguousarray(gray[rows, columns], np.uint8)).resize((width, height))
        pixels = np.array(image)
        for mask, line in ((one.found[is_after], color), (one.drawn, DRAWN)):
            large = Image.fromarray(mask[rows, columns].astype(np.uint8) * 255).resize((width, height))
            pixels[_outline(np.asarray(large) >= 128)] = line
        picture.paste(Image.fromarray(pixels), (left + (_EDGE - width) // 2, (_EDGE - height) // 2))
    return picture


def _part(mask: BoolMask, pixel_mm: Sequence[float]) -> tuple[slice, slice]:
    """A part of a slice that is about square in millimeters, with a margin around what is set in ``mask``."""
    edges = []
    for axis in (0, 1):
        on = np.flatnonzero(mask.any(axis=1 - axis))
        edges.append((int(on[0]), int(on[-1]) + 1) if on.size else (0, mask.shape[axis]))
    size = max((last - first) * mm for (first, last), mm in zip(edges, pixel_mm, strict=True)) * (1 + 2 * _MARGIN)
    parts = []
    for (first, last), mm, count in zip(edges, pixel_mm, mask.shape, strict=True):
        pixels = min(count, max(1, round(size / mm)))
        start = min(max(0, (first + last - pixels) // 2), count - pixels)
        parts.append(slice(start, start + pixels))
    return parts[0], parts[1]


def _outline(mask: BoolMask) -> NDArray[np.bool_]:
    """The pixels of ``mask`` within two of its edge, so that a line stays seen beside another one."""
    inner = np.pad(mask, 2)
    rows, columns = mask.shape
    eroded = mask.copy()
    for down, right in ((0, 2), (4, 2), (2, 0), (2, 4), (1, 1), (3, 3), (1, 3), (3, 1)):
        eroded &= inner[down : down + rows, right : right + columns]
    return mask & ~eroded
