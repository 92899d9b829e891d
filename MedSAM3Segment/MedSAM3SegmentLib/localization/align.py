"""A template brought onto a volume: first along the patient, then bent until both images agree.

The position of a scanner's table says nothing, so all shifts along the patient are tried, with some scales. What is
the same on all slices, such as the trunk, tells no shift from another, so only what a column of voxels has beyond its
mean is compared, as a correlation ratio (Roche et al., MICCAI 1998). Then the template is bent by Thirion's demons
(Medical Image Analysis 1998), after its brightness was mapped to that of the volume.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .coarse_volume import JOINED, CoarseVolume, Field

#: Scales along the patient that are tried.
_SCALES = (0.88, 0.94, 1.0, 1.06, 1.13)

#: Least share of the smaller of both bodies that must overlap.
_LEAST_OVERLAP = 0.1

#: Shifts that are bent to see which is right, and how far they must lie apart.
_SHIFTS_TRIED, _OTHER_PLACE_MM = 2, 25.0

#: Larger steps of an alignment at most: both widths, the shifts that are bent for each, and the last one.
STEPS = 2 + 2 * _SHIFTS_TRIED + 1

#: Steps of brightness whose means are compared.
_STEPS = 24

#: Fewest voxels of one step of brightness that say what it is in the other image.
_FEWEST_OF_A_STEP = 20

#: Rounds of bending in joined cubes and in single ones, and the blur of the displacements in cubes.
_COARSE_ROUNDS, _FINE_ROUNDS, _BLUR = 40, 25, 1.2


@dataclass(frozen=True, eq=False)
class Alignment:
    """How a template lies on a volume.

    Attributes:
        scale, shift: a place of the volume (RAS) times ``scale`` plus ``shift`` is one of the template, before it is
            bent.
        displacement: ``[z, y, x, 3]``, in cubes of the volume along ``(x, y, z)``.
        expected: brightness in the volume of each step of brightness in the template.
        likeness: correlation of the bent template with the volume in the body, -1 to 1.
    """

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]
    displacement: NDArray[np.float64]
    expected: NDArray[np.float64]
    likeness: float

    def template_positions(self, coarse: CoarseVolume) -> NDArray[np.float64]:
        """Where each cube ``[3, z, y, x]`` of the volume lies in the template, RAS millimeters."""
        bent = coarse.positions + np.moveaxis(self.displacement, -1, 0) * coarse.edge
        return bent * _column(self.scale) + _column(self.shift)

    def brightness_in_volume(self, bright: Field) -> Field:
        """The brightness that the template's brightness has in the volume."""
        steps = np.arange(_STEPS)
        return np.asarray(np.interp(np.clip(bright, 0, 1) * _STEPS - 0.5, steps, self.expected), np.float32)


def align_template(
    volume: CoarseVolume,
    template: CoarseVolume,
    is_same_unit: bool,
    check: Callable[[], None],
    advance: Callable[[], None] = lambda: None,
) -> Alignment:
    """How ``template`` lies on ``volume``.

    Args:
        is_same_unit: whether both have the same brightness for the same tissue, as CT has.
        check: called between two steps, also of bending; raises to cancel.
        advance: called after each of at most ``STEPS`` larger steps.
    """
    from scipy import ndimage

    rough, other = volume.joined(), template.joined()
    best: tuple[float, _Guess, NDArray[np.float64]] | None = None
    for guess in _guesses(rough, other, check, advance):
        check()
        advance()
        moving, covered = _moved(rough, other, guess)
        mapped = np.where(covered, _mapped(moving, _expected(rough.image, moving, covered & rough.there)), rough.image)
        bent = _bend(rough.image, mapped, _COARSE_ROUNDS, check)
        overlap = (covered & rough.body).sum() / max(1, min(rough.body.sum(), other.body.sum()))
        worth = _likeness(rough, mapped, bent, covered) * min(1.0, float(overlap)) ** 0.5
        if best is None or worth > best[0]:
            best = (worth, guess, bent)
    assert best is not None
    check()
    advance()
    _, guess, bent = best
    z, y, x = (np.indices(volume.image.shape) - (JOINED - 1) / 2) / JOINED
    start = np.stack(
        [ndimage.map_coordinates(bent[..., n], [z, y, x], order=1, mode="nearest") * JOINED for n in range(3)], -1
    )
    moving, covered = _moved(volume, template, guess)
    expected = _expected(volume.image, _bent(moving, start), covered & volume.there)
    mapped = np.where(covered, _mapped(moving, expected), volume.image)
    fine = _bend(volume.image, mapped, _FINE_ROUNDS, check, start)
    likeness = _likeness(volume, mapped, fine, covered)
    if is_same_unit:
        expected = (np.arange(_STEPS) + 0.5) / _STEPS
    return Alignment(guess.scale, guess.shift, fine, expected, likeness)


