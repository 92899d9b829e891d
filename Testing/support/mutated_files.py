"""Image files of every format, damaged in every way that disks, networks and programs damage them; and reading them.

``python -m support.mutated_files FOLDER`` reads all files of a folder and prints one JSON line for each.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
from PIL import Image

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.io.segmentation import read_segmentation, write_segmentation

#: Bytes of the voxels of the largest of the whole files.
HONEST_BYTES = 32 * 64 * 64 * 4

_SEGMENTATION = ".seg.nrrd"


def whole_files(folder: Path) -> list[Path]:
    """One small file of each format."""
    rng = np.random.default_rng(0)
    array = (np.add.outer(np.add.outer(np.arange(32), np.arange(64)), np.arange(64)) * 3).astype(np.int16)
    array += rng.integers(0, 20, array.shape, dtype=np.int16)
    image = nibabel.Nifti1Image(array.T, np.diag([1, 1.5, 2, 1]))
    (folder / "a.nii").write_bytes(image.to_bytes())
    (folder / "a.nii.gz").write_bytes(gzip.compress(image.to_bytes()))
    (folder / "b.nii").write_bytes(nibabel.Nifti2Image(array.T, np.diag([1, 1.5, 2, 1])).to_bytes())
    nibabel.MGHImage(array.T, np.diag([1, 1.5, 2, 1])).to_filename(folder / "a.mgh")
    nibabel.MGHImage(array.T, np.diag([1, 1.5, 2, 1])).to_filename(folder / "a.mgz")
    itk = SimpleITK.GetImageFromArray(array)
    for name, packed in (("a.nrrd", False), ("b.nrrd", True), ("a.mha", False), ("b.mha", True), ("a.gipl", False)):
        SimpleITK.WriteImage(itk, str(folder / name), packed)
    pixels = (array // 4).astype(np.uint8)
    Image.fromarray(pixels[0]).save(folder / "a.png")
    Image.fromarray(pixels[0]).save(folder / "a.tif", compression="tiff_lzw")
    pages = [Image.fromarray(part) for part in pixels[:4]]
    for name in ("b.tif", "a.gif"):
        pages[0].save(folder / name, save_all=True, append_images=pages[1:])
    segments = [Segment(f"s{n}", array % 7 == n, (1, 0, 0), "", {"note": "x"}) for n in range(3)]
    write_segmentation(folder / f"a{_SEGMENTATION}", segments, VoxelGrid(array.shape, np.diag([1, 1.5, 2, 1])), {})
    return sorted(folder.iterdir())


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """``content``, damaged in one way."""
    changed = bytearray(content)
    head = min(len(changed), 600)
    kind = rng.integers(0, 8)
    if kind == 0:  # bits anywhere
        for where in rng.integers(0, len(changed), rng.integers(1, 20)):
            changed[where] ^= 1 << int(rng.integers(0, 8))
    elif kind == 1:  # bits of the header
        for where in rng.integers(0, head, rng.integers(1, 6)):
            changed[where] ^= 1 << int(rng.integers(0, 8))
    elif kind == 2:  # cut off
        del changed[int(rng.integers(0, len(changed))) :]
    elif kind in (3, 4):  # numbers of the header, as bytes or as text
        numbers = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(changed[:head])))
        texts = [b"0", b"-1", b"99999999999", b"1e308", b"nan", b"2147483648", b"65536", b"%s", b"/dev/zero", b""]
        if kind == 3 and numbers:
            found = numbers[int(rng.integers(0, len(numbers)))]
            changed[found.start() : found.end()] = texts[int(rng.integers(0, len(texts)))]
        else:
            where = int(rng.integers(0, head))
            size = int(rng.choice([1, 2, 4, 8]))
            value = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * size
            changed[where : where + size] = value[:size]
    elif kind == 5:  # a piece is missing
        where = int(rng.integers(0, len(changed)))
        del changed[where : where + int(rng.integers(1, 2000))]
    elif kind == 6:  # a piece is there twice
        where = int(rng.integers(0, len(changed)))
        changed[where:where] = changed[where : where + int(rng.integers(1, 2000))]
    else:  # a piece is empty
        where = int(rng.integers(0, len(changed)))
        size = min(int(rng.integers(1, 4096)), len(changed) - where)
        changed[where : where + size] = b"\0" * size
    return bytes(changed)


def write_mutated(whole: Path, folder: Path, count: int, seed: int = 0) -> None:
    """``count`` damaged files of all formats in turn."""
    rng = np.random.default_rng(seed)
    files = whole_files(whole)
    for number in range(count):
        file = files[number % len(files)]
        (folder / f"{number:04d}{file.name}").write_bytes(mutated(file.read_bytes(), rng))


def read_file(path: Path) -> str:
    """``read``, or the sentence that it is refused with.

    Raises:
        AssertionError: what was read is nothing, or the sentence is none.
    """
    try:
        if path.name.endswith(_SEGMENTATION):
            segments, grid = read_segmentation(path)
            assert all(segment.mask.shape == grid.shape for segment in segments)
        else:
            volume = read_volume(path)
            assert volume.array.size > 0
            assert np.isfinite(volume.grid.ijk_to_ras).all()
    except InputError as error:
        text = str(error)
        assert text.endswith(".")
        assert "\n" not in text
        assert str(path) in text
        return text
    return "read"


def read_all(folder: Path) -> Iterator[dict[str, Any]]:
    """What became of each file, how long it took, and the most memory until then."""
    import resource

    for path in sorted(folder.iterdir()):
        started = time.monotonic()
        outcome = read_file(path)
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        seconds = time.monotonic() - started
        yield {"name": path.name, "outcome": outcome, "seconds": seconds, "peak_bytes": peak * 1024}


if __name__ == "__main__":
    for line in read_all(Path(sys.argv[1])):
        print(json.dumps(line), flush=True)
