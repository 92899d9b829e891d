"""A volume with what was segmented in it as one file of arrays, exact to the bit and without any name of a patient."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from MedSAM3SegmentLib.datasets.segmented_volumes import SegmentedVolume
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.volume import Volume

_ENDING = ".npz"


def write_case(folder: Path, number: int, case: SegmentedVolume) -> Path:
    """Write a case under its number; the volume's name and messages are left out.

    Raises:
        InputError: the disk failed.
    """
    volume = case.volume
    labelled = case.labelled_slices
    facts = {
        "concepts": list(case.masks),
        "labelled": sorted(labelled) if isinstance(labelled, frozenset) else labelled,
        "plane": case.plane.value,
        "modality": volume.modality,
        "is_sequence": volume.is_sequence,
    }
    masks = np.array([np.packbits(mask) for mask in case.masks.values()], np.uint8)
    path = folder / f"volume-{number}{_ENDING}"
    try:
        with path.open("xb") as file:
            np.savez(
                file,
                array=volume.array,
                ijk_to_ras=volume.grid.ijk_to_ras,
                masks=masks,
                facts=np.frombuffer(json.dumps(facts).encode(), np.uint8),
            )
    except OSError as error:
        raise InputError(
            "The folder {path} cannot be written to ({why}); free some space.", path=folder, why=str(error.strerror)
        ) from None
    return path


def read_cases(folder: Path) -> list[SegmentedVolume]:
    """The cases in a folder by number, each deleted as soon as it is read.

    Raises:
        InputError: one is damaged.
    """
    cases = []
    for path in sorted(folder.glob(f"volume-*{_ENDING}"), key=_number):
        try:
            cases.append(_read_case(path))
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError("The file {path} is damaged; start learning again.", path=path.name) from None
        path.unlink()
    return cases


def _number(path: Path) -> int:
    digits = path.stem.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0


def _read_case(path: Path) -> SegmentedVolume:
    with np.load(path, allow_pickle=False) as stored:
        facts = json.loads(stored["facts"].tobytes())
        array = stored["array"]
        shape = array.shape[:3]
        grid = VoxelGrid(shape, stored["ijk_to_ras"])
        count = int(np.prod(shape))
        masks = {
            name: np.unpackbits(packed, count=count).reshape(shape).astype(bool)
            for name, packed in zip(facts["concepts"], stored["masks"], strict=True)
        }
    volume = Volume(array, grid, facts["modality"], "volume", is_sequence=facts["is_sequence"])
    labelled = facts["labelled"]
    return SegmentedVolume(
        volume, masks, frozenset(labelled) if isinstance(labelled, list) else labelled, Plane(facts["plane"])
    )