@dataclass(frozen=True, eq=False)
class _Guess:
    """A scale and a shift, as in ``Alignment``, before anything is bent."""

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]


def _guesses(
    volume: CoarseVolume, template: CoarseVolume, check: Callable[[], None], advance: Callable[[], None]
) -> list[_Guess]:
    """The shifts and scales that are worth a look: with the trunk as wide as the other's, and as wide as it is."""
    (low, high), (other_low, other_high) = volume.sides, template.sides
    fitted = (other_high - other_low) / np.maximum(high - low, 1.0)
    guesses = []
    for across in (fitted, np.ones(2)):
        shift = (other_low + other_high) / 2 - across * (low + high) / 2
        guesses += _best_shifts(volume, template, across, shift, check)
        advance()
    return guesses


def _best_shifts(
    volume: CoarseVolume,
    template: CoarseVolume,
    across: NDArray[np.float64],
    shift: NDArray[np.float64],
    check: Callable[[], None],
) -> list[_Guess]:
    """The shifts along the patient that explain most, those of other places first."""
    from scipy import ndimage

    places = volume.positions[:, volume.body]
    own, others = _beyond_mean(volume), _beyond_mean(template)
    values = own[volume.body]
    row, column = template.indices_of(
        np.stack([places[0] * across[0] + shift[0], places[1] * across[1] + shift[1], places[2]])
    )[1:]
    middle, other_middle = _middle(volume), _middle(template)
    reach = (volume.image.shape[0] + template.image.shape[0]) * volume.edge / 2
    fewest = _LEAST_OVERLAP * min(len(values), int(template.body.sum()))
    tried = [(-1.0, 1.0, 0.0)]
    for along in _SCALES:
        check()
        for step in np.arange(-reach, reach + 1, volume.edge / 2):
            level = ((places[2] - middle) * along + other_middle + step - template.origin[2]) / template.edge
            shared = (level > -0.5) & (level < template.image.shape[0] - 0.5)
            if shared.sum() < fewest:
                continue
            there = [level[shared], row[shared], column[shared]]
            seen = ndimage.map_coordinates(others, there, order=1, mode="nearest")
            tried.append((_explained(values[shared], seen + 0.5), along, float(step)))
    chosen: list[tuple[float, float, float]] = []
    for one in sorted(tried, reverse=True):
        if all(abs(one[2] - other[2]) > _OTHER_PLACE_MM for other in chosen):
            chosen.append(one)
        if len(chosen) == _SHIFTS_TRIED:
            break
    return [
        _Guess(np.array([*across, along]), np.array([*shift, other_middle + step - along * middle]))
        for _, along, step in chosen
    ]


def _likeness(
    volume: CoarseVolume, mapped: Field, displacement: NDArray[np.float64], covered: NDArray[np.bool_]
) -> float:
    """The correlation of the bent template with the volume where both show a body, -1 to 1."""
    # What is not covered was filled with the volume itself, and must not be pulled in.
    where = volume.body & covered & (_bent(covered.astype(np.float32), displacement) > 0.9)
    if where.sum() < 2:
        return 0.0
    one, other = volume.image[where], _bent(mapped, displacement)[where]
    if one.std() < 1e-6 or other.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _beyond_mean(coarse: CoarseVolume) -> Field:
    """What each voxel of the body has beyond the mean of its column along the patient."""
    weight = coarse.body.astype(np.float32)
    mean = (coarse.image * weight).sum(axis=0) / np.maximum(weight.sum(axis=0), 1)
    return np.asarray((coarse.image - mean) * weight, np.float32)


