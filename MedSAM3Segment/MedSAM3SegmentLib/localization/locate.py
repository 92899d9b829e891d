"""Localization from template scans: in which slices and which box a structure lies, before anything is segmented.

As MedLSAM does with learnt features (arXiv 2306.14752), one or a few labeled volumes say where a structure lies in
a new one of the same kind. Here that is done with the images alone and needs no model: each template is aligned with
the volume, the labels go with it, and the image decides where the structure ends near that place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.preprocessing.windowing import is_ct
from MedSAM3SegmentLib.prompts.examples import Example, Examples
from MedSAM3SegmentLib.units import is_plain_picture
from MedSAM3SegmentLib.volume import Volume

from .align import STEPS, Alignment, align_template
from .coarse_volume import EDGE_MM, CoarseVolume, Field, brightness, reduce_image
from .outline import SURROUNDINGS_MM, find_outline
from .place import IndexBox, Place, Standing

#: What is searched beyond the ends that were found, and at least one voxel; a slice of usual thickness.
MARGIN_MM = 8.0

#: A structure is there if this share of the voxels at its place is as bright as was expected. On phantoms that the
#: rule was chosen on it is 0.76 and more where a structure is there and was hit, 0.33 and less where it is missing.
LEAST_LIKENESS = 0.5

#: A template is believed if it correlates so with the volume once it is bent onto it. On ten pairs of phantoms it was
#: 0.81 and more where it was aligned rightly but for one (0.69), 0.79 and less where it was not.
LEAST_ALIGNED = 0.8

#: The same for images that are no CT, where brightness means less: with 0.8 one organ in seven of ten MR phantoms lay
#: partly outside of what was searched, with 0.9 none.
LEAST_ALIGNED_OTHERS = 0.9

#: Of how many steps of brightness structures differ between patients: 20 HU in CT, which other images do not have.
_CT_TOLERANCE, _TOLERANCE = 0.04, 0.08

#: The ends are found in voxels about this long.
_FINE_MM = 3.0

#: Fewest voxels at a place that brightness can be judged by.
_FEWEST_VOXELS = 20


@dataclass(frozen=True, eq=False)
class _Aligned:
    """A template as it lies on the volume."""

    coarse: CoarseVolume
    alignment: Alignment


def locate_structures(
    volume: Volume,
    templates: Examples,
    check: Callable[[], None] = lambda: None,
    advance: Callable[[int, int], None] = lambda _done, _of: None,
) -> dict[str, Place]:
    """Where each structure lies in ``volume``.

    Args:
        templates: by concept, the labeled volumes that show it; only whole ones. A concept that none shows is
            searched everywhere.
        check: called between two steps; raises to cancel.
        advance: told how many steps are done of how many at most.

    Raises:
        InputError: a template is of another kind than the volume, or either is a picture or a film.
    """
    _check_kinds(volume, templates)
    shown = {id(example.volume) for examples in templates.values() for example in examples}
    steps = _Steps(STEPS * len(shown) + len(templates), advance)
    target = CoarseVolume.of(volume)
    fine, fine_grid = reduce_image(brightness(volume), volume.grid, _FINE_MM)
    aligned: dict[int, _Aligned] = {}
    for example in (example for examples in templates.values() for example in examples):
        if id(example.volume) not in aligned:
            check()
            coarse = CoarseVolume.of(example.volume)
            alignment = align_template(target, coarse, is_ct(volume), check, steps.advance)
            aligned[id(example.volume)] = _Aligned(coarse, alignment)
            steps.reach(STEPS * len(aligned))
    places = {}
    for concept, examples in templates.items():
        check()
        if examples:
            places[concept] = _place(volume, target, fine, fine_grid, examples, aligned)
        else:
            places[concept] = Place(Standing.NOT_SHOWN)
        steps.advance()
    return places


class _Steps:
    """Counts steps and tells of them."""

    def __init__(self, total: int, tell: Callable[[int, int], None]) -> None:
        self._done, self._total, self._tell = 0, total, tell
        tell(0, total)

    def advance(self) -> None:
        self.reach(self._done + 1)

    def reach(self, done: int) -> None:
        """Say that so many are done, or were not needed."""
        if done > self._done:
            self._done = done
            self._tell(done, self._total)


def _place(
    volume: Volume,
    target: CoarseVolume,
    fine: Field,
    fine_grid: VoxelGrid,
    examples: Sequence[Example],
    aligned: Mapping[int, _Aligned],
) -> Place:
    names = tuple(example.volume.name for example in examples)
    least = LEAST_ALIGNED if is_ct(volume) else LEAST_ALIGNED_OTHERS
    examples = [one for one in examples if aligned[id(one.volume)].alignment.likeness >= least]
    if not examples:
        return Place(Standing.UNKNOWN, templates=names)
    prior = np.zeros(target.image.shape, np.float32)
    values = []
    for example in examples:
        template = aligned[id(example.volume)]
        positions = template.alignment.template_positions(target)
        prior += _label_at(example, positions) / len(examples)
        values.append(template.alignment.brightness_in_volume(_brightness_of(example, template.coarse)))
    if not ((prior > 0.5) & target.there).any():
        return Place(Standing.OUTSIDE, templates=names)
    part = _part_around(prior, target, fine_grid)
    image, near, gain = fine[part], *(_at_voxels(array, target, fine_grid, part) for array in (prior, target.gain))
    spacing = np.array(fine_grid.spacing[::-1])
    if not (near > 0.5).any():
        return Place(Standing.OUTSIDE, templates=names)
    tolerance = _CT_TOLERANCE if is_ct(volume) else _TOLERANCE
    expected = float(np.median(np.concatenate(values)))
    outline = find_outline(np.clip(image * gain, 0, 1), near, spacing, expected, tolerance)
    mask = outline.mask if outline.mask.any() else near > 0.5
    if (near > 0.5).sum() < _FEWEST_VOXELS:
        mask = mask | (near > 0.5)
    elif outline.likeness < LEAST_LIKENESS:
        return Place(Standing.NOT_SEEN, templates=names, likeness=outline.likeness)
    tight = _box(mask, part, volume.grid, fine_grid, 0.0)
    box = _box(mask, part, volume.grid, fine_grid, MARGIN_MM)
    return Place(Standing.FOUND, box, tight, names, outline.likeness)


def _label_at(example: Example, positions: NDArray[np.float64]) -> Field:
    """How much of the structure is at places ``[3, ...]`` (RAS) of the template, 0 to 1.

    Where it is cut off by the end of the template, nobody knows where it ends, so there it goes on.
    """
    from scipy import ndimage

    box, padded = [], []
    for axis, count in enumerate(example.mask.shape):
        found = np.flatnonzero(example.mask.any(axis=tuple({0, 1, 2} - {axis})))
        first, end = int(found[0]), int(found[-1]) + 1
        box.append(slice(first, end))
        padded.append((int(first > 0), int(end < count)))
    # Two voxels around, so that what is beyond them is nothing.
    label = np.pad(example.mask[tuple(box)].astype(np.float32), [(2 * a, 2 * b) for a, b in padded])
    start = [part.start - 2 * pad[0] for part, pad in zip(box, padded, strict=True)]
    grid = example.volume.grid
    sigma = [max(0.0, (EDGE_MM / s) ** 2 - 1) ** 0.5 * 0.4 for s in grid.spacing[::-1]]
    wide = [(int(np.ceil(3 * s)) * a, int(np.ceil(3 * s)) * b) for s, (a, b) in zip(sigma, padded, strict=True)]
    label = np.pad(label, wide)
    start = [first - one[0] for first, one in zip(start, wide, strict=True)]
    label = ndimage.gaussian_filter(label, sigma, mode="nearest")
    ijk = grid.to_ijk(np.moveaxis(positions, 0, -1))
    at = [ijk[..., 2 - axis] - start[axis] for axis in range(3)]
    return np.asarray(ndimage.map_coordinates(label, at, order=1, mode="nearest"), np.float32)


def _brightness_of(example: Example, coarse: CoarseVolume) -> Field:
    """The brightness of the structure in its template."""
    label = _label_at(example, coarse.positions) * coarse.there
    inner = label > 0.7
    if inner.sum() < _FEWEST_VOXELS:
        inner = label >= min(0.7, 0.5 * float(label.max()))
    return coarse.image[inner]


def _part_around(prior: Field, target: CoarseVolume, grid: VoxelGrid) -> tuple[slice, slice, slice]:
    """The voxels of ``grid`` around the place that ``prior`` gives."""
    found = np.argwhere(prior > 0.5)
    ends = np.array([found.min(axis=0), found.max(axis=0)])[:, ::-1] * target.edge + target.origin
    corners = np.array(np.meshgrid(*ends.T)).reshape(3, -1).T
    ijk = grid.to_ijk(corners)
    pad = SURROUNDINGS_MM / np.array(grid.spacing)
    low, high = np.floor(ijk.min(axis=0) - pad), np.ceil(ijk.max(axis=0) + pad)
    size = np.array(grid.shape[::-1])
    first = np.clip(low, 0, size - 1).astype(int)
    end = np.clip(high + 1, first + 1, size).astype(int)
    i, j, k = (slice(int(a), int(b)) for a, b in zip(first, end, strict=True))
    return k, j, i


def _at_voxels(array: Field, target: CoarseVolume, grid: VoxelGrid, part: tuple[slice, slice, slice]) -> Field:
    """A field of cubes at the voxels of a part of ``grid``."""
    from scipy import ndimage

    k, j, i = np.mgrid[part]
    ras = grid.to_ras(np.stack([i, j, k], axis=-1).astype(float))
    at = target.indices_of(np.moveaxis(ras, -1, 0))
    return np.asarray(ndimage.map_coordinates(array, at, order=1, mode="nearest"), np.float32)


def _box(
    mask: NDArray[np.bool_], part: tuple[slice, slice, slice], grid: VoxelGrid, fine: VoxelGrid, margin_mm: float
) -> IndexBox:
    """The voxels of ``grid`` around a mask on a part of ``fine``."""
    ranges = []
    for axis, count in enumerate(grid.shape):
        spacing, step = grid.spacing[2 - axis], round(fine.spacing[2 - axis] / grid.spacing[2 - axis])
        found = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) + part[axis].start
        first, end = int(found[0]) * step, (int(found[-1]) + 1) * step
        # What does not fill a joined voxel at the far end belongs to the last one.
        end = count if end > count - step else end
        pad = max(1, int(np.ceil(margin_mm / spacing - 1e-6))) if margin_mm else 0
        ranges.append((max(0, first - pad), min(count, end + pad)))
    return ranges[0], ranges[1], ranges[2]


def are_same_kind(volume: Volume, template: Volume) -> bool:
    """Whether a template can say anything of ``volume``: both show a patient, by one modality where it is known."""
    if any(is_plain_picture(one) or one.is_color or min(one.grid.shape) < 2 for one in (volume, template)):
        return False
    kinds = [one.modality or ("CT" if is_ct(one) else "") for one in (volume, template)]
    return is_ct(volume) == is_ct(template) and (not all(kinds) or kinds[0] == kinds[1])


def _check_kinds(volume: Volume, templates: Examples) -> None:
    shown = [example.volume for examples in templates.values() for example in examples]
    for one in (volume, *shown):
        if is_plain_picture(one) or one.is_color or min(one.grid.shape) < 2:
            raise InputError(
                "{volume} is a picture, a film or a single slice, in which nothing lies at a place of the body; leave "
                "the templates out.",
                volume=one.name,
            )
    for one in shown:
        if not are_same_kind(volume, one):
            raise InputError(
                "The template {template} is another kind of image than {volume}; give a template of the same kind.",
                template=one.name,
                volume=volume.name,
            )
