"""Masks and label maps as files, and running ``medsam3 evaluate`` on them; for tests."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from PIL import Image

from MedSAM3SegmentLib.cli.main import main


def square(side: int = 40, first: int = 10, length: int = 20, moved: int = 0) -> np.ndarray[Any, Any]:
    """A square of ``length`` in a picture of ``side``, moved by some columns."""
    mask = np.zeros((side, side), bool)
    mask[first : first + length, first + moved : first + length + moved] = True
    return mask


def write_picture(path: Path, array: np.ndarray[Any, Any]) -> Path:
    """A picture; masks become 0 and 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8) * 255 if array.dtype == bool else array).save(path)
    return path


def write_volume(path: Path, array: np.ndarray[Any, Any], spacing: tuple[float, float, float] = (1, 1, 1)) -> Path:
    """A label map ``[k, j, i]``; the spacing is along (i, j, k)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing(spacing)
    SimpleITK.WriteImage(image, str(path))
    return path


def evaluate(*words: object) -> int:
    """Run the command; its exit code."""
    return main(["evaluate", *map(str, words)])


def read_cases(output: Path) -> dict[tuple[str, str], dict[str, str]]:
    """The rows of ``cases.csv`` by case and concept."""
    with (output / "cases.csv").open(encoding="utf-8", newline="") as file:
        return {(row["case"], row["concept"]): row for row in csv.DictReader(file)}


def read_summary(output: Path) -> dict[str, Any]:
    """What ``summary.json`` says."""
    summary: dict[str, Any] = json.loads((output / "summary.json").read_text("utf-8"))
    return summary