def _middle(coarse: CoarseVolume) -> float:
    return float(coarse.origin[2] + coarse.edge * (coarse.image.shape[0] - 1) / 2)


def _steps(bright: Field, count: int = _STEPS) -> NDArray[np.int64]:
    return np.asarray(np.clip(bright * count, 0, count - 1).astype(np.int64))


def _explained(values: Field, seen: Field) -> float:
    """The sum of squares of ``values`` that the brightness ``seen`` explains."""
    steps = _steps(seen, 16)
    count, total = np.bincount(steps, minlength=16), np.bincount(steps, values, minlength=16)
    return float((total * total / np.maximum(count, 1)).sum())


def _expected(image: Field, moving: Field, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean of ``image`` for each step of brightness of ``moving``."""
    steps = _steps(moving[where])
    count, total = np.bincount(steps, minlength=_STEPS), np.bincount(steps, image[where], minlength=_STEPS)
    known = np.flatnonzero(count > _FEWEST_OF_A_STEP)
    if not known.size:
        return (np.arange(_STEPS) + 0.5) / _STEPS
    return np.interp(np.arange(_STEPS), known, total[known] / count[known])


def _mapped(moving: Field, expected: NDArray[np.float64]) -> Field:
    return np.asarray(np.interp(np.clip(moving, 0, 1) * _STEPS - 0.5, np.arange(_STEPS), expected), np.float32)


def _moved(volume: CoarseVolume, template: CoarseVolume, guess: _Guess) -> tuple[Field, NDArray[np.bool_]]:
    """The template's image in the cubes of the volume, and where it has voxels."""
    from scipy import ndimage

    indices = template.indices_of(volume.positions * _column(guess.scale) + _column(guess.shift))
    image = ndimage.map_coordinates(template.image, indices, order=1, mode="nearest")
    there = ndimage.map_coordinates(template.there.astype(np.float32), indices, order=1)
    return np.asarray(image, np.float32), np.asarray(there > 0.5)


def _bent(image: Field, displacement: NDArray[np.float64]) -> Field:
    from scipy import ndimage

    z, y, x = np.indices(image.shape)
    at = [z + displacement[..., 2], y + displacement[..., 1], x + displacement[..., 0]]
    return np.asarray(ndimage.map_coordinates(image, at, order=1, mode="nearest"), np.float32)


def _bend(
    fixed: Field,
    moving: Field,
    rounds: int,
    check: Callable[[], None],
    start: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """The displacements ``[z, y, x, 3]`` in cubes that make ``moving`` look like ``fixed``."""
    import SimpleITK

    if min(fixed.shape) < 2:
        return np.zeros((*fixed.shape, 3)) if start is None else start
    demons = SimpleITK.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(rounds)
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations(_BLUR)
    demons.SetSmoothUpdateField(True)
    demons.SetUpdateFieldStandardDeviations(1.0)
    demons.SetMaximumUpdateStepLength(1.0)
    demons.SetIntensityDifferenceThreshold(0.005)
    images = [SimpleITK.GetImageFromArray(np.ascontiguousarray(image, np.float32)) for image in (fixed, moving)]
    if start is not None:
        images.append(SimpleITK.GetImageFromArray(np.ascontiguousarray(start, np.float64), isVector=True))
    stopped: list[BaseException] = []

    def watch() -> None:
        # An error cannot pass through the filter, which may call once more before it ends.
        if stopped:
            return
        try:
            check()
        except BaseException as error:
            stopped.append(error)
            demons.Abort()

    demons.AddCommand(SimpleITK.sitkIterationEvent, watch)
    try:
        bent = demons.Execute(*images)
    except RuntimeError:
        if stopped:
            raise stopped[0] from None
        raise
    finally:
        demons.RemoveAllCommands()
    if stopped:
        raise stopped[0]
    return np.asarray(SimpleITK.GetArrayFromImage(bent), np.float64)


def _column(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[:, None, None, None]
