"""The images of a BIDS data set, by the Brain Imaging Data Structure's names of folders and files (version 1.10)."""

from __future__ import annotations

from pathlib import Path

from MedSAM3SegmentLib.messages.message import Message, message

from .case import Case

_DESCRIPTION = "dataset_description.json"

#: Folders of data types that hold single volumes; the others hold series over time, directions or no images.
_SINGLE_VOLUMES = ("anat", "ct", "pet")

#: Ends of names of masks and of defacing, which are no images.
_NO_IMAGES = ("_mask", "_dseg", "_probseg", "_defacemask")


def is_bids(path: Path) -> bool:
    """Whether a folder is the root of a BIDS data set."""
    return (path / _DESCRIPTION).is_file() and any(path.glob("sub-*"))


def bids_images(root: Path) -> tuple[list[Case], list[Message]]:
    """The volumes of all subjects and sessions, in the order of their labels; and what is left out."""
    cases, left_out = [], 0
    for subject in sorted(folder for folder in root.glob("sub-*") if folder.is_dir()):
        for file in sorted([*subject.rglob("*.nii"), *subject.rglob("*.nii.gz")]):
            stem = file.name.removesuffix(".gz").removesuffix(".nii")
            if file.parent.name in _SINGLE_VOLUMES and not stem.endswith(_NO_IMAGES):
                cases.append(Case(path=file, root=root, label=stem))
            else:
                left_out += 1
    if not left_out:
        return cases, []
    said = message(
        "{count} images of the BIDS data set that are not in {folders}, or are masks, were left out.",
        count=left_out,
        folders=", ".join(_SINGLE_VOLUMES),
    )
    return cases, [said]
