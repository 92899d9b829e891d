"""Films: the frames of each sequence as one case, so that objects can be followed through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.datasets.label_files import size
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.image_sequence import TIME_MESSAGE, natural_order, stack_frames
from MedSAM3SegmentLib.volume import Volume

from .case import CaseSet, EvaluationCase, Reference


def as_films(case_set: CaseSet) -> CaseSet:
    """The sequences of a set as films; what is no frame is left out, which a note says.

    Raises:
        InputError: there is no sequence.
    """
    films: dict[str, list[EvaluationCase]] = {}
    for case in case_set.cases:
        if case.sequence:
            films.setdefault(case.sequence, []).append(case)
    if not films:
        raise InputError(f"{case_set.title} has no frames of films; leave out --video.")
    frames = sum(map(len, films.values()))
    others = len(case_set.cases) - frames
    notes = [f"Films: {len(films)}, of {frames} frames in all; objects are followed through each."]
    if others:
        notes.append(f"{others} images that are no frames of a film were left out.")
    cases = [_film(name, sorted(some, key=_place)) for name, some in films.items()]
    return replace(case_set, cases=cases, notes=(*case_set.notes, *notes))


def _place(case: EvaluationCase) -> tuple[tuple[int, int | str], ...]:
    return natural_order(case.name)


def _film(name: str, frames: Sequence[EvaluationCase]) -> EvaluationCase:
    first = frames[0]
    files = tuple(dict.fromkeys(file for frame in frames for file in frame.files))
    image = _FilmImage(name, tuple(frames)) if all(frame.has_image for frame in frames) else None
    return EvaluationCase(name, _FilmReferences(name, tuple(frames)), files, None, first.group, first.unit, name, image)


@dataclass(frozen=True, eq=False)
class _FilmImage:
    """Reads the frames of a film."""

    name: str
    frames: tuple[EvaluationCase, ...]

    def __call__(self) -> Volume:
        """The frames as one volume whose third axis is time.

        Raises:
            InputError: a frame cannot be read, is no picture, or has another size than the others.
        """
        volumes = [volume for frame in self.frames if (volume := frame.read_image()) is not None]
        grids = [volume.grid for volume in volumes]
        grid = _grid_of_film(self.name, self.frames, grids)
        return Volume(
            stack_frames([volume.array[0] for volume in volumes]),
            grid,
            name=self.name,
            messages=(TIME_MESSAGE,),
            is_sequence=True,
        )


@dataclass(frozen=True, eq=False)
class _FilmReferences:
    """Reads the references of all frames of a film; where a concept is not labeled in a frame it is not there."""

    name: str
    frames: tuple[EvaluationCase, ...]

    def __call__(self, grid: VoxelGrid | None) -> Mapping[str, Reference]:
        """By concept the masks of all frames, ``[frame, row, column]``.

        Raises:
            InputError: a file cannot be read, or frames have other sizes.
        """
        del grid
        read = [frame.read_references(None) for frame in self.frames]
        grids = [next(iter(some.values())).grid for some in read]
        own = _grid_of_film(self.name, self.frames, grids)
        nothing = np.zeros(own.shape[1:], bool)
        made = {}
        for concept in dict.fromkeys(name for some in read for name in some):
            there = [some.get(concept) for some in read]
            mask = np.stack([nothing if one is None else one.mask[0] for one in there])
            made[concept] = Reference(mask, own, is_picture=True, is_film=True, scored=_scored(there, mask))
        return made


def _scored(there: Sequence[Reference | None], mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    if all(one is None or one.scored is None for one in there):
        return None
    scored = np.ones(mask.shape, bool)
    for number, one in enumerate(there):
        if one is not None and one.scored is not None:
            scored[number] = one.scored[0]
    return scored


def _grid_of_film(name: str, frames: Sequence[EvaluationCase], grids: Sequence[VoxelGrid]) -> VoxelGrid:
    """The grid of all frames, one millimeter apart as other films have it."""
    for frame, grid in zip(frames, grids, strict=True):
        if grid.shape[0] != 1 or grid.shape != grids[0].shape:
            raise InputError(
                f"{frame.name} has {size(grid)} pixels and {frames[0].name}, of the same film {name}, "
                f"{size(grids[0])}; give frames of one size."
            )
    return VoxelGrid((len(grids), *grids[0].shape[1:]), grids[0].ijk_to_ras)
