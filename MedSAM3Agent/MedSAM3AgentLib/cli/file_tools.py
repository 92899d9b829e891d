"""What a desktop assistant may do with files: a closed set (segment, ask, edit, measure, page) inside of folders.

Every path must lie in a folder that was given at the start; nothing is overwritten. Answers hold numbers and names of
structures. Pictures are only given out where that was allowed at the start, since an assistant may send them on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from MedSAM3AgentLib.agent import Agent
from MedSAM3AgentLib.editing.apply import apply_commands
from MedSAM3AgentLib.pages.page import PageSource, draw_verdict_page
from MedSAM3AgentLib.results import write_kept
from MedSAM3AgentLib.session import AgentRequest
from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.io.segmentation import read_segmentation, write_segmentation
from MedSAM3SegmentLib.io.segmentation_paths import check_output
from MedSAM3SegmentLib.preprocessing.windowing import choose_window
from MedSAM3SegmentLib.prompts.slice_prompts import placed_on


@dataclass(frozen=True, eq=False)
class FileTools:
    """The tools.

    Attributes:
        folders: that files may be read from and written to.
        segmenter: that segments.
        gives_pictures: whether pages may be given out.
    """

    folders: Sequence[Path]
    segmenter: SegmenterProtocol
    gives_pictures: bool = False

    def segment(self, image: str, phrases: Sequence[str], output: str) -> str:
        """Segment short phrases ("liver", "left kidney") in an image file and write a segmentation file.

        Raises:
            InputError: a path is outside of the folders, or anything cannot be used.
        """
        return self.ask(image, "; ".join(phrases), output)

    def ask(self, image: str, text: str, output: str) -> str:
        """Segment what a sentence describes in an image file, check it, and write a segmentation file.

        Raises:
            InputError: a path is outside of the folders, or anything cannot be used.
        """
        path, target = self._readable(image), self._writable(output)
        volume = read_volume(path)
        result = Agent(self.segmenter, draws_pages=False).ask(volume, AgentRequest(text))
        write_kept(target, result, volume.grid)
        lines = [
            f"{one.target.name}: "
            + ("not found" if one.is_absent else _size(one.mask, volume.grid.voxel_volume_mm3))
            + f", {one.verdict.words}. {one.why}"
            for one in result.kept
        ]
        return "\n".join([*lines, *map(str, result.messages)])

    def edit(self, segmentation: str, commands: str, output: str, segment: str = "") -> str:
        """Change a segment by commands such as "keep the largest; shrink 2 mm" and write a new segmentation file.

        Raises:
            InputError: a path is outside of the folders, or a command is not understood.
        """
        path, target = self._readable(segmentation), self._writable(output)
        segments, grid = read_segmentation(path)
        number = _number_of(segments, segment)
        others = {one.name: one.mask for n, one in enumerate(segments) if n != number}
        edited = apply_commands(segments[number].mask, grid, commands, others=others)
        segments[number] = replace(segments[number], mask=edited.mask, name=edited.name or segments[number].name)
        write_segmentation(target, segments, grid, {"edited_from": "segments of a file"})
        return "\n".join(map(str, edited.said))

    def measure(self, segmentation: str) -> str:
        """Names and volumes of the segments of a segmentation file.

        Raises:
            InputError: the path is outside of the folders, or is no segmentation.
        """
        segments, grid = read_segmentation(self._readable(segmentation))
        return "\n".join(f"{one.name}: {_size(one.mask, grid.voxel_volume_mm3)}" for one in segments) or "no segment"

    def show_page(self, image: str, segmentation: str, segment: str = "") -> bytes:
        """A picture (PNG) of a segment's contour on the slices that decide, each beside the same slice without it.

        Raises:
            InputError: pictures are not allowed, a path is outside of the folders, or files do not fit.
        """
        if not self.gives_pictures:
            raise InputError("Pictures are not given out; start with --allow-pictures if they may be.")
        volume = read_volume(self._readable(image))
        segments, grid = read_segmentation(self._readable(segmentation))
        chosen = segments[_number_of(segments, segment)]
        mask = placed_on(volume.grid, chosen.mask, grid)
        if mask is None:
            raise InputError("The segmentation does not lie on the image's voxels; resample it to the image.")
        source = PageSource(volume, SliceStack.along(volume.grid), choose_window(volume), {})
        return draw_verdict_page(source, mask, chosen.name).png

    @cached_property
    def _roots(self) -> tuple[Path, ...]:
        return tuple(folder.resolve() for folder in self.folders)

    def _readable(self, text: str) -> Path:
        path = self._inside(text)
        if not path.exists():
            raise InputError("There is no such file in the folders.")
        return path

    def _writable(self, text: str) -> Path:
        path = self._inside(text)
        if path.exists():
            raise InputError("The output exists already; nothing is overwritten, choose another name.")
        return check_output(path)

    def _inside(self, text: str) -> Path:
        """A path that lies in the folders once links are followed; relative ones are in the first folder."""
        if not text or "\0" in text or len(text) > 1000:
            raise InputError("That is no path.")
        path = (self._roots[0] / text).resolve()
        if not any(path.is_relative_to(root) for root in self._roots):
            raise InputError("The path lies outside of the folders that were given; only files in them are used.")
        return path


def _number_of(segments: Sequence[Segment], name: str) -> int:
    if not name and len(segments) == 1:
        return 0
    found = [n for n, one in enumerate(segments) if one.name.casefold() == name.casefold()]
    if len(found) != 1:
        raise InputError(
            "Choose one segment by its name; there are: {names}.",
            names=", ".join(one.name for one in segments) or "none",
        )
    return found[0]


def _size(mask: np.ndarray, voxel_mm3: float) -> str:
    from MedSAM3SegmentLib.units import format_milliliters

    return format_milliliters(float(np.count_nonzero(mask)) * voxel_mm3)
