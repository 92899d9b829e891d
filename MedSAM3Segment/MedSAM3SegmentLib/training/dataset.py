"""Labelled slices to train on, from phantoms or from the user's own images and label maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.datasets.findings import Findings
from MedSAM3SegmentLib.datasets.labelled_case import LabelledDataset, LabelledSlices
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.preprocessing.windowing import Window, choose_window, is_ct
from MedSAM3SegmentLib.synthetic.corruption import corrupt_slices, stored_as
from MedSAM3SegmentLib.synthetic.phantom import CONCEPTS, make_phantom, random_grid
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for
from MedSAM3SegmentLib.volume import Volume

from .stack_checks import StackChecks

#: What the bits of ``LabelledStack.codes`` have room for.
MOST_CONCEPTS = 32

#: CT windows a training slice may be seen through besides its own, so that the user's choice of window does no harm.
_OTHER_CT_WINDOWS = ("bone", "liver", "mediastinum")
_OTHER_WINDOW_PROBABILITY = 0.2


@dataclass(frozen=True, eq=False)
class LabelledStack:
    """One volume's slices with the masks of every concept.

    Attributes:
        slices: ``[slice, row, column]`` or ``[slice, row, column, 3]``, upright.
        window: the volume's own window.
        is_ct: whether other CT windows make sense too.
        codes: uint32 ``[slice, row, column]``; bit ``n`` is set where ``concepts[n]`` is.
        concepts: the concepts that are labeled here; any of them may be absent, which is a fact worth learning.
        known: bool ``[slice]``, slices that somebody looked at, or None for all; the others teach nothing.
        ignored: bool ``[slice, row, column]``, pixels that teach nothing, or None.
        pixel_mm: height and width of a pixel, for pictures.
    """

    slices: NDArray  # type: ignore[type-arg]
    window: Window
    is_ct: bool
    codes: NDArray[np.uint32]
    concepts: tuple[str, ...]
    known: NDArray[np.bool_] | None = None
    ignored: BoolMask | None = None
    pixel_mm: tuple[float, float] = (1.0, 1.0)

    def is_known(self, index: int) -> bool:
        """Whether somebody looked at slice ``index``, and anything of it is not ignored."""
        is_labelled = self.known is None or bool(self.known[index])
        return is_labelled and (self.ignored is None or not self.ignored[index].all())

    def ignored_on(self, index: int) -> BoolMask | None:
        """The pixels ``[row, column]`` of slice ``index`` that teach nothing, or None where there are none."""
        return None if self.ignored is None or not self.ignored[index].any() else self.ignored[index]

    def mask(self, index: int, concept: str) -> BoolMask:
        """Where ``concept`` is on slice ``index``."""
        return np.asarray((self.codes[index] >> np.uint32(self.concepts.index(concept))) & 1, dtype=bool)

    def present(self, index: int) -> tuple[str, ...]:
        """The concepts on slice ``index``."""
        bits = int(np.bitwise_or.reduce(self.codes[index], axis=None))
        return tuple(concept for number, concept in enumerate(self.concepts) if bits >> number & 1)

    def random_window(self, rng: np.random.Generator) -> Window:
        """The volume's window, shifted and stretched a little; for CT now and then quite another one."""
        window = self.window
        if self.is_ct and rng.random() < _OTHER_WINDOW_PROBABILITY:
            window = Window.preset(str(rng.choice(_OTHER_CT_WINDOWS)))
        width = window.high - window.low
        low = window.low + width * rng.normal(0, 0.04)
        return Window(low, low + width * rng.uniform(0.85, 1.18))


def stack_with_labels(
    volume: Volume,
    masks: Mapping[str, BoolMask],
    plane: Plane = Plane.ACQUIRED,
    ignored: BoolMask | None = None,
    labelled_slices: LabelledSlices = None,
) -> LabelledStack:
    """Cut a volume and its masks ``[k, j, i]`` into upright slices.

    Slices run to the patient's right, front or head, so that the same voxels in another axis order give the same stack.

    Args:
        ignored: voxels that teach nothing, or None.
        labelled_slices: on which somebody looked; slices are numbered as the voxels are stored.

    Raises:
        InputError: there are more concepts than a stack holds, or no slice of that number.
    """
    if len(masks) > MOST_CONCEPTS:
        raise InputError(
            f"'{volume.name}' has {len(masks)} labelled concepts; train on at most {MOST_CONCEPTS} at a time."
        )
    stack = SliceStack.along(volume.grid, plane)
    codes = np.zeros(volume.grid.shape, np.uint32)
    for number, mask in enumerate(masks.values()):
        codes |= mask.astype(np.uint32) << np.uint32(number)

    order = slice(None, None, -1 if _runs_backwards(stack) else 1)
    upright = stack.extract(codes)
    hidden = None if ignored is None or not ignored.any() else stack.extract(ignored)
    known = _known_slices(labelled_slices, upright, hidden, volume.name)
    return LabelledStack(
        np.ascontiguousarray(stack.extract(volume.array)[order]),
        choose_window(volume),
        is_ct(volume),
        np.ascontiguousarray(upright[order]),
        tuple(masks),
        None if known is None else known[order].copy(),
        None if hidden is None else np.ascontiguousarray(hidden[order]),
        (float(stack.spacing[1]), float(stack.spacing[2])),
    )


