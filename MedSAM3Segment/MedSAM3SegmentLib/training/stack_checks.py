"""What would teach nonsense though every file can be read: found in stacks one by one, and in all of them together."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MedSAM3SegmentLib.datasets.findings import Findings
from MedSAM3SegmentLib.datasets.labelled_case import LabelledCase, LabelledDataset
from MedSAM3SegmentLib.vocabulary.phrases import has_word, key_of, prompt_for

if TYPE_CHECKING:
    from .dataset import LabelledStack

#: MedSAM-3 was trained on phrases of at most three words (its paper, section 4.2).
_MOST_WORDS = 3

#: Names that programs give and that say nothing.
_NO_NAME = re.compile(r"(segment|label|class|category|object|structure|region|roi|mask|unnamed|untitled)[ _-]*\d*")

#: A concept on so many slices, never on two neighbors and each as far from the last, or on so many whatever the
#: distances, was drawn on some slices alone.
_REGULAR, _NEVER_NEIGHBORS = 3, 5

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class _Seen:
    """A case by its content."""

    name: str
    split: str
    codes: dict[str, str]


class StackChecks:
    """Looks at the stacks of a data set as they are read.

    Args:
        dataset: whose.
        findings: where faults and notes go; a fault is raised where they are not collected.
    """

    def __init__(self, dataset: LabelledDataset, findings: Findings) -> None:
        self._dataset = dataset
        self._findings = findings
        self._present: dict[str, bool] = {}
        self._unsure: set[str] = set()
        self._by_content: dict[str, list[_Seen]] = {}
        _check_names(dataset.cases, findings)
        _check_files(dataset, findings)

    def skip(self, case: LabelledCase) -> None:
        """Remember that a case could not be read, so that nobody knows what is in it."""
        self._unsure.update(map(prompt_for, case.concepts))

    def add(self, case: LabelledCase, stack: LabelledStack) -> None:
        """Look at one stack."""
        is_learnt = np.array([stack.is_known(index) for index in range(len(stack.slices))])
        if not is_learnt.any():
            self._findings.refuse(
                f"'{case.name}' has no slice that somebody looked at, so that nothing is learnt from it; take it out, "
                'or correct "labelled_slices" and "ignore".'
            )
        absent = set(map(prompt_for, case.absent))
        for number, concept in enumerate(stack.concepts):
            shown = (stack.codes >> np.uint32(number)) & 1
            on_slice = shown.any(axis=(1, 2))
            self._present[concept] = self._present.get(concept, False) or bool(on_slice.any()) or concept in absent
            self._check_extent(case, concept, bool(shown.all()), len(stack.slices))
            if case.labelled_slices is None and is_drawn_on_some(np.flatnonzero(on_slice).tolist()):
                self._refuse_some(case, concept, np.flatnonzero(on_slice).tolist())
        drawn = stack.codes.any(axis=(1, 2))
        if isinstance(case.labelled_slices, frozenset) and (drawn & ~is_learnt).any():
            self._findings.note('labels on slices that "labelled_slices" does not name were left out.', case.name)
        self._remember(case, stack)

    def finish(self) -> None:
        """Look at what only all stacks together tell."""
        without = [name for name, is_there in self._present.items() if not is_there and name not in self._unsure]
        for concept in without:
            self._findings.refuse(
                f"No case has a voxel of '{concept}', which would be learnt as never there; correct its label or name, "
                "or take it out (in a manifest [] says that it is absent)."
            )
        for seen in self._by_content.values():
            self._check_copies(seen)

    def _check_extent(self, case: LabelledCase, concept: str, is_everywhere: bool, slices: int) -> None:
        if is_everywhere and slices > 1:
            self._findings.refuse(f"'{concept}' is every voxel of '{case.name}'; correct the labels.")
        elif is_everywhere:
            self._findings.note(f"'{concept}' is every pixel; is its mask inverted?", case.name)

    def _refuse_some(self, case: LabelledCase, concept: str, slices: Sequence[int]) -> None:
        self._findings.refuse(
            f"'{concept}' of '{case.name}' is labelled on {len(slices)} slices and never on two neighbors, so that it "
            'would be learnt as absent between them; say which slices somebody looked at, with "labelled_slices" in '
            "a manifest or with --labelled-slices drawn (or all, where it is truly so)."
        )

    def _remember(self, case: LabelledCase, stack: LabelledStack) -> None:
        content = _digest(str(stack.slices.shape).encode(), np.ascontiguousarray(stack.slices).data)
        codes = {
            concept: _digest(np.packbits((stack.codes >> np.uint32(number)) & 1).data)
            for number, concept in enumerate(stack.concepts)
        }
        self._by_content.setdefault(content, []).append(_Seen(case.name, case.split, codes))

    def _check_copies(self, seen: Sequence[_Seen]) -> None:
        """Refuse an image that validates what was learnt from it, or that is labelled in two ways."""
        for number, one in enumerate(seen):
            for other in seen[:number]:
                if one.split != other.split:
                    self._findings.refuse(_leak(other.name, other.split, one.name, one.split))
                differing = [name for name in one.codes.keys() & other.codes if one.codes[name] != other.codes[name]]
                if differing:
                    self._findings.refuse(
                        f"'{other.name}' and '{one.name}' are the same image, and '{min(differing)}' is elsewhere in "
                        "each; take one out."
                    )
                elif one.split == other.split and one.codes.keys() & other.codes.keys():
                    self._findings.note(f"is the same image as '{other.name}' and counts twice.", one.name)


def is_drawn_on_some(slices: Sequence[int]) -> bool:
    """Whether a concept on these slices, in rising order, was drawn on some slices alone, such as every third."""
    steps = np.diff(slices)
    if len(steps) == 0 or steps.min() < 2:
        return False
    is_regular = len(slices) >= _REGULAR and steps.min() == steps.max()
    return bool(is_regular or len(slices) >= _NEVER_NEIGHBORS)


def _check_names(cases: Sequence[LabelledCase], findings: Findings) -> None:
    """Look at the phrases."""
    names = list(dict.fromkeys(name for case in cases for name in case.concepts))
    written: dict[str, str] = {}
    for name in names:
        prompt = prompt_for(name)
        if not prompt.strip() or not has_word(prompt):
            findings.refuse(f"The concept '{name}' has no word in it; name it as it shall be asked for.")
        elif _NO_NAME.fullmatch(prompt):
            findings.refuse(
                f"The concept '{name}' is a name that a program gave; call it what it shows, as it shall be asked for."
            )
        elif (count := len(prompt.split())) > _MOST_WORDS:
            findings.note(
                f"The phrase '{prompt}' has {count} words; MedSAM-3 learnt at most {_MOST_WORDS}, so shorten it."
            )
        other = written.setdefault(key_of(prompt), prompt)
        if other != prompt:
            findings.note(f"'{other}' and '{prompt}' are learnt as two concepts; write one name where they are one.")


def _check_files(dataset: LabelledDataset, findings: Findings) -> None:
    """Refuse files that are in two splits, without reading what they show."""
    if len({case.split for case in dataset.cases}) < 2:
        return
    by_size: dict[int, list[LabelledCase]] = {}
    for case in dataset.cases:
        if case.image.is_file():
            by_size.setdefault(case.image.stat().st_size, []).append(case)
    for cases in by_size.values():
        if len({case.split for case in cases}) < 2:
            continue
        first: dict[str, LabelledCase] = {}
        for case in cases:
            other = first.setdefault(_file_digest(case.image), case)
            if other.split != case.split:
                findings.refuse(_leak(other.name, other.split, case.name, case.split))


def _leak(name: str, split: str, other: str, other_split: str) -> str:
    return (
        f"'{name}' of the split {split or 'train'} and '{other}' of {other_split or 'train'} are the same image, so "
        "that a model would be tested on what it learnt; take one out."
    )


def _digest(*parts: bytes | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
