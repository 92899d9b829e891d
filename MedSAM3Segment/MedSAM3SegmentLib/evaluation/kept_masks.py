"""Masks that a model found, one file for each case, concept and way of asking, beside the results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedSAM3SegmentLib.datasets.label_files import read_object_map
from MedSAM3SegmentLib.io.atomic_write import atomic_write
from MedSAM3SegmentLib.io.formats.write_nifti import write_nifti

from .cases.case import EvaluationCase, Reference
from .prediction import Prediction, Prompt


@dataclass(frozen=True)
class KeptMasks:
    """A folder of masks.

    Attributes:
        folder: that holds a folder for each way of asking.
        asked: concepts and ways of asking; their order numbers the folders.
    """

    folder: Path
    asked: Sequence[tuple[str, Prompt]]

    def keep(self, case: EvaluationCase, reference: Reference, prediction: Prediction) -> None:
        """Write a mask: numbered objects where they are told apart, as PNG or NIfTI.

        Raises:
            InputError: the disk failed.
        """
        path = self._path(case, prediction.concept, prediction.prompt, reference)
        path.parent.mkdir(parents=True, exist_ok=True)
        objects = prediction.mask if prediction.objects is None else prediction.objects
        with atomic_write(path) as draft:
            if _is_one_picture(reference):
                from PIL import Image

                Image.fromarray(objects[0].astype(np.uint16)).save(draft)
            else:
                write_nifti(draft, objects.astype(np.uint16), reference.grid)

    def read(self, case: EvaluationCase, references: Mapping[str, Reference]) -> list[Prediction]:
        """What was kept of a case; what is no longer there is left out."""
        predictions = []
        for concept, prompt in self.asked:
            path = self._path(case, concept, prompt, references[concept]) if concept in references else None
            if path is not None and path.is_file():
                objects, _, _ = read_object_map(path)
                predictions.append(Prediction(concept, prompt, objects != 0, objects))
        return predictions

    def _path(self, case: EvaluationCase, concept: str, prompt: Prompt, reference: Reference) -> Path:
        number = self.asked.index((concept, prompt)) + 1
        folder = "-".join(filter(None, (f"{number:02d}", _file_name(prompt.kind), _file_name(prompt.phrase))))
        return self.folder / folder / f"{case.name}{'.png' if _is_one_picture(reference) else '.nii.gz'}"


def _is_one_picture(reference: Reference) -> bool:
    return reference.is_picture and not reference.is_film


def _file_name(words: str) -> str:
    return re.sub(r"[^\w+-]+", "-", words, flags=re.ASCII)[:40].strip("-") or ("phrase" if words else "")
