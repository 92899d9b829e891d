"""Labelled images in any format that is known, told by what lies there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from MedSAM3SegmentLib.errors import InputError

from .coco import coco_dataset, find_annotations, is_coco
from .findings import Findings
from .image_folders import has_mask_folders, has_segmentations, mask_folders, segmentation_pairs
from .labelled_case import LabelledDataset, LabelledSlices
from .manifest import manifest_dataset, read_json
from .nnunet import DESCRIPTION, nnunet_dataset

#: The formats, in words.
FORMATS = (
    "a manifest, an nnU-Net raw folder, COCO's JSON, images with Slicer's segmentations (.seg.nrrd), or a folder "
    "'images' beside a folder 'masks'"
)


@dataclass(frozen=True)
class DatasetOptions:
    """What a format does not say itself.

    Attributes:
        values: by concept its values in label maps without names.
        fold: which fold of an nnU-Net folder validates, or None.
        channel: which image of an nnU-Net case is learnt from.
        labelled_slices: on which slices somebody looked, for cases that do not say it.
    """

    values: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    fold: int | None = None
    channel: int = 0
    labelled_slices: LabelledSlices = None


def read_dataset(
    path: Path, findings: Findings | None = None, options: DatasetOptions | None = None
) -> LabelledDataset:
    """The cases of a data set; its images are not read yet.

    Args:
        path: of a file or a folder.
        findings: where faults of single cases are kept; None to raise the first.

    Raises:
        InputError: it is none of the formats, or nothing of it can be used.
        PackageError: a package that reads the format is not installed.
    """
    findings = Findings() if findings is None else findings
    options = DatasetOptions() if options is None else options
    if not path.exists():
        raise InputError(f"The training data {path} does not exist; check the path.")
    dataset = _read(path, findings, options)
    if options.fold is not None and dataset.format != "an nnU-Net raw folder":
        raise InputError(f"--fold is for nnU-Net raw folders, and {path} is {dataset.format}; leave it out.")
    if not dataset.cases and not findings.faults:
        raise InputError(f"{path} is {dataset.format} without a labelled case; add at least one image with labels.")
    if options.labelled_slices is None:
        return dataset
    cases = [
        case if case.labelled_slices is not None else replace(case, labelled_slices=options.labelled_slices)
        for case in dataset.cases
    ]
    return replace(dataset, cases=cases)


def _read(path: Path, findings: Findings, options: DatasetOptions) -> LabelledDataset:
    if path.is_file():
        return _read_file(path, findings, options)
    if (path / DESCRIPTION).is_file():
        return nnunet_dataset(path, findings, options.fold, options.channel)
    if find_annotations(path):
        return coco_dataset(path, findings)
    if has_mask_folders(path):
        return mask_folders(path, findings, options.values)
    if has_segmentations(path):
        return segmentation_pairs(path, findings)
    raise InputError(f"{path} is no data set that is known: give {FORMATS}; see docs/training-data.md.")


def _read_file(path: Path, findings: Findings, options: DatasetOptions) -> LabelledDataset:
    if path.name == DESCRIPTION:
        return nnunet_dataset(path.parent, findings, options.fold, options.channel)
    if path.suffix.lower() != ".json":
        raise InputError(f"{path} is no data set that is known: give {FORMATS}; see docs/training-data.md.")
    if is_coco(read_json(path, "The training manifest")):
        return coco_dataset(path, findings)
    return manifest_dataset(path, findings)