def _runs_backwards(stack: SliceStack) -> bool:
    """Whether slices run to the patient's left, back or feet as they are stored."""
    direction = stack.grid.directions[:, stack.axis]
    return bool(direction[stack.grid.patient_axes[stack.axis]] < 0)


def _known_slices(
    labelled: LabelledSlices, codes: NDArray[np.uint32], ignored: BoolMask | None, name: str
) -> NDArray[np.bool_] | None:
    """Which slices somebody looked at, in the order of ``codes``; None for all.

    Raises:
        InputError: there is no slice of that number.
    """
    if labelled is None or labelled == "all":
        return None
    if labelled == "drawn":
        drawn = codes.any(axis=(1, 2))
        return np.asarray(drawn if ignored is None else drawn | ignored.any(axis=(1, 2)))
    known = np.zeros(len(codes), bool)
    beyond = [number for number in sorted(labelled) if number >= len(codes)]
    if beyond:
        raise InputError(
            f"'{name}' has slices 0 to {len(codes) - 1} and no slice {beyond[0]}, which is named among those that are "
            "labelled; correct the numbers."
        )
    known[sorted(labelled)] = True
    return known


def read_stacks(
    dataset: LabelledDataset, findings: Findings | None = None, split: str | None = None
) -> Iterator[LabelledStack]:
    """The stacks of a data set, one after another; behind the last is checked what only all of them tell.

    Args:
        findings: where notes are kept, and faults where they are collected; None to raise the first fault.
        split: ``train``, ``val`` or ``test``; None for all cases.

    Raises:
        InputError: a file cannot be used, or what is labelled would teach nonsense.
    """
    from MedSAM3SegmentLib.io.read_volume import read_volume

    findings = Findings() if findings is None else findings
    checks = StackChecks(dataset, findings)
    for case in dataset.cases_of(split):
        try:
            volume = case.volume or read_volume(case.image)
            labels = case.read_labels(volume.grid, findings)
            if case.labelled_slices is None:
                case = replace(case, labelled_slices=labels.labelled_slices)
            if not labels.masks and case.concepts:
                checks.skip(case)  # what is wrong with it is among the faults
                continue
            stack = stack_with_labels(
                volume, _by_prompt(labels.masks, case.name), case.plane, labels.ignored, case.labelled_slices
            )
        except InputError as error:
            findings.refuse(str(error))
            checks.skip(case)
            continue
        for sentence in volume.messages:
            findings.note(sentence, case.image.name)
        checks.add(case, stack)
        yield stack
    checks.finish()


def _by_prompt(masks: Mapping[str, BoolMask], name: str) -> dict[str, BoolMask]:
    """Masks by what the model is asked, in one order whatever the format, so that all formats give the same stacks.

    Raises:
        InputError: two concepts are asked for in the same way.
    """
    prompts: dict[str, str] = {}
    for concept in masks:
        other = prompts.setdefault(prompt_for(concept), concept)
        if other != concept:
            raise InputError(f"'{other}' and '{concept}' of '{name}' mean the same; join them under one name.")
    return {prompt: masks[prompts[prompt]] for prompt in sorted(prompts)}


def known_runs(stack: LabelledStack) -> Iterator[LabelledStack]:
    """The runs of neighboring slices of which everything is known, each as a stack of its own."""
    if stack.known is None and stack.ignored is None:
        yield stack
        return
    whole = [stack.is_known(index) and stack.ignored_on(index) is None for index in range(len(stack.slices))]
    first = 0
    for index in range(len(whole) + 1):
        if index < len(whole) and whole[index]:
            continue
        if index > first:
            part = slice(first, index)
            yield replace(stack, slices=stack.slices[part], codes=stack.codes[part], known=None, ignored=None)
        first = index + 1


def phantom_stacks(
    seeds: Iterable[int],
    thickness_mm: tuple[float, float] | None = None,
    *,
    absence: float = 0.15,
    kidney_tumor: float = 0.18,
) -> Iterator[LabelledStack]:
    """The phantoms of ``seeds``, axially.

    Args:
        seeds: as ``make_phantom`` takes them.
        thickness_mm: the range that the distance between slices is drawn from, or None for each phantom's own.
        absence, kidney_tumor: as ``make_phantom`` takes them.
    """
    for seed in seeds:
        grid = None
        if thickness_mm is not None:
            grid = random_grid(np.random.default_rng([seed, 3]), thickness_mm=thickness_mm)
        phantom = make_phantom(seed, grid, absence=absence, kidney_tumor=kidney_tumor)
        yield stack_with_labels(phantom.volume, {name: phantom.masks[name] for name in CONCEPTS}, Plane.AXIAL)


def corrupt_stack(stack: LabelledStack, share: float, rng: np.random.Generator) -> tuple[LabelledStack, frozenset[int]]:
    """A stack of grey slices with ``share`` of them spoiled, and which; its labels stay true."""
    slices = stack.slices.astype(np.float32)
    spoiled = corrupt_slices(slices, stack.codes != 0, share, rng)
    return replace(stack, slices=stored_as(slices, stack.slices.dtype)), frozenset(spoiled)
